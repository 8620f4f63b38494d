"""What a run tells is true: its metrics are those of its predictions, and names are names."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from sklearn import metrics

from kindling.cli.compare import main as compare
from kindling.cli.outputs import written_whole
from kindling.core.tables import plain_cell, printable, shown
from kindling.run.folder import ROOT

Run = Callable[..., Result]
RUN = ROOT / "unnamed" / "version_0"
CPU = ["--trainer.accelerator", "cpu"]
NO_FIGURES = [*CPU, "--figures.enabled", "false"]


def told(path: str = "results.json") -> dict[str, Any]:
    return json.loads((RUN / path).read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def predictions(kindling: Run) -> pd.DataFrame:
    assert kindling("predict", "--run", RUN).code == 0
    return pd.read_csv(RUN / "predict" / "predictions.csv")


@pytest.mark.parametrize(("unit", "offset"), [(1.0, -311_030.0), (1e-9, 0.0), (1e9, 3e9)])
def test_numbers_of_a_run_are_those_of_its_predictions(unit: float, offset: float, kindling: Run) -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(200, 2))
    target = offset + unit * (6 * inputs[:, 0] - 4 * inputs[:, 1] + random.normal(size=200))
    pd.DataFrame({"a": inputs[:, 0], "b": inputs[:, 1], "y": target}).to_csv("t.csv", index=False)
    flags = ["--model", "MLP", "--data", "Table", "--data.path", "t.csv", "--data.target", "y", *NO_FIGURES]
    assert kindling("fit", *flags, "--trainer.max_epochs", 5, "--data.batch_size", 7).code == 0
    table = predictions(kindling)
    y, p = table["target_y"], table["prediction_y"]
    expected = {
        "mae": metrics.mean_absolute_error(y, p),
        "rmse": math.sqrt(metrics.mean_squared_error(y, p)),
        "r2": metrics.r2_score(y, p),
    }
    assert {name: told()["test"][name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", ["no", "balanced"])
def test_classes_of_a_run_are_those_of_its_predictions(weights: str, kindling: Run) -> None:
    random = np.random.default_rng(1)

    def drawn(count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
        targets = random.integers(0, classes, count)
        return (random.normal(size=(count, 6)) + 2 * np.eye(6)[targets]).astype(np.float32), targets

    splits = {"train": drawn(300, 4), "val": drawn(60, 4), "test": drawn(90, 3)}  # the last lacks a class
    arrays = {f"{axis}_{split}": part for split, pair in splits.items() for axis, part in zip("xy", pair, strict=True)}
    np.savez("d.npz", **arrays)
    flags = ["--model", "MLP", "--data", "Arrays", "--data.path", "d.npz", "--model.task", "Classification"]
    weighted = [] if weights == "no" else ["--model.task.class_weights", weights]
    fitted = kindling("fit", *flags, *weighted, "--trainer.max_epochs", 3, *NO_FIGURES)
    assert fitted.code == 0
    table = predictions(kindling)
    y, p = table["target"], table["prediction"]
    means: dict[str, Any] = {"average": "macro", "labels": y.unique(), "zero_division": np.nan}
    expected = {
        "accuracy": metrics.accuracy_score(y, p),
        "precision": metrics.precision_score(y, p, **means),
        "recall": metrics.recall_score(y, p, **means),
        "f1": metrics.f1_score(y, p, **means),
        "auroc": np.mean([metrics.roc_auc_score(y == name, table[f"probability_{name}"]) for name in y.unique()]),
    }
    results = told()
    assert {name: results["test"][name] for name in expected} == pytest.approx(expected, abs=1e-6)
    note = "a mean over 3 of 4 classes: it is undefined without a sample of the class"
    assert results["notes"]["test/recall"] == note
    assert f"note   test/recall is {note}" in fitted.out
    for size in (90, 7):
        assert kindling("test", "--run", RUN, "--data.batch_size", size).code == 0
        assert told("test/results.json")["test"] == pytest.approx(results["test"], rel=1e-6)


def test_an_undefined_metric_is_no_best_and_no_end(kindling: Run, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(60, 3)).astype(np.float32), random.integers(0, 2, 60)
    others = {
        f"{axis}_{split}": values
        for split in ("val", "test")
        for axis, values in (("x", inputs[:9]), ("y", targets[:9] * 0))
    }
    np.savez("d.npz", x_train=inputs, y_train=targets, **others)
    flags = ["--model", "MLP", "--data", "Arrays", "--data.path", "d.npz", "--model.task", "BinaryClassification"]
    watched = [
        "--checkpoint.monitor",
        "val/auroc",
        "--early_stopping.monitor",
        "val/auroc",
        "--early_stopping.patience",
        0,
    ]
    finished = kindling("fit", *flags, *watched, "--trainer.max_epochs", 3, *NO_FIGURES)
    assert (finished.code, finished.err) == (0, "")
    why = "undefined without samples of the class and of others"
    assert finished.out.count(f"early_stopping leaves out validations in which val/auroc is {why}") == 1
    assert finished.out.count(f"the last weights count as the best, since val/auroc is {why}") == 1
    results = told()
    assert (results["epochs"], results["best_epoch"]) == (3, 3)
    assert (results["test"]["auroc"], results["notes"]["test/auroc"]) == (None, why)
    assert "undefined" in finished.out
    compare([])  # which reads null
    assert "unnamed/version_0" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.figures
def test_names_are_no_markup(kindling: Run) -> None:
    random = np.random.default_rng(0)
    names = ["$1,000_$2,000", "_[/red]", "=cmd|' /C calc'!A0"]
    rate = random.normal(size=90)
    label = [names[index] for index in np.digitize(rate, [-0.4, 0.4])]
    pd.DataFrame({"rate [/min]": rate, "bell \x1b[31m": rate, "label": label}).to_csv("t.csv", index=False)
    flags = ["--data", "Table", "--data.path", "t.csv", "--data.target", "label"]
    looked = kindling("data", *flags)
    assert looked.code == 0
    assert "rate [/min]" in looked.out
    assert "bell \\x1b[31m" in looked.out
    finished = kindling("fit", "--model", "MLP", *flags, "--trainer.max_epochs", 2, *CPU)
    assert (finished.code, "can't draw" in finished.out) == (0, False)
    assert {path.name for path in (RUN / "figures").iterdir()} >= {"test_confusion_matrix.png", "test_curves.png"}
    table = predictions(kindling)
    assert set(table["target"]) == {*names[:2], f"'{names[2]}"}


@pytest.mark.parametrize("text", ["=1+1", "@sum", "+x", "-x", "\tx"])
def test_a_formula_is_a_text(text: str) -> None:
    assert plain_cell(text) == f"'{text}"
    assert [plain_cell(number) for number in ("-1", "+2.5", "-1e-9", "a=b", "")] == ["-1", "+2.5", "-1e-9", "a=b", ""]


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert printable("a\x1b[2J\nb\udcffé日") == "a\\x1b[2J\\nb\\udcffé日"
    assert [shown(value) for value in (0.5, 0.0, 1.2e-9, -3e9)] == ["0.5000", "0.0000", "1.2e-09", "-3e+09"]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_what_is_reported_is_computed_as_predictions_are(precision: str, kindling: Run) -> None:
    flags = ["--model", "MLP", "--data", "Digits", "--trainer.precision", precision, "--trainer.max_epochs", 2]
    assert kindling("fit", *flags, *NO_FIGURES).code == 0
    table = predictions(kindling)
    classes = sorted(table["target"].unique())
    areas = [metrics.roc_auc_score(table["target"] == name, table[f"probability_{name}"]) for name in classes]
    assert told()["test"]["auroc"] == pytest.approx(np.mean(areas), abs=1e-6)
    assert kindling("test", "--run", RUN).code == 0
    assert told("test/results.json")["test"] == pytest.approx(told()["test"], rel=1e-6)


def test_averaged_weights_are_measured_as_they_are_kept(kindling: Run) -> None:
    averaged = ["--weight_averaging.enabled", "true", "--weight_averaging.decay", "null"]
    optimizer = ["--model.optimizer", "SGD", "--model.optimizer.lr", 1.0, "--model.schedule", "null"]
    flags = ["--model", "MLP", "--data", "Wine", *optimizer, *averaged, "--trainer.max_epochs", 4, *NO_FIGURES]
    assert kindling("fit", *flags).code == 0
    for command, split in (("validate", "val"), ("test", "test")):
        assert kindling(command, "--run", RUN).code == 0
        assert told(f"{command}/results.json")[split] == pytest.approx(told()[split], rel=1e-6)


def test_what_a_kill_has_left_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f"part-{gone.pid}@{gethostname()}@out.csv"
    of_others = [tmp_path / f"part-1@{gethostname()}@out.csv", tmp_path / f"part-{gone.pid}@elsewhere@out.csv"]
    for path in (left, *of_others):
        path.touch()
    with written_whole(tmp_path / "out.csv") as part:
        part.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out.csv", *(other.name for other in of_others)])


def test_sigterm_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped, written_whole(tmp_path / "new" / "out.csv") as part:  # noqa: PT012
        part.write_text("half")
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = f"{sys.executable} -m kindling --help | true; exit ${{PIPESTATUS[0]}}"
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert finished.stderr == ""


def test_other_inputs_leave_the_predictions_of_the_test_split(kindling: Run) -> None:
    assert kindling("fit", "--model", "MLP", "--data", "Wine", "--trainer.max_epochs", 1, *NO_FIGURES).code == 0
    before = predictions(kindling)
    np.savez("mine.npz", x=np.zeros((3, 13), np.float32))
    assert kindling("predict", "--run", RUN, "--input", "mine.npz").code == 0
    assert len(pd.read_csv(RUN / "predict" / "predictions_mine.csv")) == 3
    assert pd.read_csv(RUN / "predict" / "predictions.csv").equals(before)
    files = {*Path().iterdir()}
    assert kindling("predict", "--ckpt", RUN / "checkpoints" / "best.ckpt", "--input", "mine.npz").code == 0
    assert {*Path().iterdir()} == files
    assert (ROOT / "predict" / "predictions_mine.csv").exists()


def test_aliases_that_stand_for_billions_are_damage(capsys: pytest.CaptureFixture[str], kindling: Run) -> None:
    for name in ("bomb", "whole"):
        (ROOT / name / "version_0").mkdir(parents=True)
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    usual = "model: {class_path: A}\ndata: {class_path: B}\n"
    (ROOT / "bomb/version_0/config.yaml").write_text(usual + "\n".join(lines))
    (ROOT / "whole/version_0/config.yaml").write_text(usual)
    compare([])
    assert "damaged, so its run is left out: lightning_logs/bomb/version_0/config.yaml" in capsys.readouterr().out
