"""Modules as papers publish them, without any import of Kindling: they train, break off, go on and are measured."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import Result, child

sys.path.insert(0, str(Path(__file__).parent))
from foreign_cases import CASES, MODULES, SETTINGS, contents, differences

from kindling.cli import main
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.record import Record

FILES = (
    "config.yaml",
    "results.json",
    "metrics.csv",
    "environment.json",
    "checkpoints/last.ckpt",
    "checkpoints/best.ckpt",
)
every_case = pytest.mark.parametrize("name", CASES)
Command = Callable[..., Result]


class Accident(Exception):
    """Nothing is prepared for it, and nothing is saved."""


@dataclass
class Trained:
    """A run that nobody disturbed, and what was printed."""

    run: Path
    out: str
    contents: dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def modules() -> Iterator[None]:
    """Let the modules be imported, as PYTHONPATH does, and be gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(MODULES)
        yield
    for name in [name for name in sys.modules if name.startswith("foreign_") and name != "foreign_cases"]:
        del sys.modules[name]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> Result:
        capfd.readouterr()
        code = main([str(part) for part in argv])
        finished = Result(code, *capfd.readouterr())
        assert "Traceback" not in finished.out + finished.err
        return finished

    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """A training of a case that nobody disturbs; each is trained once."""

    @cache
    def train(name: str) -> Trained:
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch, (folder / "out").open("w+") as out:
            patch.chdir(folder)
            patch.setattr(sys, "stdout", out)
            assert main(fit(name)) == 0
            out.seek(0)
            run = folder / "lightning_logs" / "unnamed" / "version_0"
            return Trained(run, out.read(), contents(run))

    return train


RUN = Path("lightning_logs/unnamed/version_0")


def fit(name: str, *more: str) -> list[str]:
    case = CASES[name]
    return ["fit", *case.names, *SETTINGS, *case.flags, *more]


def again(name: str, command: str, run: Path, *more: str) -> list[str]:
    """The command line that goes on with a run, or measures it."""
    option = "--resume" if command == "fit" else "--run"
    return [command, option, str(run), *CASES[name].names, *more]


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def break_off(argv: list[str], hook: str, call: int) -> None:
    """Train until the n-th call of a hook, in which something happens that nothing is prepared for."""
    before, calls = getattr(Record, hook), itertools.count(1)

    def hooked(*args: Any) -> None:
        if next(calls) == call:
            raise Accident
        before(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, hook, hooked)
        with pytest.raises(Accident):
            main(argv)


@every_case
def test_it_trains_and_leaves_a_whole_run(name: str, undisturbed: Any) -> None:
    case, trained = CASES[name], undisturbed(name)
    assert [file for file in FILES if not (trained.run / file).is_file()] == []
    results = json.loads((trained.run / "results.json").read_text())
    assert set(results.get("val", {})) == set(case.val)
    assert set(results.get("test", {})) == set(case.test)
    assert "Traceback" not in trained.out
    note = next((line for line in trained.out.splitlines() if "left out" in line), "")
    assert {word for word in ("validation", "test") if re.search(rf"\b{word} \(", note)} == set(case.left_out)
    config = yaml.safe_load((trained.run / "config.yaml").read_text())
    assert config["model"]["class_path"] == case.model
    assert len(read_table(trained.run / "metrics.csv")) > 2


@every_case
def test_it_goes_on_exactly_in_the_middle_of_an_epoch(name: str, undisturbed: Any, command: Command) -> None:
    break_off(fit(name), "on_train_batch_start", CASES[name].batch)
    finished = command(*again(name, "fit", RUN))
    assert (finished.code, finished.err) == (0, "")
    assert "resume after step" in finished.out
    assert differences(undisturbed(name).contents, RUN) == []


@pytest.mark.parametrize(
    ("name", "hook", "call"),
    [
        ("gan", "on_train_epoch_start", 2),
        ("finetune", "on_train_epoch_start", 3),
        ("segmentation", "on_train_epoch_start", 2),
        ("callbacks", "on_train_epoch_end", 2),
        ("second_order", "on_validation_batch_end", 7),  # two are for the sanity check
        ("two_loaders", "on_validation_batch_end", 12),
    ],
)
def test_it_goes_on_exactly_after_a_validation_or_an_epoch(
    name: str, hook: str, call: int, undisturbed: Any, command: Command
) -> None:
    break_off(fit(name), hook, call)
    assert command(*again(name, "fit", RUN)).code == 0
    assert differences(undisturbed(name).contents, RUN) == []


