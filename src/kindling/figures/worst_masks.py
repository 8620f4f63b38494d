"""The images whose masks went worst: each beside its true mask and what the model makes of it."""

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.nn import functional as F

from kindling.figures.results import Results, as_pixels, new_figure

COLUMNS, MOST = 3, 12  # samples in a row, and in all
IGNORED = torch.full((3,), 0.6)  # the colour of a pixel that is no class: grey


def draw(results: Results) -> Figure | None:
    """Image, true mask and prediction beside each other, the worst sample first, each with its mean IoU above."""
    if results.worst is None or not results.names:
        return None
    images, targets, predictions = (each[:MOST] for each in results.worst)
    if targets.dim() != 3:
        return None
    colours = class_colours(len(results.names))
    triples = torch.stack([as_pixels(images), painted(targets, colours), painted(predictions, colours)], dim=1)
    rows = -(-len(images) // COLUMNS)
    height, width = images.shape[2:]
    figure = new_figure(4.2 * COLUMNS, 1.4 * rows * height / width + 0.25 * rows + 0.8)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes in grid:
        axes.set_axis_off()
    figure.suptitle("image, true mask, predicted mask", fontsize=10)
    for axes, triple, iou in zip(grid, triples, results.scores.tolist(), strict=False):
        beside = torch.cat([*F.pad(triple, (1, 1, 1, 1), value=1.0)], dim=2)  # (3, H + 2, 3 · (W + 2)), white around
        axes.imshow(beside.permute(1, 2, 0), interpolation="nearest")
        axes.set_title(f"IoU {iou:.3f}", fontsize=8)
    if len(results.names) <= 30:
        patches = [Patch(color=colour.tolist(), label=f" {name}") for colour, name in zip(colours, results.names, strict=True)]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(10, len(patches)), fontsize=8)
    return figure


def class_colours(count: int) -> Tensor:
    """A colour for each class, (K, 3) from 0 to 1: black for the first, which is mostly the background."""
    palette = torch.tensor(colormaps["tab20"].colors)[:, :3]
    colours = palette[torch.arange(count) * 2 % 20 + torch.arange(count) // 10 % 2]  # the strong ones first
    colours[0] = 0
    return colours


def painted(masks: Tensor, colours: Tensor) -> Tensor:
    """Masks (M, H, W) as pictures (M, 3, H, W)."""
    is_class = (masks >= 0) & (masks < len(colours))
    with_grey = torch.cat([colours, IGNORED[None]])
    return with_grey[masks.long().where(is_class, len(colours))].movedim(-1, 1)
