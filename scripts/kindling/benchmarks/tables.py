"""Tables: read and encoded against pandas and scikit-learn, predicted against a bare loop, and how both grow.

The CSVs hold normally distributed numbers of six digits, some also ten columns of 5 to 50 categories; a hundredth of
the values is missing. Kindling's turn makes a `Table` with its splits and samples, all checked; `predict` is the whole
command. The memory is that at the peak of a turn, beyond what there was before all turns.
"""

import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import torch

from benchmarks.machine import forget_peak, memory
from benchmarks.report import Case, Row, amounts, each, times
from benchmarks.turns import Measured, Turns, compete, once
from kindling.cli import main
from kindling.data.table import Table
from kindling.use.predictor import load

SIZE, COLUMNS, CATEGORIES = 300_000, 50, 10
WRITTEN_AT_ONCE = 5_000_000  # values
MISSING = 0.01
PREDICT = ["predict", "--run", "latest", "--input", "table.csv", "--output", "predictions.csv"]
ROUNDS = 5


def write(path: str, rows: int, numbers: int, categories: int = 0) -> None:
    """A CSV of numbers x0, x1 …, of categories c0, c1 …, and of a number y and a class, both without gaps."""
    rng = np.random.default_rng(0)
    at_once = max(1, WRITTEN_AT_ONCE // (numbers + categories))
    names = [f"x{index}" for index in range(numbers)] + [f"c{index}" for index in range(categories)]
    kinds = [pa.float64()] * numbers + [pa.string()] * categories
    schema = pa.schema([*zip(names, kinds, strict=True), ("y", pa.float64()), ("kind", pa.string())])
    options = pyarrow.csv.WriteOptions(quoting_style="none")
    with pyarrow.csv.CSVWriter(path, schema, write_options=options) as file:
        for start in range(0, rows, at_once):
            count = min(at_once, rows - start)
            columns = [_numbers(rng, count) for _ in range(numbers)]
            columns += [_words(rng, count, 5 * (index + 1)) for index in range(categories)]
            columns = [pc.if_else(pa.array(rng.random(count) < MISSING), None, column) for column in columns]
            columns += [_numbers(rng, count), _words(rng, count, 3)]
            file.write_table(pa.table(columns, schema=schema))


def _numbers(rng: np.random.Generator, count: int) -> pa.Array:
    return pa.array(rng.normal(100, 20, count).round(3))


def _words(rng: np.random.Generator, count: int, different: int) -> pa.Array:
    return pa.array([f"word{place}" for place in range(different)]).take(pa.array(rng.integers(0, different, count)))


def with_pandas() -> None:
    import pandas as pd

    pd.read_csv("table.csv").drop(columns="kind").to_numpy()


def with_scikit_learn() -> None:
    """The numbers' gaps get the median, all are normalised, and a category becomes a column of 0 and 1."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = pd.read_csv("table.csv").drop(columns=["y", "kind"])
    words = [name for name in table.columns if name.startswith("c")]
    numbers = [name for name in table.columns if name.startswith("x")]
    transformer = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
        ]
    )
    transformer.fit(table.iloc[: int(0.65 * len(table))])
    transformer.transform(table)


def encoded() -> None:
    Table("table.csv", "y", drop=["kind"]).samples  # noqa: B018 (it is loaded when it is asked for)


def normalised() -> None:
    Table("table.csv", "y", drop=["kind"]).setup("fit")


def bare_predict() -> None:
    """Read, fill the gaps, normalise, predict and write, with pandas and torch alone."""
    import pandas as pd

    found = load()
    known = found.preprocessing.plain
    names = [column["name"] for column in known["columns"]]
    table = pd.read_csv("table.csv", usecols=names)[names]
    inputs = table.fillna({column["name"]: column["fill"] for column in known["columns"]}).to_numpy(np.float32)
    mean, std = torch.tensor(known["mean"]), torch.tensor(known["std"])
    with torch.inference_mode():
        batches = [found.model((batch - mean) / std).softmax(dim=1) for batch in torch.from_numpy(inputs).split(256)]
    scores = torch.cat(batches).numpy()
    written = pd.DataFrame({"prediction": np.array(found.names)[scores.argmax(axis=1)]})
    for place, name in enumerate(found.names):
        written[f"probability_{name}"] = scores[:, place]
    written.to_csv("bare.csv")


def work(does: Callable[[], Any], turns: Turns) -> None:
    """Do it once each turn, and tell the memory that the turn before has taken."""
    megabytes, before = 0.0, memory()
    while True:
        gc.collect()  # what the turn before has left
        turns.take(megabytes=megabytes)
        forget_peak()
        does()
        megabytes = memory("VmHWM") - before


def race(works: dict[str, Callable[[], Any]], quick: bool) -> list[Row]:
    found = compete({name: partial(work, does) for name, does in works.items()}, 2 if quick else ROUNDS)
    peaks = each(found, lambda turn: turn["megabytes"])
    rows = times(each(found, lambda turn: turn["seconds"]), "s")
    return rows + amounts({f"{name}, memory": peak for name, peak in peaks.items()}, "MB")


def numbers(quick: bool) -> list[Row]:
    write("table.csv", 1000 if quick else SIZE, COLUMNS)
    return race({"pandas": with_pandas, "Kindling": encoded}, quick)


def categories(quick: bool) -> list[Row]:
    write("table.csv", 1000 if quick else SIZE, COLUMNS - CATEGORIES, CATEGORIES)
    return race({"pandas and scikit-learn": with_scikit_learn, "Kindling": normalised}, quick)


def predict(quick: bool) -> list[Row]:
    write("train.csv", 1000, COLUMNS)
    write("table.csv", 1000 if quick else SIZE, COLUMNS)
    fit = ["fit", "--model", "MLP", "--data", "Table", "--data.path", "train.csv", "--data.target", "kind"]
    fit += ["--data.drop", "[y]", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]
    subprocess.run([sys.executable, "-m", "kindling", *fit], check=True, stdout=subprocess.DEVNULL)
    return race({"pandas and a bare loop": bare_predict, "kindling predict": partial(main, PREDICT)}, quick)


def one_table(turns: Turns) -> None:
    turns.take()
    forget_peak()
    before = memory()
    encoded()
    turns.take(megabytes=memory("VmHWM") - before)


def curve(shapes: list[tuple[int, int]], quick: bool) -> list[Row]:
    """Time and memory of tables of so many rows and columns, each read in processes of their own."""
    found: dict[str, list[Measured]] = {}
    for rows, columns in shapes:
        write("table.csv", rows, columns)
        found[f"{rows:,} × {columns:,}"] = [once("Kindling", one_table) for _ in range(1 if quick else 3)]
    peaks = each(found, lambda turn: turn["megabytes"])
    seconds = times(each(found, lambda turn: turn["seconds"]), "s")
    return seconds + amounts({f"{name}, memory": peak for name, peak in peaks.items()}, "MB")


def over_rows(quick: bool) -> list[Row]:
    return curve([(10**power, 10) for power in range(3, 5 if quick else 8)], quick)


def over_columns(quick: bool) -> list[Row]:
    return curve([(1000 if quick else 10_000, 10**power) for power in range(1, 3 if quick else 5)], quick)


CASES = {
    "numbers": Case(f"{SIZE:,} rows of {COLUMNS} numbers and a target, read, checked and encoded", numbers),
    "categories": Case(f"the same, {CATEGORIES} columns of them categories, and normalised", categories),
    "predict": Case(f"predictions of {SIZE:,} rows of {COLUMNS} numbers by an MLP, three classes", predict),
    "rows": Case("a table of ten columns read, over its rows", over_rows),
    "columns": Case("a table of 10,000 rows read, over its columns", over_columns),
}
