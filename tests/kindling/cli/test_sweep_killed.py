"""Studies of real trainings, in which workers are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from clones import needs_posix
from conftest import Result, child

from kindling.cli.compare import find_runs
from kindling.study.trials import State, Trials

pytestmark = [pytest.mark.slow, needs_posix]

STUDY = Path("lightning_logs/digits_mlp_study")
SPACE = "model.optimizer.lr: {log: [1e-3, 1e-2]}\nmodel.hidden_sizes: {choice: [[16], [32]]}\n"
SWEEP = ("sweep", "--config", "configs/digits_mlp.yaml", "--space", "space.yaml", "--trainer.accelerator", "cpu")
LONGEST = 600  # seconds that are waited for anything

Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Starts workers, each the first of a group of processes; what is left of those is killed in the end."""
    Path("space.yaml").write_text(SPACE, encoding="utf-8")
    workers: list[subprocess.Popen] = []

    def begin(*argv: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "kindling", *map(str, argv)]
        with Path(f"worker_{len(workers)}.txt").open("w", encoding="utf-8") as output:
            environment = os.environ | {"PYTHONUNBUFFERED": "1"}
            worker = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        kill_all_of(worker)


def kill_all_of(worker: subprocess.Popen) -> None:
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST
    while not what():
        assert time.monotonic() < end, [path.read_text() for path in Path().glob("worker_*.txt")]
        time.sleep(0.05)


def begun_by(worker: int) -> set[str]:
    """The trials that a worker says it has begun or taken over."""
    lines = Path(f"worker_{worker}.txt").read_text(encoding="utf-8").splitlines()
    return {line.split()[1] for line in lines if line.startswith("trial ") and "model.optimizer.lr " in line}


def trials() -> Trials:
    study = Trials(STUDY)
    assert study.exist()
    study.open()
    return study


def test_a_study_survives_the_death_of_a_worker_and_of_all(start: Start, project: Path) -> None:
    command = (*SWEEP, "--trials", 4, "--trainer.max_epochs", 40)
    first, second = start(*command), start(*command)
    wait_for(lambda: begun_by(0))
    (number,) = begun_by(0)
    run = STUDY / f"trial_{number}"
    wait_for(lambda: (run / "checkpoints/last.ckpt").exists())
    os.kill(first.pid, signal.SIGKILL)  # and its trial saves and stops
    first.wait()
    wait_for(lambda: number in begun_by(1))
    wait_for(lambda: "resume after step" in (STUDY / f"output/trial_{number}.txt").read_text())
    kill_all_of(second)

    last = child(*command, cwd=project)
    assert last.code == 0, last.err
    assert f"study  {STUDY}: 4 trials (4 complete)" in last.out
    ended = trials().all()
    assert [trial.number for trial in ended] == [0, 1, 2, 3]
    assert {trial.state for trial in ended} == {State.COMPLETE}
    assert sorted(find_runs([STUDY])) == [STUDY / f"trial_{number}" for number in range(4)]
    for trial in ended:
        results = json.loads((STUDY / f"trial_{trial.number}/results.json").read_text())
        assert results["val"]["loss"] == trial.value
        assert results["epochs"] == len(trial.intermediate_values)
        assert "test" not in results
    assert all((STUDY / "figures" / name).exists() for name in ("history.png", "importances.png", "slices.png"))

    parameters = ended[int(number)].params  # as if nothing had happened
    flags = [f"--{key}={value}" for key, value in parameters.items()]
    fit = ("fit", *command[1:3], *command[5:7], "--trainer.max_epochs", 40, *flags, "--figures.enabled", "false")
    assert child(*fit, "--test", "false", "--name", "plain", cwd=project).code == 0
    plain = json.loads(Path("lightning_logs/plain/version_0/results.json").read_text(encoding="utf-8"))
    assert plain["val"]["loss"] == ended[int(number)].value


def test_the_best_settings_are_tested_on_the_split_that_no_trial_has_seen(start: Start, project: Path) -> None:
    few = ("--trainer.max_epochs", 2, "--figures.enabled", "false")
    finished: Result = child(*SWEEP, "--trials", 1, "--finish", *few, cwd=project)
    assert finished.code == 0, finished.err
    (run,) = find_runs([STUDY])
    assert "test" not in json.loads((run / "results.json").read_text())
    final = find_runs([Path("lightning_logs/digits_mlp_study_best")])
    assert [path.name for path in final] == [f"trial_0_seed_{seed}" for seed in (1, 2, 3)]
    split = dict(np.load(run / "splits.npz"))
    for path in final:
        assert json.loads((path / "results.json").read_text())["test"]["accuracy"] > 0
        again = dict(np.load(path / "splits.npz"))
        assert all(np.array_equal(split[name], again[name]) for name in ("train", "val", "test"))
    assert finished.out.splitlines()[-1].startswith("the runs are in lightning_logs/digits_mlp_study_best")
