"""The images whose true class had the lowest probability."""

import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from kindling.figures.results import Results, as_pixels, new_figure

COLUMNS, GAP = 6, 0.35  # height of the titles, in images


def draw(results: Results) -> Figure | None:
    """Each below its true class and, after an arrow, its predicted one (red where that is wrong)."""
    if results.worst is None or not results.names:
        return None
    images, targets, predictions = results.worst
    if targets.dim() != 1:
        return None
    pixels = as_pixels(images)
    height, width = images.shape[2:]
    gap = round(GAP * height) + 1
    tiles = list(F.pad(pixels, (1, 1, gap, 0), value=1.0).permute(0, 2, 3, 1))  # (H + gap, W + 2, 3), white around
    tiles += [torch.ones_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [torch.cat(tiles[start : start + COLUMNS], dim=1) for start in range(0, len(tiles), COLUMNS)]
    figure = new_figure(1.6 * COLUMNS, 1.6 * (1 + GAP) * len(rows) * height / width)
    axes = figure.subplots()
    axes.imshow(torch.cat(rows), interpolation="nearest")
    axes.set_axis_off()
    for index, (target, prediction) in enumerate(zip(targets.tolist(), predictions.tolist(), strict=True)):
        row, column = divmod(index, COLUMNS)
        text = f"{results.names[target]} → {results.names[prediction]}"
        middle, bottom = (column + 0.5) * (width + 2), row * (height + gap) + gap - 1
        axes.text(
            middle, bottom, text, ha="center", va="bottom", fontsize=8, color="black" if target == prediction else "red"
        )
    return figure
