"""Columns of a table as numbers, against pandas and scikit-learn's encoders."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from kindling.data.column_values import INFINITE, MISSING, Values, as_column, as_table
from kindling.data.columns import Column, count_lines, encode, fit_column, width

TABLE = pd.DataFrame(
    {
        "age": ["31", "40.5", None, "-2", "1e3", "7"],
        "city": ["Rome", None, "Oslo", "Rome", "Bonn", "Oslo"],
        "zip": ["10", "20", "10", None, "30", "20"],
    },
    dtype=object,
)
TRAIN = [0, 1, 2, 3]


def column_of(values: Any, decimal: str = ".") -> Values:
    """A column as it comes from a DataFrame."""
    return Values("a", as_table(pd.DataFrame({"a": values})).column(0), decimal)


def texts_of(values: Values) -> list[str | None]:
    return [None if place < 0 else values.words.words[place] for place in values.words.places]


def fitted(frame: pd.DataFrame, rows: Any, categorical: tuple[str, ...] = (), limit: int = 10) -> list[Column]:
    table = as_table(frame)
    return [
        fit_column(Values(name, table.column(name)), rows, name in categorical, limit) for name in table.column_names
    ]


def test_rows_are_encoded_as_scikit_learn_does_it() -> None:
    columns = fitted(TABLE, TRAIN, ("zip",))
    found = encode(as_table(TABLE), columns)
    known = TABLE.assign(age=pd.to_numeric(TABLE["age"]), **TABLE[["city", "zip"]].fillna(np.nan))
    reference = ColumnTransformer(
        [
            ("age", SimpleImputer(strategy="median"), ["age"]),
            ("city", OneHotEncoder(categories=[["Oslo", "Rome"]], handle_unknown="ignore"), ["city"]),
            ("zip", OneHotEncoder(categories=[["10", "20"]], handle_unknown="ignore"), ["zip"]),
        ],
        sparse_threshold=0,
    ).fit(known.iloc[TRAIN])
    np.testing.assert_array_equal(found.inputs, reference.transform(known).astype(np.float32))
    assert found.inputs.dtype == np.float32
    assert not found.reasons
    assert [width(column) for column in columns] == [1, 2, 2]


def test_what_is_missing_or_never_seen_is_counted() -> None:
    columns = fitted(TABLE, TRAIN, ("zip",))
    assert columns[0] == {"name": "age", "fill": 31.0}  # the median of the training rows alone
    counts = encode(as_table(TABLE), columns).counts
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
    assert not encode(as_table(TABLE.iloc[:1]), columns).counts


def test_what_is_no_number_is_told_by_row() -> None:
    columns = [{"name": "a", "fill": 2.0}]
    table = pd.DataFrame({"a": ["1", "x", "inf", "NA", "1e300", " 3 "]})
    found = encode(as_table(table), columns)
    assert found.reasons == {1: "a is 'x': expected a number", 4: "a is '1e300': expected a number"}
    assert found.inputs[[0, 2, 3, 5], 0].tolist() == [1, 2, 2, 3]
    assert found.counts["missing values", "a"] == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.5, np.nan], ["1", "2.5", None]),
        ([1, 2, 3], ["1", "2", "3"]),
        (["1.0", "-3.00", "v1.0", "1.05", " a "], ["1", "-3", "v1.0", "1.05", "a"]),
        (["01234", "1234", "00.50"], ["01234", "1234", "00.50"]),
        ([True, False, None], ["True", "False", None]),
        ([*MISSING, " NA ", pd.NA, pd.NaT], [None] * (len(MISSING) + 3)),
        (pd.Categorical(["b", "a", None]), ["b", "a", None]),
        (pd.Categorical([2.0, 1.5, None]), ["2", "1.5", None]),
        (pd.array([1, None], dtype="Int64"), ["1", None]),
        (np.array([0.1, 2.0], dtype=np.float32), ["0.1", "2"]),
        (pd.to_datetime(["2024-05-01", None]), ["2024-05-01 00:00:00", None]),
    ],
)
def test_values_as_text(values: Any, expected: list[str | None]) -> None:
    column = column_of(values)
    assert texts_of(column) == expected
    assert column.is_missing.tolist() == [text is None for text in expected]


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
    assert column_of(values).is_numeric() == numeric


ODD = [
    *MISSING,
    *INFINITE,
    "Infinity",
    "-nan",
    "NAN",
    "INF",
    "+5",
    "1_000",
    "1E+5",
    ".5",
    "5.",
    "0x10",
    "True",
    "1e400",
]
ODD += [
    "1e-400",
    "１２",
    "1,5",
    "- 5",
    "--1",
    "1e",
    "12abc",
    "-0",
    "1 2",
    " 3 ",
    "\t7",
    "NA ",
    "00012",
    "1.0",
    "1.",
    ".",
]
ODD += ["+", "1e+", "+.5", "e5", "1d5", "1L", "1\u00a0", "1e300", "word", "x 1"]


@pytest.mark.parametrize("count", [0, 1, 5, 40, 400])
@pytest.mark.parametrize("odd", [0.0, 0.02, 0.3, 1.0])
def test_numbers_and_texts_are_those_of_pandas(count: int, odd: float) -> None:
    rng = np.random.default_rng(count)
    plain = [repr(float(value)) for value in rng.normal(0, 100, count)]
    written = [str(rng.choice(ODD)) if rng.random() < odd else value for value in plain]
    column = Values("a", pa.chunked_array([written[: count // 3], written[count // 3 :]], pa.string()))
    numbers = pd.to_numeric(pd.Series(written, dtype=object), errors="coerce").to_numpy(float)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    np.testing.assert_allclose(column.numbers, numbers, rtol=1e-15)
    texts: list[str | None] = [re.sub(r"^(-?\d+)\.0+$", r"\1", value.strip()) for value in written]
    texts = [None if text in MISSING else text for text in texts]
    assert texts_of(column) == texts
    is_given = np.array([text is not None and text not in INFINITE for text in texts], dtype=bool)
    assert column.is_wrong.tolist() == (is_given & np.isnan(numbers)).tolist()
    assert column.given() == (np.isfinite(numbers).sum(), (is_given & np.isnan(numbers)).sum())
    assert column.is_numeric() == bool((is_given & np.isnan(numbers)).sum() <= 0.1 * is_given.sum())


def test_numbers_are_finite_or_missing() -> None:
    found = column_of(["1", "x", "inf", None, "-inf", "2e-3"]).numbers
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, np.nan, np.nan, 0.002])
    found = column_of(np.array([1, np.inf, np.nan, -np.inf])).numbers
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, np.nan])
    assert column_of([2**53 + 1, 1]).numbers.tolist() == [2.0**53, 1]


def test_decimal_commas() -> None:
    written = ["1,5", "-2", "1.500", ",25", "1.500,5", "1e2", None, "x"]
    column = column_of(written, ",")
    np.testing.assert_array_equal(column.numbers, [1.5, -2, np.nan, 0.25, np.nan, 100, np.nan, np.nan])
    assert column.is_wrong.tolist() == [False, False, True, False, True, False, False, True]
    assert texts_of(column) == written


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.int8(), pa.uint64(), pa.decimal128(5, 1), pa.bool_()])
def test_numbers_of_any_type(kind: pa.DataType) -> None:
    column = Values("a", as_column(pa.chunked_array([pa.array([1, None, 0], pa.int8()).cast(kind)])))
    expected = ["True", None, "False"] if kind == pa.bool_() else ["1", None, "0"]
    assert texts_of(column) == expected
    if kind != pa.bool_():
        np.testing.assert_array_equal(column.numbers, [1, np.nan, 0])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([None, "NA", ""], {}, "column a has no value in the training split: leave it out with data.drop"),
        (["inf", "-inf"], {}, "column a has no value in the training split"),
        ([np.inf, np.nan], {}, "column a has no value in the training split"),
        ([None, None], {"categorical": ("a",)}, "column a has no value in the training split"),
        (list("abcd"), {"limit": 3}, "column a has 4 different values, such as 'a': leave it out with data.drop, or"),
        (["1", "2,5"], {}, "column a has numbers such as '2,5', but data.decimal is '.': set it to ','"),
    ],
)
def test_columns_of_no_use(values: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted(pd.DataFrame({"a": values}), slice(None), **options)


def test_a_table_that_lacks_a_column_or_has_it_twice() -> None:
    columns = [{"name": name, "fill": 0.0} for name in "abc"]
    with pytest.raises(ValueError, match="the table lacks the columns a, c: it has b, d"):
        encode(as_table(pd.DataFrame({"b": [1], "d": [1]})), columns)
    with pytest.raises(ValueError, match="two of its columns are called b"):
        encode(as_table(pd.DataFrame([[1, 2, 3, 4]], columns=list("abbc"))), columns)
