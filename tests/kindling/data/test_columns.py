"""Columns of a table as numbers, against pandas and scikit-learn's encoders."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from kindling.data.columns import (
    MISSING,
    count_lines,
    encode,
    fit_columns,
    is_numeric,
    numbers,
    read_table,
    texts,
    width,
)

TABLE = pd.DataFrame(
    {
        "age": ["31", "40.5", None, "-2", "1e3", "7"],
        "city": ["Rome", None, "Oslo", "Rome", "Bonn", "Oslo"],
        "zip": ["10", "20", "10", None, "30", "20"],
    },
    dtype=object,
)
TRAIN = [0, 1, 2, 3]


def test_rows_are_encoded_as_scikit_learn_does_it() -> None:
    columns = fit_columns(TABLE.iloc[TRAIN], ["zip"], limit=10)
    found, _, reasons = encode(TABLE, columns)
    known = TABLE.assign(age=pd.to_numeric(TABLE["age"]), **TABLE[["city", "zip"]].fillna(np.nan))
    reference = ColumnTransformer(
        [
            ("age", SimpleImputer(strategy="median"), ["age"]),
            ("city", OneHotEncoder(categories=[["Oslo", "Rome"]], handle_unknown="ignore"), ["city"]),
            ("zip", OneHotEncoder(categories=[["10", "20"]], handle_unknown="ignore"), ["zip"]),
        ],
        sparse_threshold=0,
    ).fit(known.iloc[TRAIN])
    np.testing.assert_array_equal(found, reference.transform(known).astype(np.float32))
    assert found.dtype == np.float32
    assert not reasons
    assert [width(column) for column in columns] == [1, 2, 2]


def test_what_is_missing_or_never_seen_is_counted() -> None:
    columns = fit_columns(TABLE.iloc[TRAIN], ["zip"], limit=10)
    assert columns[0] == {"name": "age", "fill": 31.0}  # the median of the training rows alone
    _, counts, _ = encode(TABLE, columns)
    assert counts == {
        ("missing values", "age"): 1,
        ("missing values", "city"): 1,
        ("missing values", "zip"): 1,
        ("values that the training never saw", "city"): 1,
        ("values that the training never saw", "zip"): 1,
    }
    assert count_lines(counts) == [
        "missing values: 3 (age 1, city 1, zip 1)",
        "values that the training never saw: 2 (city 1, zip 1)",
    ]
    _, counts, _ = encode(TABLE.iloc[:1], columns)
    assert not counts


def test_what_is_no_number_is_told_by_row() -> None:
    columns = [{"name": "a", "fill": 2.0}]
    table = pd.DataFrame({"a": ["1", "x", "inf", "NA", "1e300", " 3 "]})
    found, counts, reasons = encode(table, columns)
    assert reasons == {1: "a is 'x': expected a number", 4: "a is '1e300': expected a number"}
    assert found[[0, 2, 3, 5], 0].tolist() == [1, 2, 2, 3]
    assert counts["missing values", "a"] == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.5, np.nan], ["1", "2.5", None]),
        ([1, 2, 3], ["1", "2", "3"]),
        (["1.0", "-3.00", "v1.0", "1.05", " a "], ["1", "-3", "v1.0", "1.05", "a"]),
        ([True, False, None], ["True", "False", None]),
        ([*MISSING, " NA ", pd.NA, pd.NaT], [None] * (len(MISSING) + 3)),
        (pd.Categorical(["b", "a", None]), ["b", "a", None]),
        (pd.array([1, None], dtype="Int64"), ["1", None]),
        (pd.to_datetime(["2024-05-01", None]), ["2024-05-01 00:00:00", None]),
    ],
)
def test_values_as_text(values: Any, expected: list[str | None]) -> None:
    assert texts(pd.Series(values)).tolist() == expected


@pytest.mark.parametrize(
    ("values", "numeric"),
    [
        (["1", "2.5", "-1e3", " 4 ", None, "inf"], True),
        (["1", "2", "x"], False),
        ([*map(str, range(9)), "x"], True),  # a slip, which encode tells
        ([*map(str, range(8)), "x"], False),
        ([None, None], True),
        (["2024-05-01"] * 3, False),
        (pd.array([1, None], dtype="Int64"), True),
    ],
)
def test_a_column_of_numbers_is_told_from_names(values: Any, numeric: bool) -> None:
    assert is_numeric(pd.Series(values)) == numeric


def test_numbers_are_finite_or_missing() -> None:
    found = numbers(pd.Series(["1", "x", "inf", None, "-inf", "2e-3"]))
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, np.nan, np.nan, 0.002])


def frame(size: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "amount": rng.normal(size=size).round(3),
            "count": pd.array(rng.integers(0, 9, size), dtype="Int64"),
            "flag": rng.random(size) < 0.5,
            "city": rng.choice(["Rome", "Oslo, N", 'a "b"'], size),
            "class": pd.Categorical(rng.choice(["low", "high"], size)),
            "day": pd.date_range("2024-01-01", periods=size).astype(str),
        }
    )
    table.loc[3, ["amount", "count", "city"]] = None
    return table


def test_parquet_is_as_the_same_table_in_a_csv(tmp_path: Path) -> None:
    table = frame()
    table["nullable"] = [True, False, None] * 10
    table.to_csv(tmp_path / "a.csv", index=False)
    table.set_index("day", drop=False).to_parquet(tmp_path / "a.parquet")
    found = [read_table(tmp_path / name) for name in ("a.csv", "a.parquet")]
    assert list(found[0].columns) == list(found[1].columns) == list(table.columns)
    encoded = [encode(each, fit_columns(each, ["count"], 40)) for each in found]
    np.testing.assert_array_equal(encoded[0][0], encoded[1][0])
    assert encoded[0][1:] == encoded[1][1:]
    assert fit_columns(found[0], [], 40) == fit_columns(found[1], [], 40)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv", {}),
        ("a.csv", {"sep": ";"}),
        ("a.tsv", {"sep": "\t"}),
        ("a.csv", {"encoding": "utf-8-sig"}),
        ("a.csv", {"lineterminator": "\r\n"}),
        ("a.csv", {"index": True}),  # a column without a name
        ("a.csv", {"quoting": 1}),
    ],
)
def test_a_csv_is_read_however_it_is_written(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    table = frame()
    table.to_csv(tmp_path / name, **{"index": False, **options})
    found = read_table(tmp_path / name, options.get("sep", ",").replace("\t", ","))
    for column in table:
        assert texts(found[column]).tolist() == texts(table[column]).tolist()
    assert list(found.columns) == list(table.columns)


def test_blank_lines_and_blanks_are_no_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a, b\n\n1, x\n2,\n\n")
    assert read_table(tmp_path / "a.csv").to_dict("list") == {
        "a": ["1", "2"],
        "b": ["x", pytest.approx(np.nan, nan_ok=True)],
    }


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([None, "NA", ""], {}, "column a has no value in the training split: leave it out with data.drop"),
        (["inf", "-inf"], {}, "column a has no value in the training split"),
        ([None, None], {"categorical": ["a"]}, "column a has no value in the training split"),
        (list("abcd"), {"limit": 3}, "column a has 4 different values, such as 'a': leave it out with data.drop, or"),
    ],
)
def test_columns_of_no_use(values: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_columns(pd.DataFrame({"a": values}), **{"categorical": [], "limit": 10, **options})


def test_a_table_that_lacks_a_column_or_has_it_twice() -> None:
    columns = [{"name": name, "fill": 0.0} for name in "abc"]
    with pytest.raises(ValueError, match="the table lacks the columns a, c: it has b, d"):
        encode(pd.DataFrame({"b": [1], "d": [1]}), columns)
    with pytest.raises(ValueError, match="two of its columns are called b"):
        encode(pd.DataFrame([[1, 2, 3, 4]], columns=list("abbc")), columns)
