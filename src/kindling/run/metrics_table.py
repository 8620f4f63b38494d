"""`metrics.csv`: what a training logs, in whole rows, without gaps or overlaps after a kill."""

import csv
import io
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import DummyExperiment, Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from kindling.core.growing_file import GrowingFile

Row = dict[str, Any]  # a row of the table: metrics by name, and the step
Content = tuple[str, ...]  # what a row is about: its step, and the names of its metrics


class MetricsTable(Logger):
    """`metrics.csv`: a row each time metrics are logged, and a column for each metric, sorted by name.

    Metrics that a step has already logged, as a resumed training may repeat them, are left out.

    Args:
        path: the file's path.
        first_step: where a resumed training goes on: the rows of an existing file are dropped from this step on.
    """

    name, version = "", ""  # None would be shown in the progress bar

    def __init__(self, path: Path, first_step: int = 0) -> None:
        super().__init__()
        self.file, self.columns = GrowingFile(path), list[str]()
        whole = list(filter(_is_whole, self._rows()))
        past = list(takewhile(lambda row: _has_own_step(row) or int(row["step"]) < first_step, whole))
        self.logged = {content(row) for row in past}  # by the last step
        self.logged_before = {content(row) for row in past if _has_own_step(row)}
        self.dropped = {content(row) for row in whole[len(past) :]}
        if path.exists():
            self._rewrite(past)

    @property
    def experiment(self) -> Any:
        """An object that takes any call and does nothing: a module may call `add_image` on each of its loggers."""
        return DummyExperiment()

    def repeats(self, metrics: Mapping[str, Any], step: int | None) -> bool:
        named = content({**metrics, "step": step})
        return named in self.logged or named in self.logged_before

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self.repeats(metrics, step):
            return
        row: Row = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        row["step"] = step
        of_this_step = {each for each in self.logged if each[0] == str(step)}
        self.logged = of_this_step | {content(row)}
        if row.keys() <= set(self.columns):
            self.file.waiting += self._lines([row]).encode()
        else:
            self._rewrite([*self._rows(), row])

    @rank_zero_only
    def save(self) -> None:
        self.file.flush()

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def _rows(self) -> list[Row]:
        return _rows_in(self.file)

    def _rewrite(self, rows: list[Row]) -> None:
        """Rewrite the whole file, with the columns that these rows need."""
        self.columns = sorted({name for row in rows for name, value in row.items() if value != ""})
        header = {name: name for name in self.columns}
        self.file.replace(self._lines([header, *rows]))

    def _lines(self, rows: list[Row]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore").writerows(row for row in rows if row)
        return text.getvalue()


def _rows_in(file: GrowingFile) -> list[Row]:
    return list(csv.DictReader(io.StringIO(file.text(), newline="")))


def _is_whole(row: Row) -> bool:
    """Whether a row that was read has a value for each column, no extra one, and a step."""
    has_all_columns = None not in row and None not in row.values()  # csv's sign for too many, and for too few
    return has_all_columns and row.get("step", "").isdecimal()


def _has_own_step(row: Row) -> bool:
    """Whether a callback or a validation's batch gave its own step: to all other rows Lightning adds the epoch."""
    return not row.get("epoch")


def content(row: Row) -> Content:
    """What a row is about: see Content."""
    return str(row["step"]), *sorted(name for name, value in row.items() if value != "")


def whole_rows(path: Path) -> list[Row]:
    """The rows of a table that were written whole; none if there is no table."""
    return list(filter(_is_whole, _rows_in(GrowingFile(path))))


def last_step(path: Path) -> int:
    """The last step of a table; 0 if there is none."""
    return max((int(row["step"]) for row in whole_rows(path)), default=0)
