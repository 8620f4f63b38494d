"""Predicted against true values, and the residuals."""

from matplotlib.figure import Figure
from sklearn.metrics import PredictionErrorDisplay

from kindling.figures.results import Results, new_figure


def draw(results: Results) -> Figure | None:
    """A row a target, of which at most four are drawn, with at most 2,000 samples each."""
    if results.kind != "numeric targets":
        return None
    names = results.names[:4]
    figure = new_figure(11, 4.5 * len(names))
    for index, (name, row) in enumerate(zip(names, figure.subplots(len(names), 2, squeeze=False), strict=True)):
        values = results.targets[:, index].numpy(), results.predictions[:, index].numpy()
        for kind, axes in zip(("actual_vs_predicted", "residual_vs_predicted"), row, strict=True):
            sample = {"subsample": min(2000, len(values[0])), "random_state": 0}
            PredictionErrorDisplay.from_predictions(*values, kind=kind, ax=axes, scatter_kwargs={"s": 9}, **sample)
            axes.set(title=name, xlabel="predicted", ylabel="true" if axes is row[0] else "true - predicted")
    return figure
