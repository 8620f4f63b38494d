"""Turns the columns of a table into numbers, for training and ever after in the same way."""

import csv
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# What stands for a missing value, in training and in prediction.
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A", "?"]
INFINITE = ["inf", "-inf"]  # counts as missing too

Column = dict[str, Any]  # what is to be known of a column, as plain values: see fit_columns
Counts = Counter[tuple[str, str]]  # (what was counted, name of the column) → how often


def read_table(path: Path, separator: str = ",") -> pd.DataFrame:
    """Read a CSV or a Parquet file; all but the numbers of Parquet as text. Columns without a name are left out.

    Raises:
        ValueError: with what is wrong with the file in one sentence.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            table = _read_parquet(path)
        else:
            table = _read_csv(path, "\t" if suffix == ".tsv" else separator)
        table = table.loc[:, [bool(name.strip()) for name in table.columns]]
        refuse_twice(table)
        return table
    except ImportError:
        raise ValueError(f"{path} is Parquet, which needs pyarrow: pip install -e '.[parquet]'") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} can't be read as a table: it is not text in UTF-8") from None
    except Exception as error:  # a file that is not a table can make a reader fail in any way
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"{path} can't be read as a table: {reason}") from None


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path).reset_index(drop=True)
    for name in table.columns:
        is_number = pd.api.types.is_numeric_dtype(table[name]) and not pd.api.types.is_bool_dtype(table[name])
        if not is_number:
            table[name] = texts(table[name])  # as it would be in a CSV
    table.columns = pd.Index([str(name) for name in table.columns])
    return table


def _read_csv(path: Path, separator: str) -> pd.DataFrame:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
        header = next(filter(None, rows), [])
    options = {"keep_default_na": False, "na_values": MISSING, "skipinitialspace": True, "dtype": str}
    # The header is read as a row, so that pandas refuses rows of another length than it.
    table = pd.read_csv(path, sep=separator, header=None, encoding="utf-8-sig", **options)
    table = table.iloc[1:].reset_index(drop=True)
    table.columns = pd.Index(header)
    return table


def refuse_twice(table: pd.DataFrame) -> None:
    """A ValueError if two columns have the same name."""
    if not table.columns.is_unique:
        raise ValueError(f"two of its columns are called {table.columns[table.columns.duplicated()][0]}")


def texts(series: pd.Series) -> pd.Series:
    """Values as text, missing ones as None; 1.0 is 1, since a missing value makes floats of a column's integers."""
    words = series.map(_text).astype(object)
    return words.where(words.notna() & ~words.isin(MISSING), None)


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


def numbers(series: pd.Series) -> np.ndarray:
    """Values as float64, NaN for what is missing or not a finite number."""
    values = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    values[~np.isfinite(values)] = np.nan
    return values


def is_numeric(series: pd.Series) -> bool:
    """Whether a column holds numbers; a few values, a tenth at most, may be none by mistake."""
    words = texts(series)
    is_given = (words.notna() & ~words.isin(INFINITE)).to_numpy()
    is_none = np.isnan(numbers(series)) & is_given
    return bool(is_none.sum() <= 0.1 * is_given.sum())


def fit_columns(table: pd.DataFrame, categorical: Iterable[str], limit: int) -> list[Column]:
    """What is to be known of each column of the training rows, as plain values.

    A numeric column has a `fill` for missing values, its median. Any other has `categories`: one number each, 1 or 0;
    all are 0 for a missing value and for one never seen.

    Raises:
        ValueError: if a column is empty, or has more than `limit` categories.
    """
    return [_fit_column(table[name], name in categorical, limit) for name in table.columns]


def _fit_column(series: pd.Series, is_categorical: bool, limit: int) -> Column:
    words = texts(series).dropna()
    if words.isin(INFINITE).all():
        raise ValueError(f"column {series.name} has no value in the training split: leave it out with data.drop")
    if not is_categorical and is_numeric(series):
        return {"name": series.name, "fill": float(np.nanmedian(numbers(series)))}
    values = sorted(words.unique())
    if len(values) > limit:
        raise ValueError(
            f"column {series.name} has {len(values)} different values, such as {values[0]!r}: leave it out with "
            "data.drop, or raise data.max_categories"
        )
    return {"name": series.name, "categories": values}


def width(column: Column) -> int:
    """How many numbers a column becomes."""
    return len(column["categories"]) if "categories" in column else 1


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


def encode(table: pd.DataFrame, columns: list[Column]) -> tuple[np.ndarray, Counts, dict[int, str]]:
    """Rows as float32 (N, F), what was missing or never seen, and why a row can't be encoded, by position.

    Raises:
        ValueError: if the table lacks columns.
    """
    names = [column["name"] for column in columns]
    if lacking := [name for name in names if name not in table.columns]:
        raise ValueError(
            f"the table lacks the columns {', '.join(lacking)}: it has {', '.join(map(str, table.columns))}"
        )
    refuse_twice(table.loc[:, table.columns.isin(names)])
    blocks, counts, reasons = [], Counts(), dict[int, str]()
    for column in columns:
        encode_column = _encode_categories if "categories" in column else _encode_numbers
        blocks.append(encode_column(table[column["name"]], column, counts, reasons))
    return np.concatenate(blocks, axis=1), +counts, reasons


def _encode_categories(series: pd.Series, column: Column, counts: Counts, reasons: dict[int, str]) -> np.ndarray:
    """A 1 for the category of each row, (N, categories); adds to the counts."""
    words = texts(series)
    is_missing = words.isna().to_numpy()
    places = pd.Index(column["categories"]).get_indexer(pd.Index(words))  # -1 if it is none of them
    counts["values that the training never saw", column["name"]] += int(((places < 0) & ~is_missing).sum())
    counts["missing values", column["name"]] += int(is_missing.sum())
    size = len(column["categories"])
    return np.eye(size + 1, dtype=np.float32)[places][:, :size]  # -1 is the last row, which is zero in these columns


def _encode_numbers(series: pd.Series, column: Column, counts: Counts, reasons: dict[int, str]) -> np.ndarray:
    """The number of each row, (N, 1), and the column's `fill` where it is missing; adds to the counts and reasons."""
    words, values = texts(series), numbers(series)
    with np.errstate(over="ignore"):
        is_blank = ~np.isfinite(values.astype(np.float32))
    is_wrong = is_blank & ~words.isna().to_numpy() & ~words.isin(INFINITE).to_numpy()
    for row in np.flatnonzero(is_wrong):
        reasons[int(row)] = f"{column['name']} is {words.iloc[row]!r}: expected a number"
    counts["missing values", column["name"]] += int((is_blank & ~is_wrong).sum())
    return np.where(is_blank, column["fill"], values).astype(np.float32)[:, None]
