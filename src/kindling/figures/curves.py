"""Precision against recall, and the ROC curve, with a line per class."""

from matplotlib.figure import Figure
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from kindling.figures.results import Results, new_figure


def draw(results: Results) -> Figure | None:
    """Each class against the rest, or only class 1 of a binary task; for at most 20 classes."""
    if results.targets.dim() > 2 or not 1 <= len(results.names) <= 20:
        return None
    figure = new_figure(12, 5.5)
    precision_recall, roc = figure.subplots(1, 2)
    for index, name in enumerate(results.names):
        truth = (results.targets == index if results.targets.dim() == 1 else results.targets[:, index] == 1).numpy()
        if (results.scores.dim() == 1 and index == 0) or truth.all() or not truth.any():
            continue
        scores = results.probabilities[:, index].numpy()
        label = f" {name}" if name.startswith("_") else name  # or a legend would leave the label out
        PrecisionRecallDisplay.from_predictions(truth, scores, name=label, ax=precision_recall)
        RocCurveDisplay.from_predictions(truth, scores, name=label, ax=roc)
    precision_recall.set(title="precision and recall", xlabel="recall", ylabel="precision")
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    for axes in (precision_recall, roc):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(fontsize="small", loc="lower center")  # "best" takes long to compute
    return figure
