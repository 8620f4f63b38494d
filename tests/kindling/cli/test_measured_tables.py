"""A table is measured as the checkpoint reads it: by its columns, its categories and its statistics."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import QUICK, Result
from sklearn.metrics import r2_score, root_mean_squared_error

RUN = Path("lightning_logs/unnamed/version_0")
FIT = ["fit", "--model", "MLP", "--model.hidden_sizes", "[16]", "--data", "Table", "--data.path", "table.csv"]
FIT += ["--figures.enabled", "false", *QUICK, "--trainer.max_epochs", 12]
Run = Callable[..., Result]


@pytest.fixture
def table(project: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame({"p": rng.normal(size=240), "q": rng.normal(5, 2, size=240)})
    numbers["place"] = rng.choice([f"place {number}" for number in range(40)], size=240)
    numbers["y"] = numbers.q * 3 + 1
    numbers.to_csv("table.csv", index=False)
    return numbers


def measured(path: str = "test/results.json") -> dict[str, float]:
    return json.loads((RUN / path).read_text())["test"]


def test_columns_are_found_by_their_names(kindling: Run, table: pd.DataFrame) -> None:
    assert kindling(*FIT, "--data.target", "y").code == 0
    before = measured("results.json")
    table[["place", "q", "p", "y"]].to_csv("table.csv", index=False)
    assert kindling("test", "--run", RUN).code == 0
    assert measured() == pytest.approx(before)
    assert kindling("predict", "--run", RUN).code == 0
    found = pd.read_csv(RUN / "predict" / "predictions.csv")
    assert r2_score(found.target_y, found.prediction_y) == pytest.approx(before["r2"], abs=1e-6)


def test_it_is_so_without_a_run(kindling: Run, table: pd.DataFrame) -> None:
    assert kindling(*FIT, "--data.target", "y").code == 0
    before = measured("results.json")
    table[["place", "q", "p", "y"]].to_csv("table.csv", index=False)
    given = [*FIT[1:], "--data.target", "y"]
    told = kindling("test", "--ckpt", RUN / "checkpoints/best.ckpt", *given, "--data.split_file", RUN / "splits.npz")
    assert told.code == 0
    shown = next(line for line in told.out.splitlines() if " mae " in line)
    assert float(shown.strip("│ ").split("│")[1]) == pytest.approx(before["mae"], rel=1e-3)


def test_on_another_split_categories_and_statistics_are_the_checkpoints(kindling: Run, table: pd.DataFrame) -> None:
    assert kindling(*FIT, "--data.target", "y").code == 0
    assert kindling("test", "--run", RUN, "--data.split_seed", "8").code == 0
    whole = measured()
    assert kindling("predict", "--run", RUN, "--input", "table.csv").code == 0
    predictions = pd.read_csv(RUN / "predict" / "predictions_table.csv")
    error = (predictions.prediction_y - table.y).abs()
    assert whole["mae"] == pytest.approx(error.mean(), rel=0.5)  # of a fifth of the same rows


def test_a_column_that_is_gone_is_named(kindling: Run, table: pd.DataFrame) -> None:
    assert kindling(*FIT, "--data.target", "y").code == 0
    table.drop(columns="q").to_csv("table.csv", index=False)
    told = kindling("test", "--run", RUN)
    assert told.code == 2
    assert "table.csv has no column 'q' among its inputs, but the model was trained on it" in told.err


def test_another_target_is_refused(kindling: Run, table: pd.DataFrame) -> None:
    assert kindling(*FIT, "--data.target", "y", "--data.drop", "[p]").code == 0
    told = kindling("test", "--run", RUN, "--data.target", "p", "--data.drop", "[]")
    assert told.code == 2
    assert "targets is ['y'] in the checkpoint and ['p'] here" in told.err


def test_the_rmse_of_several_targets_is_scikit_learns(kindling: Run, table: pd.DataFrame) -> None:
    table["z"] = table.p * 1e6
    table.to_csv("table.csv", index=False)
    assert kindling(*FIT, "--data.target", "[y,z]").code == 0
    assert kindling("predict", "--run", RUN).code == 0
    found = pd.read_csv(RUN / "predict" / "predictions.csv")
    told = measured("results.json")["rmse"]
    pairs = [(found.target_y, found.prediction_y), (found.target_z, found.prediction_z)]
    expected = np.mean([root_mean_squared_error(*pair) for pair in pairs])
    assert told == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("share", [f"{number}%" for number in range(60)], "column share holds {} texts such as '"),
        ("mass", [f"{number} kg" for number in range(60)], "column mass holds {} texts such as '"),
    ],
)
def test_texts_with_numbers_are_told(
    column: str, values: list[str], told: str, kindling: Run, table: pd.DataFrame
) -> None:
    table[column] = [values[row % len(values)] for row in range(len(table))]
    table.to_csv("table.csv", index=False)
    output = kindling(*FIT, "--data.target", "y", "--trainer.fast_dev_run", 1).out
    assert told.format(60) in output
    assert f"write bare numbers for amounts; --data.drop [{column}] leaves it out" in output


def test_a_target_of_texts_with_numbers_is_told(kindling: Run, table: pd.DataFrame) -> None:
    table["y"] = [f"{10 * (row % 4)}%" for row in range(len(table))]
    table.to_csv("table.csv", index=False)
    output = kindling(*FIT, "--data.target", "y", "--trainer.fast_dev_run", 1).out
    assert "target y holds texts such as '0%', and is taken for classes: write bare numbers for amounts" in output
