"""Images beside their reconstructions by an autoencoder."""

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from kindling.figures.results import Results, new_figure

COLUMNS = 6  # pairs per row


def draw(results: Results) -> Figure | None:
    """The first images of a split, the input on the left of each pair, all on one scale of grey or colour."""
    if results.targets.dim() != 4:
        return None
    inputs, outputs = results.targets[: 4 * COLUMNS], results.scores[: 4 * COLUMNS]
    low, high = inputs.min(), inputs.max()
    pixels = ((torch.stack([inputs, outputs], dim=1) - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    pairs = [torch.cat([_tile(one), _tile(other)], dim=1) for one, other in pixels]  # (H + 2, 2 (W + 2), 3)
    pairs += [torch.ones_like(pairs[0])] * (-len(pairs) % COLUMNS)
    framed = [F.pad(pair.movedim(2, 0), (2, 2, 2, 2), value=1.0).movedim(0, 2) for pair in pairs]
    rows = [torch.cat(framed[start : start + COLUMNS], dim=1) for start in range(0, len(framed), COLUMNS)]
    picture = torch.cat(rows)
    height, width = picture.shape[:2]
    figure = new_figure(10, 10 * height / width + 0.5)
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title("inputs, each with its reconstruction on the right")
    return figure


def _tile(image: Tensor) -> Tensor:
    """An image (C, H, W) as (H + 2, W + 2, 3), with a thin white line around it."""
    colours = image[:3] if len(image) > 2 else image[:1].expand(3, -1, -1)
    return F.pad(colours, (1, 1, 1, 1), value=1.0).movedim(0, 2)
