"""The curves of a run's page: what `metrics.csv` holds, as lines in the coordinates of an SVG."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kindling.core.tables import shown
from kindling.report.scale import Scale, labelled_ticks
from kindling.run.metrics_table import Row

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 58, 468, 18, 232  # of the lines
POINTS = 400  # of a line: more can't be told apart
DOTS = 60  # points that are drawn as dots, each with its value
NAME = re.compile(r"(?:(train|val)(?:id|idation|ing)?[/_])?(.+?)(?:_epoch)?(?:/dataloader_idx_(\d+))?")
OF_THE_ENGINE = ("gradient_norm", "learning_rate")  # begin what is logged of each training
OF_THE_TABLE = ("step", "epoch")  # columns that are no metrics


@dataclass
class Point:
    """A value of a metric, where it was logged; the epoch counts from 0 and is None where a callback logged it."""

    epoch: int | None
    step: int
    value: float


@dataclass
class Line:
    """A metric on a split.

    Args:
        label: for the legend.
        split: train, val, or nothing.
        points: in the order of the steps.
        path: of the SVG.
        dots: x, y and what to say of each point, if there are few.
    """

    label: str
    split: str
    points: list[Point]
    path: str = ""
    dots: list[tuple[float, float, str]] = field(default_factory=list)


@dataclass
class Chart:
    """A metric on all splits, in the coordinates of an SVG of `WIDTH` × `HEIGHT`.

    Args:
        name: of the metric, without a split.
        lines: one a split, or one a loader.
        unit: of the x axis: epoch or step.
        x_ticks: places and labels.
        y_ticks: likewise.
        best: where the best checkpoint was taken, if that is known.
        is_logarithmic: whether the y axis is.
    """

    name: str
    lines: list[Line]
    unit: str = "step"
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    best: float | None = None
    is_logarithmic: bool = False

    @property
    def described(self) -> str:
        """What the picture shows, in words."""
        said = []
        for line in self.lines:
            first, last = line.points[0].value, line.points[-1].value
            said.append(f"{line.label} from {shown(first)} to {shown(last)}")
        return f"{self.name} by {self.unit}: {'; '.join(said)}"


def charts(rows: Iterable[Row], order: list[str], monitor: str | None, mode: str | None) -> list[Chart]:
    """A chart for each metric: the loss first, then in this order, then those that are validated, then losses.

    Args:
        rows: of `metrics.csv`.
        order: of metrics, without a split.
        monitor: the metric that chose the best checkpoint.
        mode: min or max.
    """
    series = _series(rows)
    best = _best(series.get(monitor or "", []), mode)
    by_name: dict[str, list[Line]] = {}
    for column, points in series.items():
        split, name, loader = _parts_of(column)
        label = {"train": "training", "val": "validation"}.get(split, name) + (f", loader {loader}" if loader else "")
        by_name.setdefault(name, []).append(Line(label, split, points))

    def place(chart: Chart) -> tuple[Any, ...]:
        rank = order.index(chart.name) if chart.name in order else len(order)
        is_validated = any(line.split == "val" for line in chart.lines)
        is_loss, is_of_engine = "loss" in chart.name.lower(), chart.name.startswith(OF_THE_ENGINE)
        return chart.name != "loss", rank, not is_validated, not is_loss, is_of_engine, chart.name

    found = sorted((Chart(name, lines) for name, lines in by_name.items()), key=place)
    for chart in found:
        _draw(chart, best)
    return found


def _series(rows: Iterable[Row]) -> dict[str, list[Point]]:
    """The finite values of each column, but for those of the test, which are single ones."""
    series: dict[str, list[Point]] = {}
    for row in rows:
        epoch = int(row["epoch"]) if str(row.get("epoch", "")).isdecimal() else None
        for column, text in row.items():
            if text and column not in OF_THE_TABLE and not column.startswith("test"):
                value = _number(text)
                if math.isfinite(value):
                    series.setdefault(column, []).append(Point(epoch, int(row["step"]), value))
    return series


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _parts_of(column: str) -> tuple[str, str, str]:
    """Split, name and loader of a column: `val_loss/dataloader_idx_1` has val, loss and 1."""
    match = NAME.fullmatch(column)
    return (match[1] or "", match[2], match[3] or "") if match else ("", column, "")


def _best(points: list[Point], mode: str | None) -> Point | None:
    """The first of the best, as checkpoints take it."""
    if not points or mode not in ("min", "max"):
        return None
    return (min if mode == "min" else max)(points, key=_value)


def _draw(chart: Chart, best: Point | None) -> None:
    """Fill in the coordinates."""
    epochs = [[point.epoch for point in line.points] for line in chart.lines]
    by_epoch = all(None not in of_line and len({*of_line}) == len(of_line) for of_line in epochs)
    chart.unit = "epoch" if by_epoch else "step"

    def place(point: Point) -> int:
        return 1 + (point.epoch or 0 if by_epoch else point.step)

    places = [place(point) for line in chart.lines for point in line.points]
    values = [point.value for line in chart.lines for point in line.points]
    chart.is_logarithmic = min(values) > 0 and max(values) / min(values) > 100
    across = Scale(min(places), max(places), LEFT, RIGHT)
    up = Scale(min(values), max(values), BOTTOM, TOP, chart.is_logarithmic)
    chart.x_ticks, chart.y_ticks = labelled_ticks(across, whole=True), labelled_ticks(up)
    if best and (best.epoch is not None or not by_epoch) and across.low <= place(best) <= across.high:
        chart.best = across(place(best))
    for line in chart.lines:
        kept = _thinned(line.points)
        found = [(across(place(point)), up(point.value)) for point in kept]
        line.path = "M" + "L".join(f"{x:g} {y:g}" for x, y in found)
        if len(kept) <= DOTS:
            said = [f"{chart.unit} {place(point)}, {line.label}: {shown(point.value)}" for point in kept]
            line.dots = [(x, y, text) for (x, y), text in zip(found, said, strict=True)]


def _thinned(points: list[Point]) -> list[Point]:
    """At most `POINTS` of them: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= POINTS:
        return points
    length = math.ceil(2 * len(points) / POINTS)
    stretches = [points[start : start + length] for start in range(0, len(points), length)]
    kept = []
    for stretch in stretches:
        ends = (min(stretch, key=_value), max(stretch, key=_value))
        kept += [point for point in stretch if any(point is end for end in ends)]
    return kept


def _value(point: Point) -> float:
    return point.value
