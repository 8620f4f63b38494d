"""Draws the figure on the first page of docs/: `python scripts/kindling/demo_figure.py RUN`.

The run is one of the demo: lightning_logs/digits_resnet/version_0.
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread


def draw(run: Path) -> Figure:
    """A classification's loss and accuracy over its steps, beside the confusion matrix of its test."""
    table = pd.read_csv(run / "metrics.csv")
    figure = Figure(figsize=(12, 5), layout="constrained")
    curves, matrix = figure.subplot_mosaic([["loss", "matrix"], ["accuracy", "matrix"]]), "matrix"
    for metric in ("loss", "accuracy"):
        for split in ("train", "val"):
            rows = table.dropna(subset=f"{split}/{metric}")
            curves[metric].plot(rows["step"], rows[f"{split}/{metric}"], marker=".", label=f"{split}/{metric}")
        curves[metric].set(xlabel="step", ylabel=metric)
        curves[metric].legend()
    curves[matrix].imshow(imread(run / "figures" / "test_confusion_matrix.png"))
    curves[matrix].axis("off")
    return figure


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "figures", "test_confusion_matrix.png").is_file():
        sys.exit("usage: python scripts/kindling/demo_figure.py RUN    (the folder of a finished classification run)")
    draw(Path(sys.argv[1])).savefig(Path(__file__).with_suffix(".png"), dpi=80)
    print(f"drew {Path(__file__).with_suffix('.png')}")
