"""The images whose masks went worst: each beside its true and its predicted mask."""

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.nn import functional as F

from kindling.core.palette import class_colours
from kindling.figures.results import Results, as_pixels, new_figure

COLUMNS, MOST = 3, 12  # samples in a row, and in all
WHITE = (255, 255, 255)  # a pixel without a class


def draw(results: Results) -> Figure | None:
    """Image, true mask and prediction side by side, the worst sample first, each with its mean IoU above it."""
    if results.worst is None or not results.names:
        return None
    images, targets, predictions = (each[:MOST] for each in results.worst)
    if targets.dim() != 3:
        return None
    count = len(results.names)
    triples = torch.stack([as_pixels(images), painted(targets, count), painted(predictions, count)], dim=1)
    rows = -(-len(images) // COLUMNS)
    height, width = images.shape[2:]
    figure = new_figure(4.2 * COLUMNS, 1.4 * rows * height / width + 0.25 * rows + 0.8)
    grid = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    figure.suptitle("image, true mask, predicted mask", fontsize=10)
    for axes, triple, iou in zip(grid, triples, results.scores.tolist(), strict=False):
        beside = torch.cat([*F.pad(triple, (1, 1, 1, 1), value=1.0)], dim=2)  # (3, H + 2, 3 · (W + 2)), white around
        axes.imshow(beside.permute(1, 2, 0), interpolation="nearest")
        axes.set_title(f"IoU {iou:.3f}", fontsize=8)
    if count <= 30:
        colours = ["#" + bytes(colour).hex() for colour in class_colours(count)]
        patches = [Patch(color=each, label=f" {name}") for name, each in zip(results.names, colours, strict=True)]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(10, len(patches)), fontsize=8)
    return figure


def painted(masks: Tensor, count: int) -> Tensor:
    """Masks (M, H, W) of `count` classes as pictures (M, 3, H, W), from 0 to 1; pixels without a class are white."""
    colours = torch.tensor([*class_colours(count), WHITE]) / 255
    is_class = (masks >= 0) & (masks < count)
    return colours[masks.long().where(is_class, count)].movedim(-1, 1)
