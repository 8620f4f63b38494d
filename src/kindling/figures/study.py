"""Figures of a study: what its trials reached one after another, which settings mattered, and how."""

import math
from dataclasses import dataclass
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kindling.figures.results import new_figure, plain_text

ENDED, STOPPED, BEST = sns.color_palette("colorblind")[0], "0.7", sns.color_palette("colorblind")[1]
ACROSS = 3  # slices per row
LOGARITHMIC = 20  # a range whose ends have a larger ratio is drawn on a logarithmic scale


@dataclass
class Trial:
    """A trial that has a value.

    Args:
        number: from 0 on.
        value: the metric's, at the end or where it was stopped.
        settings: their values by key.
        was_stopped: whether it was stopped before its end, as worse than the median.
    """

    number: int
    value: float
    settings: dict[str, Any]
    was_stopped: bool


def history(trials: list[Trial], metric: str, mode: str) -> Figure:
    """The value of each trial, and the best so far."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    _points(axes, [trial.number for trial in trials], trials)
    ended = [trial for trial in trials if not trial.was_stopped]
    best = [(min if mode == "min" else max)(other.value for other in ended[: place + 1]) for place in range(len(ended))]
    axes.step([trial.number for trial in ended], best, where="post", color=BEST, label="the best so far")
    axes.set(title="history", xlabel="trial", ylabel=plain_text(metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")
    return figure


def importances(shares: dict[str, float]) -> Figure:
    """A bar for each setting, the most important on top."""
    figure = new_figure(8, 1.2 + 0.4 * len(shares))
    axes = figure.subplots()
    ordered = sorted(shares.items(), key=lambda share: share[1])
    bars = axes.barh([plain_text(name) for name, _ in ordered], [share for _, share in ordered], color=ENDED)
    axes.bar_label(bars, fmt="{:.0%}", padding=3)
    axes.set(title="what mattered", xlabel="share of the differences between trials", xlim=(0, 1.1))
    return figure


def slices(trials: list[Trial], metric: str) -> Figure:
    """A panel for each setting: the metric against its values."""
    names = sorted({name for trial in trials for name in trial.settings})
    rows = math.ceil(len(names) / ACROSS)
    figure = new_figure(4 * min(ACROSS, len(names)), 3.5 * rows)
    panels = figure.subplots(rows, min(ACROSS, len(names)), squeeze=False, sharey=True)
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    for name, panel in zip(names, panels.flat, strict=False):
        having = [trial for trial in trials if name in trial.settings]
        _points(panel, _places(panel, [trial.settings[name] for trial in having]), having)
        panel.set_xlabel(plain_text(name))
    for first in panels[:, 0]:
        first.set_ylabel(plain_text(metric))
    panels[0, 0].legend(fontsize="small")
    return figure


def _points(axes: Axes, places: list[float], trials: list[Trial]) -> None:
    for was_stopped, colour, label in ((True, STOPPED, "stopped early"), (False, ENDED, "complete")):
        points = [(x, trial.value) for x, trial in zip(places, trials, strict=True) if trial.was_stopped == was_stopped]
        if points:
            across, up = zip(*points, strict=True)
            axes.scatter(across, up, s=22, color=colour, label=label, zorder=2)


def _places(axes: Axes, values: list[Any]) -> list[float]:
    """The places of values on the x axis: numbers at their value, others side by side in the order of their names."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if min(values) > 0 and max(values) / min(values) > LOGARITHMIC:
            axes.set_xscale("log")
        return values
    names = sorted({str(value) for value in values})
    axes.set_xticks(range(len(names)), [plain_text(name) for name in names], rotation=20)
    axes.set_xlim(-0.5, len(names) - 0.5)
    return [names.index(str(value)) for value in values]
