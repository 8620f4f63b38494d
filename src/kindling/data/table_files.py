"""Reads tables from CSV and Parquet, whole for a training and part by part for a prediction, by the same rules."""

import csv
import mmap
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import yaml

from kindling.data.column_values import MISSING, as_column, refuse_duplicates

Name = str | int | float | bool  # of a column: YAML reads 2020 as a number, and on as true
PARQUET = (".parquet", ".pq")
# How much of a file is read at once: enough rows for a column to be worth a call, within some megabytes.
PART_ROWS = 4096
SMALLEST_BLOCK, LARGEST_BLOCK = 2**22, 2**26  # bytes


@dataclass
class TablePart:
    """Rows that follow each other.

    Args:
        table: those that have a value for each column.
        wrong: why the others can't be read, by their position among all rows of the part.
    """

    table: pa.Table
    wrong: dict[int, str] = field(default_factory=dict)

    def with_reasons(self, reasons: dict[int, str]) -> list[str]:
        """Why each row of the part can't be used, or ""; `reasons` has it for rows of the table."""
        said = [""] * len(self.table)
        for row, reason in reasons.items():
            said[row] = reason
        for position, reason in self.wrong.items():  # in the order of their positions
            said.insert(position, f"the row {reason}")
        return said


def named(name: Name, columns: list[str]) -> str:
    """The column that is meant by a name, which YAML may have read as a number, or as true or false.

    Raises:
        ValueError: if several columns would be read alike.
    """
    if isinstance(name, str):
        return name
    meant = [column for column in columns if _is_read_as(column, name)]
    if len(meant) > 1:
        raise ValueError(f"{' and '.join(meant)} are all {str(name).lower()} to YAML: write a column's name in quotes")
    return meant[0] if meant else str(name)


def named_columns(role: str, given: Any, columns: list[str], place: str) -> list[str]:
    """The columns that are given for a role: a name, several, or null.

    Args:
        role: argument of the data, for the message.
        given: what the user gave.
        columns: all that there are.
        place: where, for the message, such as `of a.csv`.

    Raises:
        ValueError: if there is no such column.
    """
    names = given if isinstance(given, list) else [] if given is None else [given]
    found = [named(name, columns) for name in names]
    for name in found:
        if name not in columns:
            raise ValueError(f"{role} is {name!r}, which is not a column {place}: {', '.join(columns)}")
    return found


def _is_read_as(column: str, name: Name) -> bool:
    """Whether YAML reads the name of a column as this number or truth value."""
    try:
        value = yaml.safe_load(column)
        value = float(value) if isinstance(value, str) else value  # such as 1e3, a number to newer readers
    except (ValueError, yaml.YAMLError):
        return False
    return isinstance(value, bool) == isinstance(name, bool) and value == name


def read_table(path: Path, separator: str = ",") -> pa.Table:
    """Read a CSV or a Parquet file; all but the numbers of Parquet as text. Columns without a name are left out.

    Raises:
        ValueError: with what is wrong with the file in one sentence, such as a row that has too few values.
    """
    try:
        parts, rows = [], 0
        for part in read_parts(path, separator)[1]:
            for position, reason in part.wrong.items():
                raise ValueError(f"row {rows + position} (from 0) {reason}")
            parts.append(part.table)
            rows += len(part.table)
        return pa.concat_tables(parts)
    except ValueError as error:
        raise ValueError(f"{path} can't be read as a table: {error}") from None


def read_parts(path: Path, separator: str = ",") -> tuple[int | None, Iterator[TablePart]]:
    """The number of rows, if the file says it, and the rows part by part, as `read_table` reads them.

    Raises:
        ValueError: with what is wrong with the file in one sentence; also when a part can't be read.
    """
    with _any_as_value_error():
        if path.suffix.lower() in PARQUET:
            file = pyarrow.parquet.ParquetFile(path)
            return file.metadata.num_rows, _without_unnamed(_parts_of_parquet(file))
        return None, _without_unnamed(_Csv(path, separator).parts())