@every_case
def test_it_is_measured(name: str, undisturbed: Any, command: Command) -> None:
    case, run = CASES[name], undisturbed(name).run
    for stage, split, metrics in (("validate", "val", case.val), ("test", "test", case.test)):
        finished = command(*again(name, stage, run))
        if metrics:
            assert finished.code == 0, finished.err
            results = json.loads((run / stage / "results.json").read_text())
            assert set(results[split]) == set(metrics)
            if case.repeats:
                assert results[split] == json.loads((run / "results.json").read_text())[split]
        else:
            assert finished.code == 2
            assert finished.err.count("\n") == 1
            assert f"{stage} needs a" in finished.err


def test_objects_among_the_hyperparameters_are_left_out_with_a_word(undisturbed: Any) -> None:
    said, run = undisturbed("objects").out, undisturbed("objects").run
    assert "leave out hyper-parameters that are objects: scaler (foreign_objects.Scaler)" in said
    assert "widths (builtins.range)" in said
    assert load_checkpoint(run / "checkpoints" / "best.ckpt")["hyper_parameters"] == {"lr": 0.01}


def test_runs_of_any_module_are_compared(undisturbed: Any, command: Command) -> None:
    runs = {name: undisturbed(name).run for name in ("gan", "autoencoder", "two_loaders", "reinforce", "own_loaders")}
    finished = command("compare", *runs.values(), "--csv", "runs.csv")
    assert finished.code == 0
    assert "damaged" not in finished.out
    assert len(read_table(Path("runs.csv"))) == len(runs)


def test_what_a_predict_step_returns_is_written(undisturbed: Any, command: Command) -> None:
    run = undisturbed("predict").run
    assert command(*again("predict", "predict", run)).code == 0
    rows = read_table(run / "predict" / "predictions.csv")
    assert [row["name"] for row in rows] == [f"signal_{index:03}" for index in range(24)]  # of predict_dataloader
    from foreign_predict import FrequencyNet, Signals

    net = FrequencyNet.load_from_checkpoint(run / "checkpoints" / "best.ckpt", weights_only=True).eval()
    with torch.no_grad():
        expected = net(Signals(24, 3).signals)
    assert [float(row["frequency"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)


def test_tensors_that_a_predict_step_returns_are_arrays(undisturbed: Any, command: Command) -> None:
    run = undisturbed("predict_tensors").run
    assert command(*again("predict_tensors", "predict", run)).code == 0
    predictions = np.load(run / "predict" / "predictions.npz")["predictions"]
    assert predictions.shape == (24, 2)
    assert np.allclose(predictions.prod(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["autoencoder", "segmentation", "pairs", "late"])
def test_outputs_without_a_meaning_are_refused(name: str, undisturbed: Any, command: Command) -> None:
    model = CASES[name].model.rpartition(".")[2]
    for use, would_help in (("predict", "define predict_step"), ("export", "example_input_array")):
        refused = command(*again(name, use, undisturbed(name).run))
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert model in refused.err
        assert would_help in refused.err
    assert not any((undisturbed(name).run / use).exists() for use in ("predict", "export"))


@pytest.mark.parametrize("name", ["gan", "second_order"])
def test_the_forward_of_a_module_with_an_example_is_exported(name: str, undisturbed: Any, command: Command) -> None:
    run = undisturbed(name).run
    assert command(*again(name, "export", run)).code == 0
    assert (run / "export" / "model.onnx").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gan", "autoencoder", "segmentation", "reinforce", "finetune"])
def test_a_process_that_is_killed_goes_on(name: str, undisturbed: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(MODULES), os.environ.get("PYTHONPATH", "")]))
    killer = [sys.executable, str(Path(__file__).with_name("killed.py"))]
    for batch, argv in ((CASES[name].batch, fit(name)), (3, again(name, "fit", RUN))):
        killed = subprocess.run(
            [*killer, str(batch), *argv], cwd=tmp_path, capture_output=True, text=True, timeout=1800
        )
        assert killed.returncode == -9, killed.stderr
    for stage in ("fit", "test"):
        finished = child(*again(name, stage, RUN), cwd=tmp_path)
        assert (finished.code, finished.err) == (0, "")
    monkeypatch.chdir(tmp_path)
    assert differences(undisturbed(name).contents, RUN) == []
