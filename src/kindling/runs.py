"""The run: one folder under `lightning_logs/` that holds everything one training produced."""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path("lightning_logs")
PACKAGES = ("kindling", "torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "numpy", "scikit-learn")


class UsageError(Exception):
    """What the user typed can't be done. The message is one sentence: what is wrong and what would be right."""


class NothingToDo(Exception):
    """The command has no work left. The message says why, and how to go on all the same."""


def new_run(experiment: str) -> Path:
    """Make the next free folder `lightning_logs/<experiment>/version_N`."""
    from lightning.pytorch.utilities import rank_zero_only  # slow to import

    if rank_zero_only.rank:  # type: ignore[attr-defined]  # one of several processes of a training
        if "KINDLING_RUN" not in os.environ:
            raise UsageError("start kindling without torchrun or srun: --trainer.devices N starts the processes")
        return Path(os.environ["KINDLING_RUN"])
    folder = ROOT / experiment
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't make the run's folder in {folder}: {error.strerror}") from error
    taken = [int(path.name[8:]) for path in folder.glob("version_*") if path.name[8:].isdigit()]
    number = max(taken, default=-1) + 1
    while True:
        run = folder / f"version_{number}"
        try:
            run.mkdir()
        except FileExistsError:  # two runs that start at once race for the number
            number += 1
        else:
            os.environ["KINDLING_RUN"] = str(run)
            return run


def discard_run(run: Path) -> None:
    """Remove a run that has no checkpoint yet, and the folders that it leaves empty."""
    if list(run.glob("checkpoints/*")):
        return
    shutil.rmtree(run, ignore_errors=True)
    for folder in run.parents[:2]:
        with suppress(OSError):  # not empty
            folder.rmdir()


def find_run(name: str) -> Path:
    """The run at a path, or the newest one for `latest`.

    Raises:
        UsageError: if there is no run.
    """
    if name == "latest":
        configs = sorted(ROOT.glob("*/version_*/config.yaml"), key=lambda path: path.stat().st_mtime)
        if not configs:
            raise UsageError(f"no run in {ROOT}/ yet: train one first, with kindling fit --config configs/…")
        return configs[-1].parent
    if not (Path(name) / "config.yaml").is_file():
        runs = sorted(str(path.parent) for path in ROOT.glob("*/version_*/config.yaml"))
        known = f"the runs here are {', '.join(runs[-5:])}" if runs else f"there are no runs in {ROOT}/ yet"
        raise UsageError(f"{name} is not a run (it has no config.yaml): {known}")
    return Path(name)


def find_checkpoint(run: Path | None, name: str) -> Path:
    """A checkpoint by path, or the run's `best` or `last`.

    Raises:
        UsageError: if it does not exist.
    """
    path = run / "checkpoints" / f"{name}.ckpt" if run and name in ("best", "last") else Path(name)
    if not path.is_file():
        folder = run / "checkpoints" if run else path.parent
        there = ", ".join(sorted(str(found) for found in folder.glob("*.ckpt"))) or "none"
        raise UsageError(f"there is no checkpoint {path}; in {folder} there is: {there}")
    return path


def environment(seed: Any) -> dict[str, Any]:
    """Where a run comes from: code, package versions, hardware, seed and command line."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "command": shlex.join(["kindling", *sys.argv[1:]]),
        "seed": seed,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if (changes := _git("status", "--porcelain")) is None else bool(changes),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(content), parse_constant=lambda constant: None)  # JSON knows no NaN
    path.write_text(json.dumps(plain, indent=2) + "\n")


def _git(*args: str) -> str | None:
    try:
        git = subprocess.run(["git", *args], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return git.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
