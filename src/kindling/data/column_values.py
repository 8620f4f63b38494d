"""The values of a table's columns, as numbers and as text, wherever they come from."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What stands for a missing value, in training and in prediction.
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A", "?"]
INFINITE = ["inf", "-inf"]  # counts as missing too
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def as_column(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as they are, but of a width that Arrow computes with; anything else as text, missing as null."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return as_column(values.cast(kind.value_type))
    if pa.types.is_float16(kind):
        return values.cast(pa.float32())
    if _is_number(kind):
        return values
    if pa.types.is_large_string(kind) or pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    return pa.chunked_array([pa.array(map(text_of, values.to_pylist()), pa.string())])


def as_table(frame: Any) -> pa.Table:
    """A pandas DataFrame as the table that a reader of files would give; an Arrow table stays as it is."""
    if isinstance(frame, pa.Table):
        return frame
    from pandas import isna

    columns = []
    for place in range(frame.shape[1]):
        series = frame.iloc[:, place]
        if series.dtype.kind in "iuf":
            values = as_column(pa.chunked_array([pa.Array.from_pandas(series)]))
        else:
            words = [None if isna(value) else text_of(value) for value in series]
            values = pa.chunked_array([pa.array(words, pa.string())])
        columns.append(values)
    return pa.table(columns, names=[str(name) for name in frame.columns])


def refuse_duplicates(names: Iterable[str]) -> None:
    """Raise a ValueError if two columns have the same name."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"two of its columns are called {name}")


def text_of(value: Any) -> str | None:
    """A value as text, None if it is missing; 1.0 is 1, since a missing value makes floats of a column's integers."""
    word = "" if value is None else re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())
    return None if word in MISSING else word


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


@dataclass
class Words:
    """Values as text: which of `words` each row has, (N,), or -1 where it is missing."""

    places: np.ndarray
    words: list[str]

    def among(self, rows: Any) -> list[str]:
        """The different words of some rows."""
        return [self.words[place] for place in np.unique(self.places[rows]) if place >= 0]

    def numbered(self, known: list[str]) -> np.ndarray:
        """Which of some other words each row has, (N,), or -1 for none of them."""
        numbers = {word: number for number, word in enumerate(known)}
        return np.array([numbers.get(word, -1) for word in self.words] + [-1])[self.places]


class Values:
    """The values of a column, as numbers and as text.

    Args:
        name: of the column.
        column: numbers or text, see as_column.
        decimal: the decimal mark of numbers in text.
    """

    def __init__(self, name: str, column: pa.ChunkedArray, decimal: str = ".") -> None:
        self.name, self.column, self.decimal = name, column, decimal

    @cached_property
    def numbers(self) -> np.ndarray:
        """Float64 (N,), NaN for what is missing or not a finite number."""
        values = self._parsed() if self._is_text else _to_numpy(self.column.cast(pa.float64(), safe=False))
        return np.where(np.isfinite(values), values, np.nan)

    @property
    def _is_text(self) -> bool:
        return bool(pa.types.is_string(self.column.type))

    def _parsed(self) -> np.ndarray:
        """Text as numbers: all at once if all of it is, else each different value once."""
        for trim in (lambda text: text, pc.ascii_trim_whitespace):
            try:
                return _to_numpy(trim(self._with_point(self.column)).cast(pa.float64()))
            except pa.ArrowInvalid:  # a value is not a number
                pass
        texts = pc.ascii_trim_whitespace(self._with_point(self._encoded.dictionary))
        is_number = pc.match_substring_regex(texts, NUMBER)
        values = _to_numpy(pc.if_else(is_number, texts, None).cast(pa.float64()))
        return np.append(values, np.nan)[self._places]

    def _with_point(self, text: Any) -> Any:
        """Text with a point before the fraction of a number; text that already had a point is not a number."""
        if self.decimal == ".":
            return text
        return pc.replace_substring(pc.replace_substring(text, ".", "_"), self.decimal, ".")

    @cached_property
    def _encoded(self) -> pa.DictionaryArray:
        return self.column.dictionary_encode().combine_chunks()

    @property
    def _places(self) -> np.ndarray:
        """Where in the dictionary the value of each row is, -1 for null."""
        return _to_numpy(self._encoded.indices.fill_null(-1))

    @cached_property
    def words(self) -> Words:
        dictionary = self._encoded.dictionary
        # NumPy writes a float32 with its own digits, Python with those of a float64.
        values = dictionary.to_pylist() if self._is_text else _to_numpy(dictionary)
        texts = [text_of(value) for value in values]
        words = list(dict.fromkeys(text for text in texts if text is not None))  # one for "1" and "1.0"
        numbers = {word: number for number, word in enumerate(words)}
        renumbered = np.array([-1 if text is None else numbers[text] for text in texts] + [-1])
        return Words(renumbered[self._places], words)

    def text(self, row: int) -> str | None:
        return text_of(self.column[row].as_py())

    @cached_property
    def is_missing(self) -> np.ndarray:
        """Where there is no value, (N,)."""
        if self._is_text and not self._are_gaps_null:
            return self.words.places < 0
        return _to_numpy(self.column.is_null(nan_is_null=True))

    @property
    def _are_gaps_null(self) -> bool:
        """Whether everything that is not a finite number is null, so that no text has to be looked at."""
        return int(np.isnan(self.numbers).sum()) == self.column.null_count

    @cached_property
    def is_wrong(self) -> np.ndarray:
        """Where there is a value, but neither a finite number nor an infinite one, (N,)."""
        if not self._is_text or self._are_gaps_null:
            return np.zeros(len(self.column), bool)
        is_infinite = np.array([word in INFINITE for word in self.words.words] + [True])  # or missing
        return np.isnan(self.numbers) & ~is_infinite[self.words.places]

    def given(self, rows: Any = slice(None)) -> tuple[int, int]:
        """How many of some rows hold a number, and how many something else that is not infinite."""
        return int(np.isfinite(self.numbers[rows]).sum()), int(self.is_wrong[rows].sum())

    def is_numeric(self, rows: Any = slice(None)) -> bool:
        """Whether some rows hold numbers; up to a tenth of the values may be something else by mistake."""
        return are_numbers(*self.given(rows))

    def refuse_other_decimal(self, rows: Any = slice(None), otherwise: str = "set data.kind to classification") -> None:
        """Raise a ValueError if some rows, which hold text, would be numbers with the other decimal mark."""
        other = "," if self.decimal == "." else "."
        read_so = Values(self.name, self.column, other)
        is_such = np.isfinite(read_so.numbers) & np.isnan(self.numbers)
        if not is_such.any() or not read_so.is_numeric(rows):
            return
        raise ValueError(
            f"column {self.name} has numbers such as {self.text(int(is_such.argmax()))!r}, but data.decimal is "
            f"{self.decimal!r}: set it to {other!r} if that is the decimal mark, remove the thousands separators, "
            f"or {otherwise}"
        )


def are_numbers(numbers: int, others: int) -> bool:
    return others <= 0.1 * (numbers + others)


def _to_numpy(values: Any) -> np.ndarray:
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)
