"""Your own table: `kindling fit --model MLP --data Table --data.path houses.csv --data.target price`."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kindling.data.base import Data
from kindling.data.column_values import Values
from kindling.data.columns import Encoded, count_lines, fit_column, learnt_columns, width
from kindling.data.dates import are_dates, are_dates_as_numbers
from kindling.data.open_table import OpenTable
from kindling.data.precision import notes_of_precision
from kindling.data.table_files import Name
from kindling.data.table_target import AMOUNT, FEW, Kind, read_target
from kindling.data.text_columns import are_texts, fit_text


class Table(Data):
    """A CSV or Parquet file, one sample per row: numeric columns and categories, (F,) float32.

    Numbers are normalised and their missing values filled with the median; a category becomes a number, 1 or 0, for
    each value that the training split has. Rows without a target are left out, and so are columns without a name. Text
    and few whole numbers are classes, other numbers are targets; several columns of 0 and 1 are several classes per
    sample. A column of text becomes a number for each of its words, their weights by TF-IDF (Spärck Jones, 1972) as
    scikit-learn computes it.

    Args:
        path: the file.
        target: the column to predict, or several.
        kind: classification, regression, or one_hot for one column of 0 and 1 per class; unlabelled for inputs
            alone, for a task such as Reconstruction; null to decide by the target.
        drop: columns to leave out, such as one that numbers the rows.
        categorical: columns of numbers that are names rather than amounts, such as a postcode.
        text: columns of text whose words are inputs, such as a review.
        group: a column that no split may cut, such as the patient; it is left out of the inputs.
        time: a column of numbers or dates; the splits follow each other in its order, and it is left out of the inputs.
        separator: the character between two values of a CSV; \\t for a tab.
        decimal: the decimal mark of numbers: a point or a comma.
        time_format: how the dates of `time` are written, such as %d/%m/%Y; null to find out.
        max_categories: how many different values a column of categories may have.
        max_words: how many words a column of text becomes, the most frequent ones: each takes 4 bytes per row.
        label_separator: the text between the classes of a row in the target, such as ';', if it can have several
            (the separator alone stands for no class); null for one.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize: see Data.

    Raises:
        ValueError: if the file is not such a table, or a column is missing or can't be used.
    """

    names: list[str]  # the numbers of the rows in the file, from 0

    def __init__(
        self,
        path: str,
        target: Name | list[Name] | None = None,
        kind: Kind | Literal["unlabelled"] | None = None,
        drop: list[Name] = [],  # noqa: B006 (read only)
        categorical: list[Name] = [],  # noqa: B006 (read only)
        text: list[Name] = [],  # noqa: B006 (read only)
        group: Name | None = None,
        time: Name | None = None,
        separator: str = ",",
        decimal: str = ".",
        time_format: str | None = None,
        max_categories: int = 100,
        max_words: int = 1000,
        label_separator: str | None = None,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        self.path, self.kind, self.max_categories, self.max_words = path, kind, max_categories, max_words
        if max_words < 1:
            raise ValueError(f"max_words is {max_words}: expected a positive number")
        self.table = table = OpenTable("path", path, separator, decimal)
        roles = {
            "target": target, "drop": drop, "categorical": categorical, "text": text, "group": group, "time": time,
        }  # fmt: skip
        columns = {role: table.named(role, given) for role, given in roles.items()}
        self.categorical, self.text = columns["categorical"], columns["text"]
        if kind == "unlabelled":
            self.values = torch.zeros(len(table.rows), 0)  # no number each
            self._note(*(f"target {name} is left out, since data.kind is unlabelled" for name in columns["target"]))
        else:
            self._read_target(columns["target"], target, kind, label_separator)
        self.names = [str(row) for row in table.rows.tolist()]
        for name in columns["group"]:
            self.groups = table.groups(name)
        for name in columns["time"]:
            self.times = table.times(name, time_format)
        no_inputs = {name for role in ("target", "drop", "group", "time") for name in columns[role]}
        self.features = [name for name in table.columns if name not in no_inputs]
        if not self.features:
            raise ValueError(f"{path} has no column besides the target and those left out")
        for name in self.text:
            if name in self.categorical or name not in self.features:
                raise ValueError(f"text is {name!r}, which is not an input, or is in categorical too: name it once")

    def _read_target(self, columns: list[str], given: Any, kind: Kind | None, label_separator: str | None) -> None:
        """Take the columns of the target for classes or numbers; rows without a value there are left out."""
        if given is None:
            raise ValueError(
                "target is null: set data.target to the column to predict, or data.kind to unlabelled for inputs alone"
            )
        if not columns or len({*columns}) < len(columns):
            raise ValueError(f"target is {given}: expected a column, or several different ones")
        self._note(*self.table.leave_out_rows_without(columns))
        values = [self.table.values(name) for name in columns]
        found = read_target(values, kind, self.table.rows, label_separator)
        self.values, self.classes, self.targets = found.values, found.classes, found.targets
        self.multilabel = found.multilabel
        self._note(*found.notes)

    def source_files(self) -> list[str]:
        return [self.path]

    def _note(self, *sentences: str) -> None:
        self.notes = [*self.notes, *sentences]

    def load(self) -> tuple[Tensor, Tensor]:
        self.splits = self.split(self.values)
        train = self.splits["train"].numpy()
        encoded = Encoded()
        columns = learnt_columns(self.learnt, self.features, self.path) or [
            self._fit(name, train) for name in self.features
        ]
        for column in columns:
            encoded.add(self.table.values(column["name"]), column)
        if encoded.reasons:
            row = min(encoded.reasons)
            reason = encoded.reasons[row]
            raise ValueError(
                f"{self.path}, {self.table.place_of(row)}: {reason}, or the column named in data.categorical"
            )
        self.notes = self.notes + count_lines(encoded.counts)
        self.preparation = {
            "columns": columns, "separator": self.table.separator, "decimal": self.table.decimal,
        }  # fmt: skip
        self.scaled = [("fill" in column) for column in columns for _ in range(width(column))]
        del self.table  # its text takes as much memory again
        return torch.from_numpy(encoded.inputs), self.values

    def _fit(self, name: str, train: np.ndarray) -> dict[str, Any]:
        """What a column becomes, from the values of the training split; what is guessed is noted."""
        values = self.table.values(name)
        if name in self.text:
            return fit_text(values, train, self.max_words)
        column = fit_column(values, train, name in self.categorical, self.max_categories)
        self._note(*notes_of_column(values, column, name in self.categorical))
        if name not in self.categorical:
            self._note_texts(name, column)
        return column

    def _note_texts(self, name: str, column: dict[str, Any]) -> None:
        """Note a column of few different texts, which become a category each."""
        categories = column.get("categories", [])
        if are_texts(categories):
            self._note(
                f"column {name} holds {len(categories)} texts such as {categories[0]!r}, and is taken for categories; "
                f"--data.text [{name}] takes their words"
            )


def notes_of_column(values: Values, column: dict[str, Any], is_categorical: bool) -> list[str]:
    """What is guessed of a column, and what tells a model little."""
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
