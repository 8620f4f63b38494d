"""Your own table: `kindling fit --model MLP --data Table --data.path houses.csv --data.target price`."""

from pathlib import Path
from typing import Any, Literal
from warnings import catch_warnings, simplefilter

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kindling.data.base import Data
from kindling.data.columns import count_lines, encode, fit_columns, is_numeric, numbers, read_table, texts, width

FEW = 20  # whole numbers with at most this many different values are read as classes
# How dates may be written; {} lets pandas infer it from the first one.
DATE_FORMATS: list[dict[str, Any]] = [
    {"format": "ISO8601"},
    {},
    {"dayfirst": True},
    {"format": "%m/%d/%y"},
    {"format": "%d/%m/%y"},
]


class Table(Data):
    """A CSV or Parquet file, a sample a row: numeric columns and categories, (F,) float32.

    Numbers are normalised and their missing values filled with the median; a category becomes a number, 1 or 0, for
    each value that the training split has. Rows without a target are left out, and so are columns without a name. Text
    and few whole numbers are classes, other numbers are targets; several columns of 0 and 1 are several classes a
    sample.

    Args:
        path: the file.
        target: the column to predict, or several.
        kind: classification or regression; null to decide by the target.
        drop: columns to leave out, such as a number that names the row.
        categorical: columns of numbers that are names rather than amounts, such as a postcode.
        group: a column that no split may cut, such as the patient; it is left out of the inputs.
        time: a column, of numbers or dates, in whose order the splits follow each other; likewise.
        separator: what stands between two values of a CSV; \\t for a tab.
        max_categories: how many different values a column of categories may have.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize: see Data.

    Raises:
        ValueError: if the file is not such a table, or a column is missing or can't be used.
    """

    names: list[str]  # the numbers of the rows in the file, from 0

    def __init__(
        self,
        path: str,
        target: str | list[str],
        kind: Literal["classification", "regression"] | None = None,
        drop: list[str] = [],  # noqa: B006 (read only)
        categorical: list[str] = [],  # noqa: B006 (read only)
        group: str | None = None,
        time: str | None = None,
        separator: str = ",",
        max_categories: int = 100,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        self.path, self.kind, self.separator = path, kind, separator.replace("\\t", "\t")
        self.categorical, self.max_categories = categorical, max_categories
        if not Path(path).is_file():
            raise ValueError(f"path is {path!r}: there is no such file")
        if len(self.separator) != 1:
            raise ValueError(f"separator is {separator!r}: expected one character, such as ';', or \\t for a tab")
        table = read_table(Path(path), self.separator)
        if table.shape[1] < 2:
            raise ValueError(
                f"{path} has one column, {', '.join(table.columns)!r}: does {separator!r} stand between its values "
                "(data.separator)?"
            )
        self.target = [target] if isinstance(target, str) else target
        if not self.target or len({*self.target}) < len(self.target):
            raise ValueError(f"target is {target}: expected a column, or several different ones")
        groups, times = [group] if group else [], [time] if time else []
        roles = {"target": self.target, "drop": drop, "categorical": categorical, "group": groups, "time": times}
        for role, names in roles.items():
            for name in names:
                if name not in table.columns:
                    raise ValueError(f"{role} is {name!r}, which is not a column of {path}: {', '.join(table.columns)}")
        has_target = pd.concat([texts(table[name]).notna() for name in self.target], axis=1).all(axis=1)
        if not has_target.any():
            raise ValueError(f"target is {target!r}: {path} has no row with a value there")
        if not has_target.all():
            self.notes = [f"{(~has_target).sum():,} rows without a target are left out"]
        self.table = table[has_target]  # which keeps the numbers of the rows
        self.names = [str(row) for row in self.table.index]
        self._read_targets()
        if group:
            self.groups = self._read_groups(group)
        if time:
            self.times = self._read_times(time)
        no_inputs = {*self.target, *drop, *groups, *times}
        self.features = [name for name in table.columns if name not in no_inputs]
        if not self.features:
            raise ValueError(f"{path} has no column besides the target and those left out")

    def _read_targets(self) -> None:
        """Take the target for classes, several classes a sample, or numbers: as `kind` says, or else by its values."""
        columns = [self.table[name] for name in self.target]
        values = np.stack([numbers(column) for column in columns], axis=1)  # (N, T), NaN for what is not a number
        several = len(columns) > 1
        is_few = not several and not np.any(values % 1) and len(np.unique(values)) <= FEW
        are_amounts = self.kind is None and not is_few and all(map(is_numeric, columns))
        if several and self.kind != "regression" and np.isin(values, (0, 1)).all():
            self.classes, self.multilabel = self.target, True
            self.values = torch.from_numpy(values).long()
        elif self.kind == "regression" or are_amounts:
            self._check_numbers(values)
            self.targets, self.values = self.target, torch.from_numpy(values).float()
        elif several:
            raise ValueError(
                f"target is {self._target_names!r}: expected one column of classes, or several of 0 and 1 or of numbers"
            )
        else:
            self._read_classes(columns[0])

    @property
    def _target_names(self) -> str:
        return ", ".join(self.target)

    def _check_numbers(self, values: np.ndarray) -> None:
        missing = np.argwhere(np.isnan(values))
        if not len(missing):
            return
        row, column = missing[0]
        raise ValueError(
            f"target is {self._target_names!r}, where row {self.names[row]} (from 0) has "
            f"{self.table[self.target[column]].iloc[row]!r}: expected finite numbers, or data.kind classification"
        )

    def _read_classes(self, column: pd.Series) -> None:
        """One class a sample: the values as text, in the order of the numbers among them."""
        words = texts(column)
        self.classes = sorted(words.unique(), key=_by_number)
        if len(self.classes) < 2:
            raise ValueError(
                f"target is {self._target_names!r}, which is {self.classes[0]} in every row: expected two classes"
            )
        self.values = torch.from_numpy(pd.Index(self.classes).get_indexer(pd.Index(words))).long()

    def _read_groups(self, name: str) -> np.ndarray:
        words = texts(self.table[name])
        if missing := int(words.isna().sum()):
            raise ValueError(f"group is {name!r}, which has no value in {missing:,} rows: fill them in")
        return words.to_numpy(str)

    def _read_times(self, name: str) -> np.ndarray:
        """Numbers as they are, or dates as they are written in most of the rows."""
        column = self.table[name]
        times = pd.Series(numbers(column))
        if not is_numeric(column):
            for options in DATE_FORMATS:
                dates = _read_dates(column, options)
                if dates is not None and dates.isna().sum() < times.isna().sum():
                    times = dates
        if times.isna().any():
            row = int(times.isna().to_numpy().argmax())
            raise ValueError(
                f"time is {name!r}, where row {self.names[row]} (from 0) has {texts(column).iloc[row]!r}: "
                "expected numbers, or dates such as 2024-12-31"
            )
        return times.to_numpy(np.float64 if times.dtype.kind == "f" else "datetime64[us]")

    def load(self) -> tuple[Tensor, Tensor]:
        self.splits = self.split(self.values)
        table = self.table[self.features]
        columns = fit_columns(table.iloc[self.splits["train"].numpy()], self.categorical, self.max_categories)
        inputs, counts, reasons = encode(table, columns)
        if reasons:
            row = min(reasons)
            raise ValueError(
                f"{self.path}, row {self.names[row]} (from 0): {reasons[row]}, or the column named in data.categorical"
            )
        self.notes = self.notes + count_lines(counts)
        self.preparation = {"columns": columns, "separator": self.separator}
        self.scaled = [("fill" in column) for column in columns for _ in range(width(column))]
        return torch.from_numpy(inputs), self.values


def _read_dates(column: pd.Series, options: dict[str, Any]) -> pd.Series | None:
    """Dates that are written in one way, NaT for any other; None if pandas would have to guess for each of them."""
    with catch_warnings():
        simplefilter("error", UserWarning)  # that guess would mix 3/4 and 4/3
        try:
            return pd.to_datetime(texts(column), errors="coerce", utc=True, **options)
        except UserWarning:
            return None


def _by_number(word: str) -> tuple[float, str]:
    """Sorts words that are numbers by their size, and all others after them."""
    try:
        return float(word), word
    except ValueError:
        return np.inf, word
