"""What a figure is drawn from."""

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor


@dataclass
class Results:
    """What a model made of a split of N samples, on the CPU.

    Args:
        names: of the classes or the targets, as `plain_text` has them; empty where they have none.
        targets: such as class indices (N,), 0/1 labels (N, K) or numbers (N, T).
        predictions: the same, as the model sees it.
        scores: such as probabilities (N, K), of class 1 alone (N,), or numbers (N, T).
        worst: images (M, C, H, W) whose class had the least probability, and their targets and predictions (M,).
    """

    names: list[str]
    targets: Tensor
    predictions: Tensor
    scores: Tensor
    worst: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def probabilities(self) -> Tensor:
        """Of every class: (N, K)."""
        return torch.stack([1 - self.scores, self.scores], dim=1) if self.scores.dim() == 1 else self.scores


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches, without pyplot: nothing stays open."""
    return Figure(figsize=(width, height), layout="constrained")


def plain_text(name: str) -> str:
    """A name as matplotlib draws it letter by letter: a dollar opens mathematics there."""
    return name.replace("$", r"\$")
