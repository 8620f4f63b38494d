import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK, Result

from kindling.cli import folds

FOLDS = ["folds", "--config", "configs/wine.yaml"]


@pytest.mark.slow
def test_each_fold_validates_on_other_samples(kindling: Callable[..., Result]) -> None:
    told = kindling(*FOLDS, "--data.folds", 2, *QUICK, "--figures.enabled", "false")
    assert (told.code, told.err) == (0, "")
    assert told.out.endswith(
        "the runs are in lightning_logs/wine_folds: kindling compare lightning_logs/wine_folds shows them again\n"
    )
    runs = [Path(f"lightning_logs/wine_folds/version_{fold}") for fold in range(2)]
    first, second = (dict(np.load(run / "splits.npz")) for run in runs)
    assert not {*first["val"]} & {*second["val"]}
    assert {*first["val"]} == {*second["train"]}
    assert len(first["val"]) == len(second["val"]) == 71
    assert np.array_equal(first["test"], second["test"])

    rows = [line.strip("│ ").split("│") for line in told.out.splitlines() if line.startswith("│")]
    table = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}
    results = [json.loads((run / "results.json").read_text()) for run in runs]
    expected = {}
    for split in ("val", "test"):
        for name in results[0][split]:
            values = [result[split][name] for result in results]
            spread = f"{statistics.mean(values):.4f} ±{statistics.stdev(values):.4f}"
            expected[f"{split}/{name}"] = [*(f"{value:.4f}" for value in values), spread]
    assert list(table.items()) == list(expected.items())


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that `folds` starts; each makes its run, and fails if it is for fold 1."""
    started: list[list[str]] = []

    def start(command: list[str]) -> subprocess.CompletedProcess[str]:
        started.append(command)
        if "--trainer.fast_dev_run" not in command:
            name = next(flag.removeprefix("--name=") for flag in command if flag.startswith("--name="))
            Path("lightning_logs", name, f"version_{len(started)}").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 3 if "--data.fold=1" in command else 0)

    monkeypatch.setattr(folds.subprocess, "run", start)
    return started


def test_a_fold_is_a_fit_and_its_exit_code_is_passed_on(
    kindling: Callable[..., Result], commands: list[list[str]]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        kindling(*FOLDS, "--data.folds=5", "--name", "mine", "--data.fold", 4)
    assert stopped.value.code == 3
    given = ["--config", "configs/wine.yaml", "--data.folds=5", "--name", "mine", "--data.fold", "4"]
    fit = [sys.executable, *folds.SAFE_PATH, "-m", "kindling", "fit", *given]
    assert commands == [[*fit, f"--data.fold={fold}", "--name=mine_folds"] for fold in range(2)]  # the last flag wins


def test_a_fold_that_was_stopped_goes_on_by_its_own_command(
    kindling: Callable[..., Result], commands: list[list[str]]
) -> None:
    folder = Path("lightning_logs/wine_folds")
    run = folder / "version_0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("model: MLP\n")
    argv = ["--config", "configs/wine.yaml", "--data.folds", "5"]
    (folder / "folds.json").write_text(json.dumps({"argv": argv, "runs": [], "there": []}))
    with pytest.raises(SystemExit):  # at fold 1
        kindling("folds", *argv)
    assert commands[0][-3:] == ["--data.fold=0", "--name=wine_folds", "--run-id=version_0"]
    assert commands[1][-2:] == ["--data.fold=1", "--name=wine_folds"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "data.folds is not set: expected a number of folds, such as --data.folds 5"),
        (["--data.folds", 1], "data.folds is 1: expected a number of folds"),
        (["--data.folds", 5, "--data.folds", "many"], "data.folds is many: expected a number of folds"),
        (["--data.folds", 5, "--find", "lr"], "folds is for new trainings: leave out --resume, --run-id and --find"),
        (["--data.folds", 5, "--resume", "run"], "folds is for new trainings: leave out --resume, --run-id and --find"),
        (["--data.folds", 5, "--run-id", "a"], "folds is for new trainings: leave out --resume, --run-id and --find"),
        (["--data.folds", 5, "--trainer.fast_dev_run", 1], "fold 0 made 0 runs in lightning_logs/wine_folds"),
    ],
)
def test_what_is_refused(
    arguments: list[Any], message: str, kindling: Callable[..., Result], commands: list[list[str]]
) -> None:
    Path("run").mkdir()
    Path("run/config.yaml").write_text("model: MLP\n", encoding="utf-8")
    told = kindling(*FOLDS, *arguments)
    assert told.code == 2
    assert told.err.startswith(f"kindling: {message}")
    assert told.err.count("\n") == 1
    assert len(commands) == ("--trainer.fast_dev_run" in arguments)


def test_help(kindling: Callable[..., Result]) -> None:
    told = kindling("folds", "--help")
    assert told.code == 0
    assert "kindling folds --config FILE --data.folds K" in told.out
