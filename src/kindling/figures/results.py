"""What a figure is drawn from."""

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor


@dataclass
class Results:
    """What a model made of a split of N samples, on the CPU.

    Args:
        names: those of the classes or the targets, through `plain_text`; empty where there are none.
        targets: such as class indices (N,), 0/1 labels (N, K) or numbers (N, T). Of masks, which would fill the memory,
            only the worst.
        predictions: the same, as predicted by the model.
        scores: such as probabilities (N, K), of class 1 only (N,), or numbers (N, T); for masks how right each is (N,).
        worst: images (M, C, H, W) of the samples that went worst, their targets and predictions, (M,) or (M, H, W).
    """

    names: list[str]
    targets: Tensor
    predictions: Tensor
    scores: Tensor
    worst: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def probabilities(self) -> Tensor:
        """The probabilities of every class: (N, K)."""
        return torch.stack([1 - self.scores, self.scores], dim=1) if self.scores.dim() == 1 else self.scores


def new_figure(width: float, height: float) -> Figure:
    """A figure of the given size in inches, made without pyplot, so that nothing stays open."""
    return Figure(figsize=(width, height), layout="constrained")


def as_pixels(images: Tensor) -> Tensor:
    """Images (M, C, H, W), each scaled to 0 to 1, as (M, 3, H, W): its first three channels, or only its first."""
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    pixels = (images - low) / (high - low).clamp_min(1e-6)
    return pixels[:, :3] if pixels.shape[1] > 2 else pixels[:, :1].expand(-1, 3, -1, -1)


def plain_text(name: str) -> str:
    """A name that matplotlib draws letter by letter: there, a dollar sign begins mathematics."""
    return name.replace("$", r"\$")
