"""The readers of tables: what a file holds is the same whole, part by part, as CSV and as Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kindling.data import table_files
from kindling.data.column_values import Values, as_table
from kindling.data.columns import encode, fit_column
from kindling.data.table_files import read_parts, read_table


def frame(size: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "amount": rng.normal(size=size).round(3),
            "count": pd.array(rng.integers(0, 9, size), dtype="Int64"),
            "flag": rng.random(size) < 0.5,
            "city": rng.choice(["Rome", "Oslo, N", 'a "b"', "two\nlines"], size),
            "class": pd.Categorical(rng.choice(["low", "high"], size)),
            "day": pd.date_range("2024-01-01", periods=size).astype(str),
        }
    )
    table.loc[3, ["amount", "count", "city"]] = None
    return table


def texts(table: pa.Table) -> dict[str, list[str | None]]:
    found = {}
    for name in table.column_names:
        words = Values(name, table.column(name)).words
        found[name] = [None if place < 0 else words.words[place] for place in words.places]
    return found


def in_parts(path: Path, separator: str = ",") -> tuple[list[Any], list[str]]:
    """The rows of a file as text, and why each can't be read."""
    rows: list[Any] = []
    said: list[str] = []
    for part in read_parts(path, separator)[1]:
        rows += zip(*texts(part.table).values(), strict=True)
        said += part.with_reasons({})
    return rows, said


def test_parquet_is_as_the_same_table_in_a_csv(tmp_path: Path) -> None:
    table = frame()
    table["nullable"] = [True, False, None] * 10
    table["small"] = table["amount"].astype(np.float32)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.set_index("day", drop=False).to_parquet(tmp_path / "a.parquet")
    csv, parquet = (read_table(tmp_path / name) for name in ("a.csv", "a.parquet"))
    assert csv.column_names == parquet.column_names == list(table.columns)
    assert texts(csv) == texts(parquet) == texts(as_table(table))
    for name in csv.column_names:
        one, other = (fit_column(Values(name, each.column(name)), slice(None), False, 40) for each in (csv, parquet))
        assert {**one, "fill": 0} == {**other, "fill": 0}
        assert one.get("fill", 0.0) == pytest.approx(other.get("fill", 0.0), rel=1e-6)  # one may be of float32
        encoded = [encode(each, [one]) for each in (csv, parquet)]
        np.testing.assert_array_equal(encoded[0].inputs, encoded[1].inputs)
        assert encoded[0].counts == encoded[1].counts
    assert in_parts(tmp_path / "a.csv") == in_parts(tmp_path / "a.parquet")
    assert read_parts(tmp_path / "a.parquet")[0] == len(table)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv", {}),
        ("a.csv", {"sep": ";"}),
        ("a.tsv", {"sep": "\t"}),
        ("a.csv", {"encoding": "utf-8-sig"}),
        ("a.csv", {"lineterminator": "\r\n"}),
        ("a.csv", {"lineterminator": "\r", "quoting": 1}),
        ("a.csv", {"index": True}),  # a column without a name
        ("a.csv", {"quoting": 1}),
    ],
)
def test_a_csv_is_read_however_it_is_written(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    table = frame()
    table.to_csv(tmp_path / name, **{"index": False, **options})
    separator = options.get("sep", ",").replace("\t", ",")
    found = texts(read_table(tmp_path / name, separator))
    assert found == texts(as_table(table))
    assert in_parts(tmp_path / name, separator) == (list(zip(*found.values(), strict=True)), [""] * len(table))


ODD: dict[str, tuple[str, list[tuple[str | None, ...]]]] = {
    "blank lines and blanks": ("\n  \na, b\n\n1, x\n   \n2,\n\n", [("1", "x"), ("2", None)]),
    "blanks before quotes": ('a, "b, c"\n1, "x, y"\n "2",   "z ""w"""\n', [("1", "x, y"), ("2", 'z "w"')]),
    "quotes within": ('a,b\n5" pipe,say "x"\n6,7\n', [('5" pipe', 'say "x"'), ("6", "7")]),
    "blank and quote within": ('a,b\nsay "x",1\n', [('say "x"', "1")]),
    "no line end": ("a,b\n1,2", [("1", "2")]),
    "header alone": ("a,b", []),
    "lines within the header": ('"a\nx",b\n1,2\n', [("1", "2")]),
    "lines within the last value": ('a,b\n1,"2\n3"\n', [("1", "2\n3")]),
    "missing": ('a,b\nNA,"NA"\n"",NULL\n', [(None, None), (None, None)]),
}


@pytest.mark.parametrize(("content", "rows"), ODD.values(), ids=ODD)
def test_odd_files_are_read_alike_whole_and_in_parts(content: str, rows: list[Any], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert list(zip(*texts(read_table(tmp_path / "a.csv")).values(), strict=True)) == rows
    assert in_parts(tmp_path / "a.csv") == (rows, [""] * len(rows))


def test_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a, "b, c",,  \n1,2,3,4\n')
    assert read_table(tmp_path / "a.csv").column_names == ["a", "b, c"]


@pytest.mark.parametrize("block", [40, 200, 2**20])
def test_rows_of_another_width_keep_their_place(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "SMALLEST_BLOCK", block)
    monkeypatch.setattr(table_files, "PART_ROWS", 1)
    rng = np.random.default_rng(0)
    lines, expected = ["a,b,c"], []
    for row in range(100):
        count = 3 if 10 < row < 30 else int(rng.choice([1, 2, 3, 3, 3, 3, 4]))
        lines += [",".join([f'"{row}\n"'] * count), *["", "  "][: rng.integers(3)]]
        said = f"the row has {count} value{'s' * (count > 1)}, but the header has 3"
        expected.append("" if count == 3 else said)
    (tmp_path / "a.csv").write_text("\n".join(lines))
    rows, reasons = in_parts(tmp_path / "a.csv")
    assert reasons == expected
    assert [row[0] for row in rows] == [str(row) for row, reason in enumerate(expected) if not reason]
    first = next(row for row, reason in enumerate(expected) if reason)
    with pytest.raises(ValueError, match=rf"can't be read as a table: row {first} \(from 0\) has . values?, but"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (
            b"a,b\n1,K\xf6ln\n",
            "it is not text in UTF-8: save it as CSV UTF-8, or convert it with iconv -f latin1 -t utf-8",
        ),
        (
            "a,b\n1,2\n".encode("utf-16"),
            "it is not text in UTF-8: save it as CSV UTF-8, or convert it with iconv -f latin1 -t utf-8",
        ),
        (b'a,b\n1,"2\n3,4\n', "a quote is opened and never closed"),
        (b'a,b\n"1,2\n' + b"3,4\n" * 2**21, "a row takes more than 4 MB, or a quote is opened and never closed"),
        (b"a,a\n1,2\n", "two of its columns are called a"),
    ],
)
def test_a_file_that_is_no_table(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.csv can't be read as a table: {message}"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=f"^{message}$"):
        in_parts(tmp_path / "a.csv")
