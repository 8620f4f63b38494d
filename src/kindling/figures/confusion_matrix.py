"""Which classes are mistaken for which, as a heatmap."""

import seaborn as sns
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from kindling.figures.results import Results, new_figure


def draw(results: Results) -> Figure | None:
    """A row per true class and a column per predicted one; for one class per sample (N,), of at most 50 with names."""
    if results.targets.dim() != 1 or not 1 <= len(results.names) <= 50:
        return None
    names = results.names
    counts = confusion_matrix(results.targets, results.predictions, labels=range(len(names)))
    side = 3 + 0.4 * len(names)
    figure = new_figure(side + 0.5, side)
    axes = figure.subplots()
    few = len(names) <= 20
    sns.heatmap(counts, annot=few, fmt="d", cmap="Blues", xticklabels=names, yticklabels=names, ax=axes)
    axes.tick_params(axis="y", rotation=0)
    accuracy = counts.trace() / max(1, counts.sum())
    axes.set(xlabel="predicted class", ylabel="true class", title=f"{counts.sum():,} samples, accuracy {accuracy:.4f}")
    return figure
