"""The run: one folder under `lightning_logs/` that holds everything one training produced."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path("lightning_logs")


class UsageError(Exception):
    """What the user typed can't be done. The message is one sentence: what is wrong and what would be right."""


class Stopped(Exception):
    """A training ended before its time. The message says when, why, and what to do; `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


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
    taken = [int(path.name[8:]) for path in folder.glob("version_*") if path.name[8:].isdecimal()]
    run = folder / f"version_{max(taken, default=-1) + 1}"
    try:
        run.mkdir(parents=True)
    except OSError as error:
        if run.exists():  # a run that started at the same time won the race for the number
            return new_run(experiment)
        raise UsageError(f"can't make the run's folder in {folder}: {error.strerror}") from error
    os.environ["KINDLING_RUN"] = str(run)
    return run


def discard_run(run: Path) -> None:
    """Remove a run that has no checkpoint yet, and the folders that it leaves empty."""
    if not any(run.glob("checkpoints/*")):
        shutil.rmtree(run, ignore_errors=True)
        with suppress(OSError):  # not empty
            os.removedirs(run.parent)


def find_run(name: str) -> Path:
    """The run at a path, or the newest one for `latest`; a UsageError if there is none."""
    runs = [path.parent for path in sorted(ROOT.glob("*/version_*/config.yaml"), key=os.path.getmtime)]
    if name == "latest" and not runs:
        raise UsageError(f"no run in {ROOT}/ yet: train one first, with kindling fit --config configs/…")
    run = runs[-1] if name == "latest" else Path(name)
    if not (run / "config.yaml").is_file():
        known = f"the newest are {', '.join(map(str, runs[-5:]))}" if runs else f"there are no runs in {ROOT}/ yet"
        raise UsageError(f"{name} is not a run (it has no config.yaml): {known}")
    return run


def find_checkpoint(run: Path | None, name: str) -> Path:
    """A checkpoint by path, or the run's `best` or `last`; a UsageError if it does not exist."""
    path = run / "checkpoints" / f"{name}.ckpt" if run and name in ("best", "last") else Path(name)
    if not path.is_file():
        folder = run / "checkpoints" if run else path.parent
        there = ", ".join(sorted(map(str, folder.glob("*.ckpt")))) or "none"
        raise UsageError(f"there is no checkpoint {path}; in {folder} there is: {there}")
    return path


def read_checkpoint(path: Path, model: Any) -> dict[str, Any]:
    """Load a checkpoint for a model; a UsageError if it is damaged, holds objects, or does not fit."""
    checkpoint = load_checkpoint(path)
    fit_or_refuse(path, checkpoint, model)
    return checkpoint


def check_resume(path: Path, checkpoint: dict[str, Any], model: Any, max_epochs: int | None) -> None:
    """Refuse to go on from a checkpoint with another recipe, or where nothing is left to do."""
    run, epochs = path.parent.parent, checkpoint["epoch"] + 1
    for part in ("optimizer", "schedule"):
        if checkpoint["hyper_parameters"].get(part) != model.hparams.get(part):
            raise UsageError(f"a resumed run keeps its {part}: leave out --model.{part}, or start a new run")
    if max_epochs is not None and 0 <= max_epochs < epochs:
        raise UsageError(f"{run} has trained {epochs} epochs: give a larger --trainer.max_epochs to go on")
    if max_epochs == epochs and (run / "results.json").exists():
        raise NothingToDo(f"{run} has trained its {epochs} epochs; --trainer.max_epochs {2 * epochs} trains on")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of tensors and plain values; a UsageError if it is damaged or holds more."""
    import torch  # slow to import

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can make the reader fail in any way
        reason = "is not a checkpoint, or it is damaged (truncated?): validate and test take another with --ckpt"
        if re.search("GLOBAL|Unsupported (global|class)|unrecognized function", str(error)):
            reason = "is refused and nothing in it was run: it holds code or objects besides weights"
        raise UsageError(f"{path} {reason}") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UsageError(f"{path} is not a Lightning checkpoint: it has no state_dict")
    return checkpoint


def fit_or_refuse(path: Path, checkpoint: dict[str, Any], model: Any) -> None:
    """Raise a UsageError that names the difference if a checkpoint's weights are not those of a model."""
    theirs = {name: tuple(weight.shape) for name, weight in checkpoint["state_dict"].items()}
    ours = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    different = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if not different:
        return
    trained = checkpoint.get("hyper_parameters", {})
    settings = [
        f"{name.replace('_class_path', 'the model')} is {trained[name]} in the checkpoint and {value} here"
        for name, value in model.hparams.items()
        if name in trained and trained[name] != value and name not in ("optimizer", "schedule", "_instantiator")
    ]
    first, *more = different
    weight = f"weight {first} is {theirs.get(first, 'absent')} in the checkpoint and {ours.get(first, 'absent')} here"
    reason = ", ".join(settings) or f"{weight} (and {len(more)} more)"
    raise UsageError(f"{path} does not fit this {type(model).__name__}: {reason}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write to: what is there in the end takes the place of `path`, and after an error nothing does."""
    if path.is_dir():
        raise UsageError(f"can't write {path}: it is a folder")
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(content), parse_constant=lambda constant: None)  # JSON knows no NaN
    path.write_text(json.dumps(plain, indent=2) + "\n")


def flatten(values: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as `model.optimizer.lr`; a class by its name, and null left out."""
    for key, value in values.items():
        name = prefix.rstrip(".") if key == "class_path" else f"{prefix}{key}"
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from flatten(value, prefix if key in ("init_args", "dict_kwargs") else f"{name}.")
        elif key == "class_path":
            yield name, value.rpartition(".")[2]
        elif value is not None:
            yield name, value if isinstance(value, bool | int | float | str) else str(value)
