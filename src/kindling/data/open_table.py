"""A table file that is open for a training: its rows, and its columns by the names that a user gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kindling.data.column_values import Values
from kindling.data.dates import read_times
from kindling.data.table_files import named_columns, read_table

DECIMALS = (".", ",")


class OpenTable:
    """The rows of a CSV or Parquet file; those without a target can be left out.

    Args:
        argument: the argument of the data by which the user named the file.
        path: the file.
        separator: the character between two values of a CSV; \\t for a tab.
        decimal: the decimal mark of numbers: a point or a comma.

    Attributes:
        rows: the numbers of the rows in the file, from 0.

    Raises:
        ValueError: if the file is not such a table.
    """

    def __init__(self, argument: str, path: str, separator: str, decimal: str) -> None:
        self.path, self.separator, self.decimal = path, separator.replace("\\t", "\t"), decimal
        if not Path(path).is_file():
            raise ValueError(f"{argument} is {path!r}: there is no such file")
        if len(self.separator) != 1:
            raise ValueError(f"separator is {separator!r}: expected one character, such as ';', or \\t for a tab")
        if decimal not in DECIMALS:
            raise ValueError(f"decimal is {decimal!r}: expected . or ,")
        self.table = read_table(Path(path), self.separator)
        if self.table.num_columns < 2:
            raise ValueError(
                f"{path} has one column, {', '.join(self.columns)!r}: is {self.separator!r} the character between its "
                "values (data.separator)?"
            )
        self.rows = np.arange(len(self.table))

    @property
    def columns(self) -> list[str]:
        return list(self.table.column_names)

    def named(self, role: str, given: Any) -> list[str]:
        """The columns that are given for a role: a name, several, or null.

        Raises:
            ValueError: if there is no such column.
        """
        return named_columns(role, given, self.columns, f"of {self.path}")

    def values(self, name: str) -> Values:
        return Values(name, self.table.column(name), self.decimal)

    def place_of(self, row: int) -> str:
        """A row that is kept, by its number in the file."""
        return f"row {self.rows[row]} (from 0)"

    def leave_out_rows_without(self, target: list[str]) -> list[str]:
        """Keep the rows that have a value in each column of the target; a note about those that don't.

        Raises:
            ValueError: if no row does.
        """
        has_no_target = np.any([self.values(name).is_missing for name in target], axis=0)
        if has_no_target.all():
            raise ValueError(f"target is {', '.join(target)!r}: {self.path} has no row with a value there")
        if not has_no_target.any():
            return []
        first = self.place_of(int(has_no_target.argmax()))
        self.table, self.rows = self.table.filter(pa.array(~has_no_target)), self.rows[~has_no_target]
        return [f"{has_no_target.sum():,} rows without a target are left out, such as {first}"]

    def groups(self, name: str) -> np.ndarray:
        """The group of each row, (N,); a ValueError if one has none."""
        words = self.values(name).words
        if missing := int((words.places < 0).sum()):
            raise ValueError(f"group is {name!r}, which has no value in {missing:,} rows: fill them in")
        return np.array(words.words)[words.places]

    def times(self, name: str, time_format: str | None) -> np.ndarray:
        """When each row was taken, (N,); a ValueError if one is neither a date nor a number."""
        values = self.values(name)
        times = read_times(values, time_format)
        is_missing = np.isnan(times) if times.dtype.kind == "f" else np.isnat(times)
        if is_missing.any():
            row = int(is_missing.argmax())
            expected = f"dates like {time_format}" if time_format else "numbers, or dates such as 2024-12-31"
            raise ValueError(
                f"time is {name!r}, where {self.place_of(row)} has {values.text(row)!r}: expected {expected}"
            )
        return times
