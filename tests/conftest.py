"""What the tests share: an empty project as the working folder, and commands that run in it."""

import functools
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sklearn.datasets
import torch.distributed as dist

from kindling import main

ROOT = Path(__file__).parents[1]
# These send signals, fork, or share file locks with the processes that they start, which Windows can't.
OF_POSIX = [
    "cli/test_sweep.py",
    "cli/test_sweep_killed.py",
    "examples/test_deletion.py",
    "run/test_wandb_and_mlflow.py",
]
OF_POSIX += ["scripts/test_benchmark.py", "study/test_trials.py", "train/test_faults.py", "train/test_resume.py"]
collect_ignore = [f"kindling/{path}" for path in OF_POSIX] if sys.platform == "win32" else []
# What a training leaves in the environment, for processes that it starts: another test's would take itself for one.
LEFT_BY_TRAINING = (
    "PL_GLOBAL_SEED", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK", "KINDLING_STARTER",
)  # fmt: skip
# Scikit-learn parses its digits, a text file, anew at each call: 15 ms, a thousand times.
sklearn.datasets.load_digits = functools.cache(sklearn.datasets.load_digits)
QUICK = ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep one test's training from the next, and Lightning's chatter out of the report."""
    for name in LEFT_BY_TRAINING:
        monkeypatch.delenv(name, raising=False)
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def no_process_group() -> Iterator[None]:
    """End a group of processes that a training has begun in this one: a forked one would wait in it."""
    yield
    end_process_group()


def end_process_group() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the repository's configs, as the working folder."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kindling(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Runs a command in this process, and leaves nothing of its training for the next one."""
    monkeypatch.setattr("kindling.cli.data.SECONDS", 0.2)  # how long `kindling data` times each number of workers

    def run(*argv: object) -> Result:
        capsys.readouterr()
        before = {name: os.environ[name] for name in LEFT_BY_TRAINING if name in os.environ}
        code = main([str(part) for part in argv])
        end_process_group()
        for name in LEFT_BY_TRAINING:
            os.environ.pop(name, None)
        os.environ.update(before)
        return Result(code, *map(with_slashes, capsys.readouterr()))

    return run


def with_slashes(text: str) -> str:
    """What was said, with the paths as the tests write them: on Windows they have backslashes."""
    return text.replace("\\", "/") if sys.platform == "win32" else text


def assert_refused(finished: Result, message: str) -> None:
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.startswith("kindling: ")
    assert finished.err.count("\n") == 1
    assert "Traceback" not in finished.out + finished.err
    assert not Path("lightning_logs").exists()


def child(*argv: object, cwd: Path) -> Result:
    """Runs a command in a process of its own, as a user does."""
    command = [sys.executable, "-m", "kindling", *map(str, argv)]
    finished = subprocess.run(command, cwd=cwd, env=os.environ.copy(), capture_output=True, text=True, timeout=1800)
    return Result(finished.returncode, with_slashes(finished.stdout), with_slashes(finished.stderr))
