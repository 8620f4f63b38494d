"""Your own table: `kindling fit --model MLP --data Table --data.path houses.csv --data.target price`."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kindling.data.base import Data
from kindling.data.column_values import Values
from kindling.data.columns import Encoded, count_lines, fit_column, width
from kindling.data.dates import are_dates, are_dates_as_numbers, read_times
from kindling.data.precision import notes_of_precision
from kindling.data.table_files import Name, named, read_table
from kindling.data.table_target import AMOUNT, FEW, Kind, read_target

DECIMALS = (".", ",")


class Table(Data):
    """A CSV or Parquet file, a sample a row: numeric columns and categories, (F,) float32.

    Numbers are normalised and their missing values filled with the median; a category becomes a number, 1 or 0, for
    each value that the training split has. Rows without a target are left out, and so are columns without a name. Text
    and few whole numbers are classes, other numbers are targets; several columns of 0 and 1 are several classes a
    sample.

    Args:
        path: the file.
        target: the column to predict, or several.
        kind: classification, regression, or one_hot for columns of 0 and 1 that are a class each; null to decide by the
            target.
        drop: columns to leave out, such as a number that names the row.
        categorical: columns of numbers that are names rather than amounts, such as a postcode.
        group: a column that no split may cut, such as the patient; it is left out of the inputs.
        time: a column, of numbers or dates, in whose order the splits follow each other; likewise.
        separator: what stands between two values of a CSV; \\t for a tab.
        decimal: what stands before the fraction of a number: a point or a comma.
        time_format: how the dates of `time` are written, such as %d/%m/%Y; null to find out.
        max_categories: how many different values a column of categories may have.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize: see Data.

    Raises:
        ValueError: if the file is not such a table, or a column is missing or can't be used.
    """

    names: list[str]  # the numbers of the rows in the file, from 0

    def __init__(
        self,
        path: str,
        target: Name | list[Name],
        kind: Kind | None = None,
        drop: list[Name] = [],  # noqa: B006 (read only)
        categorical: list[Name] = [],  # noqa: B006 (read only)
        group: Name | None = None,
        time: Name | None = None,
        separator: str = ",",
        decimal: str = ".",
        time_format: str | None = None,
        max_categories: int = 100,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        self.path, self.kind, self.separator = path, kind, separator.replace("\\t", "\t")
        self.decimal, self.max_categories = decimal, max_categories
        if not Path(path).is_file():
            raise ValueError(f"path is {path!r}: there is no such file")
        if len(self.separator) != 1:
            raise ValueError(f"separator is {separator!r}: expected one character, such as ';', or \\t for a tab")
        if decimal not in DECIMALS:
            raise ValueError(f"decimal is {decimal!r}: expected . or ,")
        table = read_table(Path(path), self.separator)
        if table.num_columns < 2:
            raise ValueError(
                f"{path} has one column, {', '.join(table.column_names)!r}: does {self.separator!r} stand between its "
                "values (data.separator)?"
            )
        roles = {"target": target, "drop": drop, "categorical": categorical, "group": group, "time": time}
        columns = {role: self._columns_named(role, given, table.column_names) for role, given in roles.items()}
        self.target, self.categorical = columns["target"], columns["categorical"]
        if not self.target or len({*self.target}) < len(self.target):
            raise ValueError(f"target is {target}: expected a column, or several different ones")
        self.table, self.rows = table, np.arange(len(table))
        self._leave_out_rows_without_target()
        self.names = [str(row) for row in self.rows.tolist()]
        found = read_target([self._values(name) for name in self.target], kind, self.names)
        self.values, self.classes, self.targets = found.values, found.classes, found.targets
        self.multilabel = found.multilabel
        self._note(*found.notes)
        for name in columns["group"]:
            self.groups = self._read_groups(name)
        for name in columns["time"]:
            self.times = self._read_times(name, time_format)
        no_inputs = {name for role, names in columns.items() if role != "categorical" for name in names}
        self.features = [name for name in table.column_names if name not in no_inputs]
        if not self.features:
            raise ValueError(f"{path} has no column besides the target and those left out")

    def source_files(self) -> list[str]:
        return [self.path]

    def _columns_named(self, role: str, given: Any, known: list[str]) -> list[str]:
        """The columns that are given for a role: a name, several, or null."""
        names = given if isinstance(given, list) else [] if given is None else [given]
        found = [named(name, known) for name in names]
        for name in found:
            if name not in known:
                raise ValueError(f"{role} is {name!r}, which is not a column of {self.path}: {', '.join(known)}")
        return found

    def _values(self, name: str) -> Values:
        return Values(name, self.table.column(name), self.decimal)

    def _leave_out_rows_without_target(self) -> None:
        has_no_target = np.any([self._values(name).is_missing for name in self.target], axis=0)
        if has_no_target.all():
            raise ValueError(f"target is {', '.join(self.target)!r}: {self.path} has no row with a value there")
        if has_no_target.any():
            self.notes = [f"{has_no_target.sum():,} rows without a target are left out"]
            self.table, self.rows = self.table.filter(pa.array(~has_no_target)), self.rows[~has_no_target]

    def _note(self, *sentences: str) -> None:
        self.notes = [*self.notes, *sentences]

    def _read_groups(self, name: str) -> np.ndarray:
        words = self._values(name).words
        if missing := int((words.places < 0).sum()):
            raise ValueError(f"group is {name!r}, which has no value in {missing:,} rows: fill them in")
        return np.array(words.words)[words.places]

    def _read_times(self, name: str, time_format: str | None) -> np.ndarray:
        values = self._values(name)
        times = read_times(values, time_format)
        is_missing = np.isnan(times) if times.dtype.kind == "f" else np.isnat(times)
        if is_missing.any():
            row = int(is_missing.argmax())
            expected = f"dates like {time_format}" if time_format else "numbers, or dates such as 2024-12-31"
            raise ValueError(
                f"time is {name!r}, where row {self.names[row]} (from 0) has {values.text(row)!r}: expected {expected}"
            )
        return times

    def load(self) -> tuple[Tensor, Tensor]:
        self.splits = self.split(self.values)
        train = self.splits["train"].numpy()
        encoded = Encoded()
        columns = self._learnt_columns() or [self._fit(name, train) for name in self.features]
        for column in columns:
            encoded.add(self._values(column["name"]), column)
        if encoded.reasons:
            row = min(encoded.reasons)
            reason = encoded.reasons[row]
            raise ValueError(
                f"{self.path}, row {self.names[row]} (from 0): {reason}, or the column named in data.categorical"
            )
        self.notes = self.notes + count_lines(encoded.counts)
        self.preparation = {"columns": columns, "separator": self.separator, "decimal": self.decimal}
        self.scaled = [("fill" in column) for column in columns for _ in range(width(column))]
        del self.table  # whose text takes as much memory again
        return torch.from_numpy(encoded.inputs), self.values

    def _learnt_columns(self) -> list[dict[str, Any]]:
        """The columns that a checkpoint takes, in its order, where one is measured; none elsewhere.

        Raises:
            ValueError: if one is not in the file, or is the target.
        """
        columns = (self.learnt or {}).get("columns") or []
        for column in columns:
            if column["name"] not in self.features:
                there = ", ".join(self.features)
                raise ValueError(
                    f"{self.path} has no column {column['name']!r} among its inputs, and the model was trained on it: "
                    f"there are {there}"
                )
        return columns

    def _fit(self, name: str, train: np.ndarray) -> dict[str, Any]:
        """What a column becomes, from the values of the training split; what is guessed is noted."""
        values = self._values(name)
        column = fit_column(values, train, name in self.categorical, self.max_categories)
        self._note(*notes_of_column(values, column, name in self.categorical))
        return column


def notes_of_column(values: Values, column: dict[str, Any], is_categorical: bool) -> list[str]:
    """What is guessed of a column, and what a model can tell little by."""
    notes = notes_of_precision(f"column {values.name}", values.numbers) if "fill" in column else []
    if is_categorical:
        return notes
    return [*notes, *_notes_of_dates(values, column), *_notes_of_amounts(values.name, column)]


def _notes_of_amounts(name: str, column: dict[str, Any]) -> list[str]:
    """Note a column of texts that hold numbers, such as 45% or 12 kg, which become a category each."""
    categories = column.get("categories", [])
    with_number = [word for word in categories if AMOUNT.match(word)]
    if len(with_number) <= max(FEW, len(categories) / 2) or are_dates(categories):
        return []
    return [
        f"column {name} holds {len(categories)} texts such as {with_number[0]!r}, and is taken for categories: "
        f"write bare numbers for amounts; --data.drop [{name}] leaves it out"
    ]


def _notes_of_dates(values: Values, column: dict[str, Any]) -> list[str]:
    """Note a column of dates, which as categories, or as numbers such as 20240131, tell a model little."""
    categories = column.get("categories")
    if categories is None and are_dates_as_numbers(values.numbers):
        taken = f"such as {values.words.words[0]}, and is taken for amounts"
    elif categories and are_dates(categories):
        several = f"{len(categories)} categories" if len(categories) > 1 else "1 category"
        taken = f"such as {categories[0]}, and is taken for {several}"
    else:
        return []
    name = values.name
    return [f"column {name} holds dates, {taken}; --data.drop [{name}] leaves it out, --data.time splits by it"]
