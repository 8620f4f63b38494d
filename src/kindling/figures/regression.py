"""Predicted against true values, and the residuals."""

from matplotlib.figure import Figure
from sklearn.metrics import PredictionErrorDisplay

from kindling.figures.results import Results, new_figure


def draw(results: Results) -> Figure | None:
    """A row per target, for named targets (N, T): at most four are drawn, with at most 2,000 samples each."""
    if results.targets.dim() != 2 or not results.names:
        return None
    names = results.names[:4]
    figure = new_figure(11, 4.5 * len(names))
    for index, (name, row) in enumerate(zip(names, figure.subplots(len(names), 2, squeeze=False), strict=True)):
        values = results.targets[:, index].numpy(), results.predictions[:, index].numpy()
        sample = {"subsample": min(2000, len(values[0])), "random_state": 0, "scatter_kwargs": {"s": 9}}
        against, residuals = row
        PredictionErrorDisplay.from_predictions(*values, kind="actual_vs_predicted", ax=against, **sample)
        PredictionErrorDisplay.from_predictions(*values, kind="residual_vs_predicted", ax=residuals, **sample)
        against.set(title=name, xlabel="predicted", ylabel="true")
        residuals.set(title=name, xlabel="predicted", ylabel="true - predicted")
    return figure
