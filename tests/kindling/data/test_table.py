"""Tables: what a column becomes, which rows stay, and how the splits follow groups and time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from kindling.data import table_files
from kindling.data.table import Table
from kindling.use.raw_inputs import RawInputs

Run = Callable[..., Result]
SIZE = 60


def frame(size: int = SIZE) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "area": rng.normal(100, 20, size),
            "rooms": rng.integers(1, 6, size),
            "city": rng.choice(["Rome", "Oslo", "Bonn"], size),
            "owner": [f"o{index // 3}" for index in range(size)],
            "sold": pd.date_range("2024-01-01", periods=size).strftime("%Y-%m-%d"),
            "kind": rng.choice(["flat", "house"], size),
            "price": rng.normal(300, 50, size),
        }
    )
    table.loc[[2, 7, 30], "area"] = np.nan
    table.loc[[4, 5], "city"] = None
    return table


def table(tmp_path: Path, known: pd.DataFrame, target: Any = "kind", **arguments: Any) -> Table:
    known.to_csv(tmp_path / "a.csv", index=False)
    return Table(str(tmp_path / "a.csv"), target, **{"drop": ["owner", "sold"], **arguments})


def test_inputs_are_those_of_scikit_learn(tmp_path: Path) -> None:
    known = frame()
    data = table(tmp_path, known, drop=["owner", "sold", "rooms"])
    data.setup("fit")
    train = data.splits["train"].numpy()
    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(
        known[["area", "price"]].iloc[train]
    )
    expected = numeric.transform(known[["area", "price"]])
    names = OneHotEncoder(categories=[["Bonn", "Oslo", "Rome"]], handle_unknown="ignore", sparse_output=False)
    cities = names.fit_transform(known[["city"]].fillna("?"))
    for split, indices in data.splits.items():
        inputs = data.sets[split][slice(None)][0]  # type: ignore[index]
        correction = np.sqrt((len(train) - 1) / len(train))  # scikit-learn divides by N
        np.testing.assert_allclose(inputs[:, [0, 4]], expected[indices] * correction, atol=1e-5)
        assert (inputs[:, 1:4].numpy() == cities[indices]).all()  # 0 and 1, not standardised
    assert data.notes == ["missing values: 5 (area 3, city 2)"]


def test_what_training_never_saw_is_none_of_the_categories(tmp_path: Path) -> None:
    known = frame()
    data = table(tmp_path, known)
    held_out = [int(data.splits[split][0]) for split in ("val", "test")]
    known.loc[held_out, "city"] = "Lima"
    data = table(tmp_path, known)
    (column,) = [column for column in data.preprocessing.columns or [] if column["name"] == "city"]
    assert column["categories"] == ["Bonn", "Oslo", "Rome"]
    assert not data.samples[0][held_out, 2:5].any()
    assert "values that the training never saw: 2 (city 2)" in data.notes


def test_the_median_is_that_of_the_training_rows(tmp_path: Path) -> None:
    known = frame()
    train = table(tmp_path, known).splits["train"]
    others = np.setdiff1d(np.arange(SIZE), train)
    known.loc[others, "area"] = 1e6
    data = table(tmp_path, known)
    missing = int(np.flatnonzero(known["area"].isna())[0])
    assert data.samples[0][missing, 0] == pytest.approx(known["area"].iloc[train].median(), rel=1e-6)
    assert data.preprocessing.plain["mean"][0] < 200


def test_parquet_is_the_same_as_a_csv(tmp_path: Path) -> None:
    known = frame().assign(new=lambda rows: rows["rooms"] > 3, grade=lambda rows: rows["rooms"].where(rows.index > 3))
    known.to_parquet(tmp_path / "a.parquet")
    for target in (["price"], "new", "grade"):
        one = table(tmp_path, known, target)
        other = Table(str(tmp_path / "a.parquet"), target, drop=["owner", "sold"])
        assert (one.classes, one.targets, one.names, one.notes) == (
            other.classes,
            other.targets,
            other.names,
            other.notes,
        )
        for first, second in zip(one.samples, other.samples, strict=True):
            torch.testing.assert_close(first, second)
        assert one.preprocessing.plain == other.preprocessing.plain
    assert one.classes == ["1", "2", "3", "4", "5"]  # though missing values made floats of them


DECISIONS: dict[str, tuple[Any, str | None, str, list[str]]] = {
    # the target's values (several columns: a dictionary), kind → what they are taken for, and its names
    "text": (["b", "a"], None, "classes", ["a", "b"]),
    "two numbers": ([0, 1], None, "classes", ["0", "1"]),
    "grades in their order": ([10, 9, 2], None, "classes", ["2", "9", "10"]),
    "negative": ([-1, 1], None, "classes", ["-1", "1"]),
    "whole floats": ([1.0, 2.0], None, "classes", ["1", "2"]),
    "truth": ([True, False], None, "classes", ["False", "True"]),
    "twenty numbers": (range(20), None, "classes", [str(index) for index in range(20)]),
    "more numbers": (range(21), None, "targets", ["y"]),
    "fractions": ([0.5, 1.0], None, "targets", ["y"]),
    "grades as amounts": ([1, 2, 3], "regression", "targets", ["y"]),
    "fractions as classes": ([0.5, 1.5], "classification", "classes", ["0.5", "1.5"]),
    "several numbers": ({"y": [1.5, 2], "z": [3, 4]}, None, "targets", ["y", "z"]),
    "several of 0 and 1": ({"y": [0, 1], "z": [1, 1]}, None, "multilabel", ["y", "z"]),
    "several as text": ({"y": ["0", "1"], "z": ["1", "0"]}, "classification", "multilabel", ["y", "z"]),
    "several of 0 and 1 as amounts": ({"y": [0, 1], "z": [1, 0]}, "regression", "targets", ["y", "z"]),
}  # fmt: skip


@pytest.mark.parametrize(("values", "kind", "decided", "names"), DECISIONS.values(), ids=DECISIONS)
def test_the_target_decides_between_classes_and_numbers(
    values: Any, kind: Any, decided: str, names: list[str], tmp_path: Path
) -> None:
    columns = values if isinstance(values, dict) else {"y": values}
    repeated = {name: list(each) * (210 // len(each)) for name, each in columns.items()}
    known = pd.DataFrame({"x": np.arange(len(repeated["y"])) / 7, **repeated})
    data = table(tmp_path, known, list(columns) if len(columns) > 1 else "y", kind=kind, drop=[])
    targets = data.samples[1]
    if decided == "targets":
        assert (data.targets, data.classes) == (names, None)
        np.testing.assert_allclose(targets, known[names].astype(np.float32))
    else:
        assert (data.targets, data.classes, data.multilabel) == (None, names, decided == "multilabel")
        if data.multilabel:
            assert (targets.numpy() == known[names].astype(int)).all(axis=None)
        else:
            written = known["y"].map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
            assert [names[label] for label in targets] == written.tolist()


@pytest.mark.parametrize("target", ["kind", "price", ["price", "rooms"]])
def test_rows_without_a_target_are_left_out_and_names_stay_aligned(target: Any, tmp_path: Path) -> None:
    known = frame()
    known["rooms"] = known["rooms"].astype(float) + 0.5
    gone = [0, 5, 6, 59]
    known[np.atleast_1d(target)[-1]] = known[np.atleast_1d(target)[-1]].where(~known.index.isin(gone))
    data = table(tmp_path, known, target)
    assert data.names == [str(row) for row in range(SIZE) if row not in gone]
    assert data.notes[0] == "4 rows without a target are left out, such as row 0 (from 0)"
    rows = known.loc[list(map(int, data.names))]
    given = rows["area"].notna().to_numpy()
    np.testing.assert_allclose(data.samples[0][given, 0], rows["area"][given], rtol=1e-6)
    wanted = rows["kind"].eq("house") if target == "kind" else rows[np.atleast_1d(target).tolist()]
    np.testing.assert_allclose(data.samples[1], wanted.astype(np.float32), rtol=1e-6)


def test_no_group_is_cut_and_it_is_no_input(tmp_path: Path) -> None:
    data = table(tmp_path, frame(), group="owner", drop=["sold"])
    groups = [set((part // 3).tolist()) for part in data.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    assert "owner" not in data.features


@pytest.mark.parametrize(
    "written",
    [
        lambda day: day.strftime("%Y-%m-%d"),
        lambda day: day.strftime("%d.%m.%Y"),
        lambda day: day.strftime("%m/%d/%Y"),
        lambda day: day.strftime("%B %d, %Y"),
        lambda day: day.strftime("%Y-%m-%d" if day.day % 2 else "%Y-%m-%d 08:00:00"),
        lambda day: day.strftime("%Y-%m-%dT00:00:00") + ("Z" if day.day % 2 else "+02:00"),
        lambda day: day.timestamp(),
    ],
)
def test_splits_follow_each_other_in_time(written: Callable[[Any], Any], tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(SIZE)
    days = pd.date_range("2024-01-05", periods=SIZE)[order]
    data = table(tmp_path, frame().assign(sold=[written(day) for day in days]), time="sold", drop=["owner"])
    train, val, test = (order[data.splits[split]] for split in ("train", "val", "test"))
    assert train.max() < val.min() <= val.max() < test.min()
    assert len(train) + len(val) + len(test) == SIZE
    assert "sold" not in data.features


DATES = pd.date_range("2024-01-01", periods=12).union(pd.date_range("2024-02-01", periods=12))
AMBIGUOUS = {  # how dates are written → what is said
    "%d/%m/%Y": "can be read in more than one way: set data.time_format, such as %d/%m/%Y",
    "%m.%d.%Y": "can be read in more than one way",
    "%d/%m/%y": "can be read in more than one way",
    "%m.%Y": "can be read as a number or as a month: set data.time_format to %m.%Y",
}


@pytest.mark.parametrize(("written", "told"), AMBIGUOUS.items())
def test_dates_that_can_be_read_in_two_ways_are_refused(written: str, told: str, tmp_path: Path) -> None:
    days = DATES if "%d" in written else pd.date_range("2020-01-01", periods=24, freq="MS")
    known = frame().iloc[:24].assign(sold=days.strftime(written))
    with pytest.raises(ValueError, match=f"time is 'sold', where '.*' {told}"):
        table(tmp_path, known, time="sold", drop=["owner"])
    data = table(tmp_path, known, time="sold", drop=["owner"], time_format=written)
    train, val, test = (data.splits[split] for split in ("train", "val", "test"))
    assert train.max() < val.min() <= val.max() < test.min()


def test_dates_alone_cause_no_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    known = frame().assign(sold=pd.date_range("2023-11-20", periods=SIZE).strftime("%d.%m.%Y"))
    table(tmp_path, known, time="sold", drop=["owner"])
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_numbers_that_float32_can_not_tell_apart_are_told(tmp_path: Path) -> None:
    known = frame().assign(seconds=1_750_000_000 + np.arange(SIZE), metres=-311_030 + np.arange(SIZE) / 2)
    data = table(tmp_path, known)
    data.setup("fit")
    start = "column seconds goes from 1750000000 to 1750000059 in float32's steps of 128: subtract 1750000000"
    assert [note for note in data.notes if note.startswith("column")] == [start]


DATE_COLUMNS: dict[str, tuple[Any, str]] = {
    "ISO": (lambda days: days.strftime("%Y-%m-%d"), "such as 2024-01-01, and is taken for 3 categories"),
    "with times": (lambda days: days.strftime("%d.%m.%Y %H:%M"), "such as 01.01.2024 00:00, and is taken for 3"),
    "two digits": (lambda days: days.strftime("%m/%d/%y"), "such as 01/01/24, and is taken for 3 categories"),
    "words": (lambda days: days.strftime("%d %b %Y"), "such as 01 Jan 2024, and is taken for 3 categories"),
    "American words": (lambda days: days.strftime("%B %d, %Y"), "such as January 01, 2024, and is taken for 3"),
    "months": (lambda days: days.strftime("%Y-%m"), "such as 2024-01, and is taken for 1 category"),
    "numbers": (lambda days: days.strftime("%Y%m%d"), "such as 20240101, and is taken for amounts"),
    "codes": (lambda days: "a" + days.strftime("%Y-%m-%d"), ""),
    "amounts": (lambda days: days.day + 20240000, ""),
}


@pytest.mark.parametrize(("write", "told"), DATE_COLUMNS.values(), ids=DATE_COLUMNS)
def test_dates_among_the_inputs_are_told(write: Callable[[Any], Any], told: str, tmp_path: Path) -> None:
    known = frame()
    known["sold"] = write(pd.date_range("2024-01-01", periods=3)[np.arange(SIZE) % 3])
    notes = [note for note in notes_of(table(tmp_path, known, drop=["owner"])) if "holds dates" in note]
    assert len(notes) == bool(told)
    if told:
        assert notes[0].startswith(f"column sold holds dates, {told}")
        assert notes[0].endswith("; --data.drop [sold] leaves it out, --data.time splits by it")
        said = table(tmp_path, known, drop=["owner"], categorical=["sold"])
        assert not [note for note in notes_of(said) if "holds dates" in note]


def notes_of(data: Table) -> list[str]:
    """What is told once all is read."""
    assert data.samples
    return data.notes


ONE_HOT = {"a": np.arange(SIZE) % 3 == 0, "b": np.arange(SIZE) % 3 == 1, "c": np.arange(SIZE) % 3 == 2}
TASKS: dict[str, tuple[Any, Any, str]] = {
    "few whole numbers": ("rooms", None, "target rooms holds 5 whole numbers: taken for classes; else --data.kind regression"),
    "many whole numbers": ("age", None, "target age holds 60 whole numbers: taken for numbers; else --data.kind classification"),
    "floats": ("price", None, ""),
    "text": ("kind", None, ""),
    "as somebody says": ("rooms", "regression", ""),
    "one-hot": (["a", "b", "c"], None, "of a, b, c exactly one is 1 in each row: taken for classes of which a row can have several; if each has only one (one-hot labels), set --data.kind one_hot"),
    "several": (["a", "b"], None, ""),
    "times": ("unix", "regression", "target unix goes from 1750000000 to 1750000059 in float32's steps of 128: subtract 1750000000"),
}  # fmt: skip


@pytest.mark.parametrize(("target", "kind", "told"), TASKS.values(), ids=TASKS)
def test_what_the_target_is_taken_for_is_told(target: Any, kind: Any, told: str, tmp_path: Path) -> None:
    known = frame().assign(age=np.arange(SIZE), unix=1_750_000_000 + np.arange(SIZE), **ONE_HOT)
    known = known.astype(dict.fromkeys("abc", int))
    data = table(tmp_path, known, target, kind=kind)
    assert [note for note in data.notes if "without" not in note] == [told] * bool(told)


def test_columns_of_one_hot_labels_can_be_classes(tmp_path: Path) -> None:
    data = table(tmp_path, frame().assign(**ONE_HOT).astype(dict.fromkeys("abc", int)), ["c", "a", "b"], kind="one_hot")
    assert (data.classes, data.multilabel) == (["c", "a", "b"], False)
    assert data.samples[-1].tolist() == ((np.arange(SIZE) + 1) % 3).tolist()


@pytest.mark.parametrize("name", ["2020", "1e3", "on", "no", "0x10", "012", "1_000", "1.50", "true"])
def test_a_column_is_found_whatever_yaml_makes_of_its_name(name: str, kindling: Run) -> None:
    known = frame()[["area", "rooms"]].rename(columns={"area": name}).assign(**{"7": 1.0, "kind": LABELS_OF_FRAME})
    known.to_csv("a.csv", index=False)
    Path("c.yaml").write_text(
        "model: {class_path: MLP, init_args: {hidden_sizes: [4]}}\n"
        "data: {class_path: Table, init_args: {path: a.csv, target: kind, drop: [" + name + ", 7]}}\n",
        encoding="utf-8",
    )
    finished = kindling("fit", "--config", "c.yaml", *QUICK)
    assert finished.code == 0, finished.err
    assert "Table (1 → 2 classes; " in finished.out
    assert kindling("test", "--run", "latest").code == 0


LABELS_OF_FRAME = np.where(np.arange(SIZE) % 2, "flat", "house")


def test_two_columns_that_are_alike_to_yaml_are_refused(tmp_path: Path) -> None:
    known = frame().rename(columns={"area": "on", "rooms": "yes"})
    with pytest.raises(ValueError, match="^on and yes are all true to YAML: write a column's name in quotes$"):
        table(tmp_path, known, drop=[True])


def test_separators_and_columns_of_numbers_that_are_names(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"drop": ["owner", "sold", "price"], "categorical": ["rooms"]}
    expected = table(tmp_path, frame(), **arguments)
    assert expected.input_shape == (1 + 5 + 3,)
    for written, given in ((";", ";"), ("\t", "\t"), ("\t", r"\t")):
        frame().to_csv(tmp_path / "b.csv", sep=written, index=False)
        data = Table(str(tmp_path / "b.csv"), "kind", separator=given, **arguments)
        assert torch.equal(data.samples[0], expected.samples[0])
        assert data.preprocessing.plain["separator"] == written


def test_decimal_commas_are_read_alike_in_training_and_prediction(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"drop": ["owner", "sold"], "time": "price"}
    expected = table(tmp_path, frame(), **arguments)
    frame().to_csv(tmp_path / "b.csv", sep=";", decimal=",", index=False)
    data = Table(str(tmp_path / "b.csv"), "kind", separator=";", decimal=",", **arguments)
    for one, other in zip(data.samples, expected.samples, strict=True):
        assert torch.equal(one, other)
    assert data.preprocessing.plain == {**expected.preprocessing.plain, "separator": ";", "decimal": ","}
    of_price = Table(str(tmp_path / "b.csv"), "price", separator=";", decimal=",", drop=["owner", "sold"])
    np.testing.assert_allclose(of_price.samples[1][:, 0], frame()["price"], rtol=1e-6)


def test_codes_with_commas_can_be_categories(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("answer,kind\n" + '"1,2",a\n"1,3",b\n' * 20)
    data = Table(str(tmp_path / "a.csv"), "kind", categorical=["answer"])
    assert data.preprocessing.columns == [{"name": "answer", "categories": ["1,2", "1,3"]}]


def test_a_column_without_a_name_is_no_input(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "a.csv")  # with the numbers of the rows
    data = Table(str(tmp_path / "a.csv"), "kind", drop=["owner", "sold"])
    assert data.features == ["area", "rooms", "city", "price"]


MLP = ["fit", "--model", "MLP", "--model.hidden_sizes", "[8]", "--data", "Table", "--data.batch_size", "16", *QUICK]
GOOD = ["--data.path", "a.csv", "--data.drop", "[owner, sold]"]


@pytest.mark.parametrize(
    ("target", "metric", "shape"),
    [("kind", "accuracy", "6 → 2 classes"), ("price", "r2", "7 → 1 target"), ("[price, area]", "r2", "6 → 2 targets")],
)
def test_it_trains(target: str, metric: str, shape: str, kindling: Run) -> None:
    frame().to_csv("a.csv", index=False)
    finished = kindling(*MLP, *GOOD, "--data.target", target)
    assert finished.code == 0, finished.err
    assert f"Table ({shape}; " in finished.out
    assert "missing values: " in finished.out
    results = json.loads(next(Path("lightning_logs").glob("*/version_0/results.json")).read_text())
    assert metric in results["test"]


def with_values(column: str, values: Any, rows: Any = slice(None)) -> Callable[[], object]:
    def write() -> None:
        known = frame().astype(object)
        known.loc[rows, column] = values
        known.to_csv("a.csv", index=False)

    return write


def text(content: str) -> Callable[[], object]:
    return lambda: Path("a.csv").write_text(content, encoding="utf-8")


def good() -> None:
    frame().to_csv("a.csv", index=False)


KIND, ALL = ["--data.target", "kind"], ["--data.drop", "[]"]
REFUSED: dict[str, tuple[Callable[[], object], list[str], str]] = {
    "no path": (good, [*KIND, "--data.path", "b.csv"], "command line: data.path is 'b.csv': there is no such file"),
    "a folder": (good, [*KIND, "--data.path", "configs"], "data.path is 'configs': there is no such file"),
    "no target": (good, [], "target is null: set data.target to the column to predict, or data.kind to unlabelled for inputs alone"),
    "empty target": (good, ["--data.target", "[]"], "data.target is []: expected a column, or several different ones"),
    "target twice": (good, ["--data.target", "[price, price]"], "data.target is ['price', 'price']: expected a column, or several different"),
    "misspelt target": (good, ["--data.target", "prize"], "data.target is 'prize', which is not a column of a.csv: area, rooms, city, owner, sold, kind, price"),
    "misspelt group": (good, [*KIND, "--data.group", "ownr"], "data.group is 'ownr', which is not a column of a.csv: area"),
    "misspelt time": (good, [*KIND, "--data.time", "when"], "data.time is 'when', which is not a column of a.csv"),
    "misspelt column to drop": (good, [*KIND, "--data.drop", "[id]"], "data.drop is 'id', which is not a column of a.csv"),
    "misspelt category": (good, [*KIND, "--data.categorical", "[zip]"], "data.categorical is 'zip', which is not a column of a.csv"),
    "word for a list": (good, [*KIND, "--data.drop", "owner"], "data.drop is 'owner': expected list[str | int | float | bool]"),
    "kind": (good, [*KIND, "--data.kind", "classes"], "data.kind is 'classes': expected classification or regression"),
    "semicolons": (lambda: frame().to_csv("a.csv", sep=";", index=False), KIND, "a.csv has one column, 'area;rooms;city;owner;sold;kind;price': is ',' the character between its values (data.separator)?"),
    "wrong separator": (good, [*KIND, "--data.separator", ";"], "is ';' the character between its values (data.separator)?"),
    "no separator": (good, [*KIND, "--data.separator", ""], "data.separator is '': expected one character, such as ';', or \\t for a tab"),
    "long separator": (good, [*KIND, "--data.separator", ", "], "data.separator is ', ': expected one character"),
    "empty file": (text(""), KIND, "a.csv can't be read as a table: it is empty"),
    "header alone": (text("area,kind\n"), [*KIND, *ALL], "data.target is 'kind': a.csv has no row with a value there"),
    "binary file": (lambda: Path("a.csv").write_bytes(bytes(range(256))), KIND, "a.csv can't be read as a table: it is not text in UTF-8"),
    "another encoding": (lambda: frame().assign(city="Köln").to_csv("a.csv", encoding="latin-1"), KIND, "a.csv can't be read as a table: it is not text in UTF-8"),
    "no Parquet": (lambda: Path("a.parquet").write_text("area,kind", encoding="utf-8"), [*KIND, "--data.path", "a.parquet"], "a.parquet can't be read as a table: "),
    "a long row": (text("area,kind\n1,a\n2,b,c\n"), KIND, "a.csv can't be read as a table: row 1 (from 0) has 3 values, but the header has 2"),
    "long rows": (text("area,kind\n" + "1,2,a\n" * 20), KIND, "row 0 (from 0) has 3 values, but the header has 2"),
    "a short row": (text("area,kind\n1,a\n\n2\n3,b\n"), KIND, "a.csv can't be read as a table: row 1 (from 0) has 1 value, but the header has 2"),
    "an open quote": (text('area,kind\n1,a\n2,"b\n3,b\n4,a\n'), KIND, "a.csv can't be read as a table: a quote is opened and never closed"),
    "another decimal mark": (good, [*KIND, "--data.decimal", ";"], "data.decimal is ';': expected . or ,"),
    "decimal commas in a column": (text("area;kind\n" + "1,5;a\n2;b\n2,25;b\n" * 9), [*KIND, *ALL, "--data.separator", ";"], "column area has numbers such as '1,5', but data.decimal is '.': set it to ',' if that is the decimal mark"),
    "decimal commas in the target": (text("area;price\n" + "1;2,5\n2;1,75\n" * 9), ["--data.target", "price", *ALL, "--data.separator", ";"], "column price has numbers such as '2,5', but data.decimal is '.': set it to ',' if that is the decimal mark, remove the thousands separators, or set data.kind to classification"),
    "decimal commas in an amount": (text("area;price\n" + "1;2,5\n2;1,75\n" * 9), ["--data.target", "price", *ALL, "--data.separator", ";", "--data.kind", "regression"], "column price has numbers such as '2,5', but data.decimal is '.'"),
    "separators of thousands": (text("area,kind\n" + '"1,500",a\n"12,000",b\n' * 9), [*KIND, *ALL], "column area has numbers such as '1,500', but data.decimal is '.': set it to ',' if that is the decimal mark, remove the thousands separators, or name the column in data.categorical"),
    "decimal points where commas are said": (good, [*KIND, "--data.decimal", ","], "column area has numbers such as '102.51460442186787', but data.decimal is ',': set it to '.'"),
    "a column twice": (text("area,area,kind\n1,2,a\n"), KIND, "a.csv can't be read as a table: two of its columns are called area"),
    "no value in the target": (with_values("kind", None), KIND, "data.target is 'kind': a.csv has no row with a value there"),
    "one class": (with_values("kind", "flat"), KIND, "data.target is 'kind', which is flat in every row: expected several classes"),
    "a class of one row": (with_values("kind", "castle", 3), KIND, "has too few samples (1): train, val and test need some each"),
    "numbers of text": (good, [*KIND, "--data.kind", "regression"], "data.target is 'kind', where row 0 (from 0) has "),
    "a slip in the target": (with_values("price", "300k", 7), ["--data.target", "price"], "data.target is 'price', where row 7 (from 0) has '300k': expected finite numbers, or data.kind classification"),
    "an infinite target": (with_values("price", np.inf, 7), ["--data.target", "price"], "data.target is 'price', where row 7 (from 0) has 'inf'"),
    "mixed targets": (good, ["--data.target", "[kind, price]"], "data.target is 'kind, price': expected one column of classes, or several of 0 and 1 or of numbers"),
    "several as classes": (good, ["--data.target", "[rooms, price]", "--data.kind", "classification"], "data.target is 'rooms, price': expected one column of classes"),
    "a slip in a column": (with_values("area", "big", 11), KIND, "a.csv, row 11 (from 0): area is 'big': expected a number, or the column named in data.categorical"),
    "a slip after rows without a target": (text("area,kind\n1,\n2,\n" + "3,a\n4,b\n" * 9 + "x,a\n"), [*KIND, *ALL], "a.csv, row 20 (from 0): area is 'x'"),
    "a column without values": (with_values("area", None), KIND, "column area has no value in the training split: leave it out with data.drop"),
    "too many categories": (good, [*KIND, "--data.drop", "[sold]", "--data.max_categories", "10"], "column owner has 20 different values, such as 'o0': leave it out with data.drop, or raise data.max_categories"),
    "no column left": (good, [*KIND, "--data.drop", "[area,rooms,city,owner,sold,price]"], "a.csv has no column besides the target and those left out"),
    "group and time": (good, [*KIND, "--data.group", "owner", "--data.time", "sold"], "group and time are both given: a split follows one or the other"),
    "a time that is none": (with_values("sold", "someday", 4), [*KIND, "--data.time", "sold"], "data.time is 'sold', where row 4 (from 0) has 'someday': expected numbers, or dates such as 2024-12-31"),
    "a missing time": (with_values("sold", [None, *range(1, SIZE)]), [*KIND, "--data.time", "sold"], "data.time is 'sold', where row 0 (from 0) has None"),
    "dates in two ways": (with_values("sold", "31.12.2023", 4), [*KIND, "--data.time", "sold"], "data.time is 'sold', where row 4 (from 0) has '31.12.2023': expected numbers, or dates such as 2024-12-31"),
    "dates in another format": (good, [*KIND, "--data.time", "sold", "--data.time_format", "%d.%m.%Y"], "data.time is 'sold', where row 0 (from 0) has '2024-01-01': expected dates like %d.%m.%Y"),
    "no format of dates": (good, [*KIND, "--data.time", "sold", "--data.time_format", "%Q"], "data.time_format is '%Q': "),
    "names for a time": (good, [*KIND, "--data.time", "city"], "data.time is 'city', where row 0 (from 0) has "),
    "one group": (with_values("owner", "me"), [*KIND, "--data.group", "owner"], "there are too few groups: train, val and test need at least one each"),
    "one moment": (with_values("sold", "2024-01-01"), [*KIND, "--data.time", "sold"], "the split leaves no sample for train: the data is too small or has too few moments"),
    "augmented": (good, [*KIND, "--data.augment", "ImageAugmentation"], "data.augment is ImageAugmentation, but the data has no images"),
}  # fmt: skip


@pytest.mark.parametrize(("write", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_told(write: Callable[[], object], flags: list[str], message: str, kindling: Run) -> None:
    write()
    assert_refused(kindling(*MLP, *GOOD, *flags), message)


def mixed(size: int = 400) -> pd.DataFrame:
    """Columns whose type the first rows do not tell, beside those of `frame`."""
    rows = np.arange(size)
    known = frame(size).drop(columns=["owner", "sold"])
    return known.assign(
        late_text=np.where(rows < 300, rows % 7, "x"),  # numbers for long, then more than a tenth is text
        postcode=[f"0{row % 3}0" for row in rows],
        late_fraction=np.where(rows < 350, rows, rows + 0.5),
        truth=rows % 2 == 0,
        gaps=np.where(rows % 5 == 0, np.nan, rows / 3),
    )


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "semicolons.csv", "a.parquet"])
def test_what_a_training_reads_a_prediction_reads_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, path = mixed(), tmp_path / name
    flags: dict[str, Any] = {}
    if name == "a.parquet":
        known.assign(late_text=known["late_text"].astype(str)).to_parquet(path)
    elif name == "semicolons.csv":
        flags = {"separator": ";", "decimal": ","}
        known.to_csv(path, sep=";", decimal=",", index=False)
    else:
        known.to_csv(path, sep="\t" if name == "a.tsv" else ",", index=False)
    data = Table(str(path), "kind", categorical=["postcode"], **flags)
    read = RawInputs(data.preprocessing, None)
    for block in (100, 1000, 2**22):
        monkeypatch.setattr(table_files, "SMALLEST_BLOCK", block)
        monkeypatch.setattr(table_files, "PART_ROWS", 10 if block < 2**22 else 4096)
        parts = list(table_files.read_parts(path, data.preprocessing.separator)[1])
        assert len(parts) > 5 or block > 1000
        inputs = np.concatenate([read.of_table(part.table).inputs for part in parts])
        assert torch.equal(torch.from_numpy(inputs), data.samples[0])
    categories = {column["name"]: column.get("categories") for column in data.preprocessing.columns or []}
    assert categories["late_text"] == ["0", "1", "2", "3", "4", "5", "6", "x"]
    assert categories["postcode"] == ["000", "010", "020"]
    assert categories["late_fraction"] is categories["gaps"] is None
