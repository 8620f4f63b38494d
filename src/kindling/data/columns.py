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
INFINITE = ["inf", "-inf"]  # which is taken for missing too


def read_table(path: Path, separator: str = ",") -> pd.DataFrame:
    """Read a CSV or a Parquet file; all but the numbers of Parquet as text. Columns without a name are left out.

    Raises:
        ValueError: with what is wrong with the file in one sentence.
    """
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pd.read_parquet(path).reset_index(drop=True)
            for name in table.columns:  # as they would be in a CSV
                if not pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_bool_dtype(table[name]):
                    table[name] = texts(table[name])
            header = [str(name) for name in table.columns]
        else:
            separator = "\t" if path.suffix.lower() == ".tsv" else separator
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = csv.reader(file, delimiter=separator, skipinitialspace=True)
                header = next(filter(None, rows), [])
            options = {"keep_default_na": False, "na_values": MISSING, "skipinitialspace": True, "dtype": str}
            table = pd.read_csv(path, sep=separator, header=None, encoding="utf-8-sig", **options)
            table = table.iloc[1:].reset_index(drop=True)  # a row of other length than the header is an error so
        table.columns = pd.Index(header)
        table = table.loc[:, [bool(name.strip()) for name in header]]
        refuse_twice(table)
        return table
    except ImportError:
        raise ValueError(f"{path} is Parquet, which needs pyarrow: pip install -e '.[parquet]'") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} can't be read as a table: it is not text in UTF-8") from None
    except Exception as error:  # a file that is no table can make a reader fail in any way
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"{path} can't be read as a table: {reason}") from None


def refuse_twice(table: pd.DataFrame) -> None:
    """A ValueError if two columns have the same name."""
    if not table.columns.is_unique:
        raise ValueError(f"two of its columns are called {table.columns[table.columns.duplicated()][0]}")


def texts(series: pd.Series) -> pd.Series:
    """Values as text, missing ones as None; 1.0 is 1, since a missing value makes floats of a column's integers."""
    words = series.map(lambda value: None if pd.isna(value) else re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip()))
    words = words.astype(object)
    return words.where(words.notna() & ~words.isin(MISSING), None)


def numbers(series: pd.Series) -> np.ndarray:
    """Values as float64, NaN for what is missing or no finite number."""
    values = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    values[~np.isfinite(values)] = np.nan
    return values


def is_numeric(series: pd.Series) -> bool:
    """Whether a column holds numbers; a few values, a tenth at most, may be none by mistake."""
    words = texts(series)
    given = words.notna() & ~words.isin(INFINITE)
    return bool(np.isnan(numbers(series))[given.to_numpy()].sum() <= 0.1 * given.sum())


def fit_columns(table: pd.DataFrame, categorical: Iterable[str], limit: int) -> list[dict[str, Any]]:
    """What is to be known of each column of the training rows, as plain values.

    A numeric column has a `fill` for missing values, its median. Any other has `categories`: one number each, 1 or 0;
    all are 0 for a missing value and for one never seen.

    Raises:
        ValueError: if a column is empty, or has more than `limit` categories.
    """
    columns: list[dict[str, Any]] = []
    for name in table.columns:
        known = texts(table[name]).dropna()
        if known.isin(INFINITE).all():
            raise ValueError(f"column {name} has no value in the training split: leave it out with data.drop")
        if name not in categorical and is_numeric(table[name]):
            columns.append({"name": name, "fill": float(np.nanmedian(numbers(table[name])))})
            continue
        values = sorted(known.unique())
        if len(values) > limit:
            raise ValueError(
                f"column {name} has {len(values)} different values, such as {values[0]!r}: leave it out with "
                "data.drop, or raise data.max_categories"
            )
        columns.append({"name": name, "categories": values})
    return columns


def width(column: dict[str, Any]) -> int:
    """How many numbers a column becomes."""
    return len(column["categories"]) if "categories" in column else 1


Counts = Counter[tuple[str, str]]  # (what it is, column)


def told(counts: Counts) -> list[str]:
    """Counts in a line for each thing counted, such as missing values: 27 (age 18, sex 9)."""
    lines = []
    for what in dict.fromkeys(what for what, _ in counts):
        found = {name: count for (each, name), count in counts.items() if each == what}
        each = ", ".join(f"{name} {count:,}" for name, count in found.items())
        lines.append(f"{what}: {sum(found.values()):,} ({each})")
    return lines


def encode(table: pd.DataFrame, columns: list[dict[str, Any]]) -> tuple[np.ndarray, Counts, dict[int, str]]:
    """Rows as float32 (N, F), what was missing or never seen, and why a row can't be encoded, by position.

    Raises:
        ValueError: if the table lacks columns.
    """
    lacking = [column["name"] for column in columns if column["name"] not in table.columns]
    if lacking:
        raise ValueError(
            f"the table lacks the columns {', '.join(lacking)}: it has {', '.join(map(str, table.columns))}"
        )
    refuse_twice(table.loc[:, table.columns.isin([column["name"] for column in columns])])
    blocks, counts, reasons = [], Counts(), dict[int, str]()
    for column in columns:
        name = column["name"]
        words = texts(table[name])
        missing = words.isna().to_numpy()
        if "categories" in column:
            known = pd.Index(column["categories"]).get_indexer(pd.Index(words))
            blocks.append(np.eye(len(column["categories"]) + 1, dtype=np.float32)[known][:, :-1])
            unseen = (known < 0) & ~missing
            counts["values that the training never saw", name] += int(unseen.sum())
        else:
            values = numbers(table[name])
            with np.errstate(over="ignore"):
                blank = ~np.isfinite(values.astype(np.float32))
            odd = blank & ~missing & ~words.isin(INFINITE).to_numpy()
            for row in np.flatnonzero(odd):
                reasons[int(row)] = f"{name} is {words.iloc[row]!r}: expected a number"
            blocks.append(np.where(blank, column["fill"], values).astype(np.float32)[:, None])
            missing = blank & ~odd
        counts["missing values", name] += int(missing.sum())
    return np.concatenate(blocks, axis=1), +counts, reasons