@contextmanager
def _any_as_value_error() -> Iterator[None]:
    """Turn any error into a ValueError: a file that is not a table can make a reader fail in any way."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in reason:
            reason = "it is not text in UTF-8: save it as CSV UTF-8, or convert it with iconv -f latin1 -t utf-8"
        elif "straddl" in reason:
            reason = f"a row takes more than {SMALLEST_BLOCK >> 20} MB, or a quote is opened and never closed"
        raise ValueError(reason) from None


def _without_unnamed(parts: Iterator[TablePart]) -> Iterator[TablePart]:
    """The columns that have a name; a ValueError if two have the same."""
    with _any_as_value_error():
        for part in parts:
            names = part.table.column_names
            part.table = part.table.select([place for place, name in enumerate(names) if name.strip()])
            refuse_duplicates(part.table.column_names)
            yield part


def _parts_of_parquet(file: Any) -> Iterator[TablePart]:
    """All but numbers as text, as it would be in a CSV, and without the index that pandas has written."""
    index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
    names = [name for name in file.schema_arrow.names if name not in index]
    batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(PART_ROWS))
    for table in chain(batches, [file.schema_arrow.empty_table()]):
        yield TablePart(pa.table([as_column(table.column(name)) for name in names], names))


class _Csv:
    """A CSV whose values are all read as text: columns.py decides what they are by all values of a column.

    Args:
        path: the file.
        separator: the character between two values; in a .tsv it is a tab.

    Raises:
        ValueError: if it is empty, or when a quote is never closed.
    """

    def __init__(self, path: Path, separator: str) -> None:
        self.path, self.separator = path, "\t" if path.suffix.lower() == ".tsv" else separator
        self.header: list[str] = next(self._rows(), [])
        if not self.header:
            raise ValueError("it is empty")
        self.has_quotes = self._has_quotes()
        self.wrong = deque[tuple[int, str]]()  # the place of each row of another width, and what is wrong with it
        self.blank_lines = 0

    def parts(self) -> Iterator[TablePart]:
        """The rows as they come, those of another width among them."""
        start, last = 0, None
        for batch in pyarrow.csv.open_csv(self._source(), **self._options()):
            if not len(batch):
                continue
            table = pa.Table.from_batches([batch]).rename_columns(self.header)
            table = table.slice(1) if last is None else table  # Arrow takes the header for a row
            last = table
            part = TablePart(table, self._wrong_among(start, len(table)))
            start += len(table) + len(part.wrong)
            yield part
        nothing = pa.schema([(name, pa.string()) for name in self.header]).empty_table()
        yield TablePart(nothing, self._wrong_among(start, 0))  # at the end of the file
        self._refuse_open_quote(last)

    def _wrong_among(self, start: int, good: int) -> dict[int, str]:
        """The rows of another width between `good` rows of the right one and right after them, by position."""
        found: dict[int, str] = {}
        while self.wrong and self.wrong[0][0] <= start + good + len(found):
            place, reason = self.wrong.popleft()
            found[place - start] = reason
        return found

    def _options(self) -> dict[str, Any]:
        places = [str(place) for place in range(len(self.header))]  # instead of names, two of which may be alike
        block_size = PART_ROWS * len(self.separator.join(self.header))
        block_size = min(max(block_size, SMALLEST_BLOCK), LARGEST_BLOCK)
        return {
            # On one thread, since only then does Arrow number the rows; on two cores it is no slower.
            "read_options": pyarrow.csv.ReadOptions(column_names=places, block_size=block_size, use_threads=False),
            "parse_options": pyarrow.csv.ParseOptions(
                delimiter=self.separator, newlines_in_values=self.has_quotes, invalid_row_handler=self._note
            ),
            "convert_options": pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string()), null_values=MISSING, strings_can_be_null=True
            ),
        }

    def _note(self, row: Any) -> str:
        """Note a row of another width than the header, or a line of nothing but blanks."""
        if not row.text.strip():
            self.blank_lines += 1
        else:
            place = (row.number or 0) - 2 - self.blank_lines  # Arrow counts from 1, and the header too
            values = f"{row.actual_columns} value{'s' * (row.actual_columns != 1)}"
            self.wrong.append((place, f"has {values}, but the header has {len(self.header)}"))
        return "skip"

    def _refuse_open_quote(self, table: pa.Table | None) -> None:
        """A ValueError if the last value has no closing quote, and so takes in all rows after it."""
        last_row = [column[-1].as_py() or "" for column in table.columns] if table else []
        if not any("\n" in value or "\r" in value for value in last_row):
            return
        try:
            deque(self._rows(strict=True), maxlen=0)
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise ValueError("a quote is opened and never closed") from None

    def _rows(self, **options: Any) -> Iterator[list[str]]:
        """The rows as Python reads them, which takes many times as long; without lines of nothing but blanks."""
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, delimiter=self.separator, skipinitialspace=True, **options)
            yield from (row for row in rows if row not in ([], [""]))

    def _source(self) -> Any:
        """What Arrow reads: the file, or a copy without blanks before quotes, as in `1, "a, b"`."""
        if not self._has_blanks_before_quotes():
            return str(self.path)
        file = TemporaryFile()  # noqa: SIM115 (Arrow reads it to its end)
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        csv.writer(text, delimiter=self.separator).writerows(self._rows())
        text.detach()
        file.seek(0)
        return file

    def _has_quotes(self) -> bool:
        """Whether any value below the header may be in quotes, and so hold a line break, which takes time to find."""
        with self.path.open("rb") as file:
            blocks = iter(lambda: file.read(SMALLEST_BLOCK), b"")
            below_header = next(blocks).partition(b"\n")[2]
            return any(b'"' in block for block in chain([below_header], blocks))

    def _has_blanks_before_quotes(self) -> bool:
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = len(content) if self.has_quotes else content.find(b"\n")
            if content.find(b' "', 0, end) < 0:  # this takes a tenth of the time of what follows
                return False
            pattern = re.compile(rb'(^|[\r\n]|%b) +"' % re.escape(self.separator.encode()))
            return pattern.search(content, 0, end) is not None
