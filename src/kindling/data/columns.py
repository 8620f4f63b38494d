"""Turns the columns of a table into numbers, in the same way for training and ever after."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from kindling.data.column_values import Values, are_numbers, refuse_duplicates
from kindling.data.dates import are_dates
from kindling.data.text_columns import are_texts, encode_text

AT_ONCE = 4096  # rows whose columns are put side by side: few enough for the processor's cache

Column = dict[str, Any]  # what to keep of a column, as plain values: see fit_column
Counts = Counter[tuple[str, str]]  # (what was counted, name of the column) → how often


def fit_column(values: Values, rows: Any, is_categorical: bool, limit: int) -> Column:
    """What to keep of a column of the training rows, as plain values.

    A numeric column has a `fill` for missing values, its median. Any other has `categories`: one number each, 1 or 0;
    all are 0 for a missing value and for one never seen. (A column of text has `words`: see text_columns.fit_text.)

    Raises:
        ValueError: if the column is empty, has more than `limit` categories, or numbers with another decimal mark.
    """
    name = values.name
    given = values.given(rows)
    if not any(given):
        raise ValueError(f"column {name} has no value in the training split: leave it out with data.drop")
    if not is_categorical:
        if are_numbers(*given):
            return {"name": name, "fill": float(np.nanmedian(values.numbers[rows]))}
        values.refuse_other_decimal(rows, "name the column in data.categorical")
    categories = sorted(values.words.among(rows))
    if len(categories) > limit:
        kind = "dates" if are_dates(categories) else "values"
        other = f"take its words with data.text [{name}]" if are_texts(categories) else "raise data.max_categories"
        raise ValueError(
            f"column {name} has {len(categories)} different {kind}, such as {categories[0]!r}: leave it out with "
            f"data.drop, or {other}"
        )
    return {"name": name, "categories": categories}


def width(column: Column) -> int:
    """How many numbers a column becomes."""
    return len(names_of(column))


def learnt_columns(learnt: dict[str, Any] | None, features: list[str], path: str) -> list[Column]:
    """The columns that a checkpoint takes, in its order, where one is measured; none elsewhere.

    Args:
        learnt: what the checkpoint's data have learnt; None in a training.
        features: the inputs that a table has.
        path: of the table.

    Raises:
        ValueError: if one is not in the table, or is the target.
    """
    columns: list[Column] = (learnt or {}).get("columns") or []
    for column in columns:
        if column["name"] not in features:
            raise ValueError(
                f"{path} has no column {column['name']!r} among its inputs, but the model was trained on it: "
                f"it has {', '.join(features)}"
            )
    return columns


def names_of(column: Column) -> list[str]:
    """What the numbers that a column becomes are called."""
    name = column["name"]
    if "words" in column:
        return [f"{name}: {word}" for word in column["words"]]
    return [f"{name}={category}" for category in column["categories"]] if "categories" in column else [name]


def count_lines(counts: Counts) -> list[str]:
    """A line for each thing that was counted, such as `missing values: 27 (age 18, sex 9)`."""
    by_thing: dict[str, dict[str, int]] = {}
    for (thing, name), count in counts.items():
        by_thing.setdefault(thing, {})[name] = count
    lines = []
    for thing, by_column in by_thing.items():
        columns = ", ".join(f"{name} {count:,}" for name, count in by_column.items())
        lines.append(f"{thing}: {sum(by_column.values()):,} ({columns})")
    return lines


@dataclass
class Encoded:
    """Columns as numbers.

    Args:
        blocks: float32 (N, width) for each column.
        counts: what was missing or never seen.
        reasons: why a row can't be encoded, by position.
    """

    blocks: list[np.ndarray] = field(default_factory=list)
    counts: Counts = field(default_factory=Counter)
    reasons: dict[int, str] = field(default_factory=dict)

    def add(self, values: Values, column: Column) -> None:
        """Encode one more column."""
        if "words" in column:
            block = self._words(values, column)
        elif "categories" in column:
            block = self._categories(values, column)
        else:
            block = self._numbers(values, column)
        self.blocks.append(block)

    @property
    def inputs(self) -> np.ndarray:
        """All columns, float32 (N, F)."""
        inputs = np.empty((len(self.blocks[0]), sum(block.shape[1] for block in self.blocks)), np.float32)
        for start in range(0, len(inputs), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            np.concatenate([block[rows] for block in self.blocks], axis=1, out=inputs[rows])
        return inputs

    def _words(self, values: Values, column: Column) -> np.ndarray:
        """The weights of the words of each row, (N, words); all 0 for a missing text, or one of only unknown words."""
        block, missing = encode_text(values, column), int((values.words.places < 0).sum())
        self._count("texts without a word from the training", values.name, int((~block.any(axis=1)).sum()) - missing)
        self._count("missing values", values.name, missing)
        return block

    def _categories(self, values: Values, column: Column) -> np.ndarray:
        """A 1 for the category of each row, (N, categories)."""
        words, name = values.words, values.name
        places = words.numbered(column["categories"])
        is_known = places >= 0
        missing = int((words.places < 0).sum())
        self._count("values that the training never saw", name, int((~is_known).sum()) - missing)
        self._count("missing values", name, missing)
        block = np.zeros((len(places), len(column["categories"])), np.float32)
        block[is_known, places[is_known]] = 1
        return block

    def _numbers(self, values: Values, column: Column) -> np.ndarray:
        """The number of each row, (N, 1), and the column's `fill` where it is missing."""
        with np.errstate(over="ignore"):
            numbers = values.numbers.astype(np.float32)
        is_blank = ~np.isfinite(numbers)
        is_wrong = is_blank & (values.is_wrong | np.isfinite(values.numbers))  # text, or too large for float32
        for row in np.flatnonzero(is_wrong).tolist():
            self.reasons[row] = f"{values.name} is {values.text(row)!r}: expected a number"
        self._count("missing values", values.name, int((is_blank & ~is_wrong).sum()))
        numbers[is_blank] = column["fill"]
        return numbers[:, None]

    def _count(self, thing: str, name: str, count: int) -> None:
        if count:
            self.counts[thing, name] += count


def encode(table: pa.Table, columns: list[Column], decimal: str = ".") -> Encoded:
    """Rows as numbers, what was missing or never seen, and why a row can't be encoded.

    Raises:
        ValueError: if the table lacks columns, or has one of them twice.
    """
    names, found = dict.fromkeys(column["name"] for column in columns), {*table.column_names}
    if lacking := [name for name in names if name not in found]:
        raise ValueError(f"the table lacks the columns {', '.join(lacking)}: it has {', '.join(table.column_names)}")
    refuse_duplicates(name for name in table.column_names if name in names)
    encoded = Encoded()
    for column in columns:
        encoded.add(Values(column["name"], table.column(column["name"]), decimal), column)
    return encoded
