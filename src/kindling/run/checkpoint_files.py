"""Checkpoint files that can be trusted: written whole or not at all, with a checksum, and read without running code."""

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.nn.parameter import is_lazy

from kindling.core.errors import UsageError
from kindling.core.files import is_file, whole_file
from kindling.run.checkpoint_content import unloadable_in, wrong_in

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # what `--resume` goes on from, and the one before it
SEAL = b"sha256:"  # opens the checksum, which is the comment of the zip file that torch writes: all readers skip it
SEAL_SIZE = len(SEAL) + 64
HYPERPARAMETERS = {"hyper_parameters", "datamodule_hyper_parameters"}  # where checkpoints have them
RECIPE = ("optimizer", "schedule", "_instantiator")  # hyper-parameters that no weight depends on


class Unloadable(Exception):
    """A checkpoint holds what could not be loaded again."""


class Unreadable(UsageError):
    """A file may not be read, or its disk fails: it may well be whole."""


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's way to files, but flushed to disk before they get their name, and with a checksum inside.

    `failure` holds the path and the error of a save that failed; an exception on one of several processes would leave
    the others waiting. The first checkpoint of a training is not written if it could not be loaded again.
    """

    failure: tuple[Path, BaseException] | None = None
    written: Path | None = None  # the newest that was written whole
    is_loadable = False  # what this training keeps in a checkpoint
    left_out: frozenset[str] = frozenset()  # hyper-parameters that no checkpoint may hold

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        for key in HYPERPARAMETERS & checkpoint.keys():
            kept = {name: value for name, value in checkpoint[key].items() if name not in self.left_out}
            checkpoint = {**checkpoint, key: kept}
        if not self.is_loadable:
            if problem := unloadable_in(checkpoint):
                self.failure = Path(path), Unloadable(f"checkpoints of this training could not be loaded: {problem}")
                return
            self.is_loadable = True
        buffer = io.BytesIO()
        torch.save(checkpoint | {"sealed": True}, buffer)
        buffer.seek(-2, os.SEEK_END)
        buffer.write(SEAL_SIZE.to_bytes(2, "little"))  # the length of the comment, up to now 0
        with self._failures(Path(path)):
            write(Path(path), buffer.getbuffer())
            self.written = Path(path)

    def name_last(self, path: Path) -> None:
        """Give a checkpoint the name `last.ckpt` as well, which spares writing it twice."""
        last = path.with_name(LAST)
        with self._failures(last):
            _replace(last, partial(_link, path))

    @contextmanager
    def _failures(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, UsageError) as error:
            self.failure = path, error.__cause__ or error

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return load_checkpoint(Path(path))


def write(path: Path, content: memoryview) -> None:
    """Write a checkpoint and its checksum, whole or not at all."""
    _replace(path, partial(_write_sealed, content))


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    """Make a checkpoint, and then give it its name.

    The `last.ckpt` from before becomes `previous.ckpt`, and at no instant is there none.
    """
    if path.name == LAST and path.exists():
        with whole_file(path.with_name(PREVIOUS)) as older:  # gets that name once `path` is the new one
            _link(path, older)
            _make_whole(path, make)
    else:
        _make_whole(path, make)
    folder = os.open(path.parent, os.O_RDONLY)  # a new name is on disk when its folder is
    os.fsync(folder)
    os.close(folder)


def _make_whole(path: Path, make: Callable[[Path], None]) -> None:
    with whole_file(path) as part:
        make(part)


def _link(path: Path, other: Path) -> None:
    """Give a file a second name; where links are not to be had, copy it to disk."""
    other.unlink(missing_ok=True)  # left by a kill: to write to it could be to write to the checkpoint it is a link to
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
        with other.open("rb") as copy:
            os.fsync(copy.fileno())


def _write_sealed(content: memoryview, path: Path) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.write(SEAL + hashlib.sha256(content).hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of tensors and plain values.

    Raises:
        UsageError: if it is damaged, holds more, or something in it is not what it should be.
        Unreadable: if it can't be read.
    """
    advice = "validate, test and predict take another with --ckpt last"
    damaged = UsageError(f"{path} is not a checkpoint, or it is damaged: {advice}")
    try:
        seal = _seal(path)
    except OSError as error:
        raise Unreadable(f"can't read {path}: {error.strerror}") from error
    if seal is False:
        raise damaged
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can make the reader fail in any way
        if re.search("GLOBAL|Unsupported (global|class)|unrecognized function", str(error)):
            reason = "is refused and nothing in it was run: it holds code or objects besides weights"
            raise UsageError(f"{path} {reason}") from error
        raise damaged from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UsageError(f"{path} is not a Lightning checkpoint: it has no state_dict")
    if checkpoint.get("sealed") and not seal:
        raise damaged
    if problem := wrong_in(checkpoint):
        raise UsageError(f"{path} is refused, since its {problem}")
    return checkpoint


def _seal(path: Path) -> bool | None:
    """Whether the checksum at the end of a file is right; None if there is none, as in other programs' checkpoints."""
    with path.open("rb") as file:
        left = file.seek(0, os.SEEK_END) - SEAL_SIZE
        if left < 0:
            return None
        file.seek(left)
        seal = file.read()
        if not seal.startswith(SEAL):
            return None
        file.seek(0)
        digest = hashlib.sha256()
        while left and (chunk := file.read(min(left, 2**20))):
            digest.update(chunk)
            left -= len(chunk)
    return seal == SEAL + digest.hexdigest().encode()


def fit_or_refuse(path: Path, checkpoint: dict[str, Any], model: Any) -> None:
    """Raise a UsageError that names the difference if a checkpoint's weights are not those of a model.

    That of a module which can change either while it loads is left to Lightning.
    """
    hooks = ("setup", "configure_model", "on_load_checkpoint")
    if not hasattr(model, "task") and (not model.strict_loading or any(is_overridden(hook, model) for hook in hooks)):
        return
    trained = checkpoint.get("hyper_parameters", {})
    for name in ("targets", "classes") if hasattr(model, "task") else ():
        before, now = trained.get(name), model.hparams.get(name)
        if before and now and before != now:
            here = f"{name} is {before} in the checkpoint and {now} here"
            raise UsageError(f"{path} does not fit this {type(model).__name__}: {here}")
    theirs, ours = _shapes(checkpoint["state_dict"]), _shapes(model.state_dict())
    names = [name for name in {**ours, **theirs} if ours.get(name, ()) is not None]
    different = [name for name in names if ours.get(name) != theirs.get(name)]
    if not different:
        return
    settings = [
        f"{name.replace('_class_path', 'the model')} is {trained[name]} in the checkpoint and {value} here"
        for name, value in model.hparams.items()
        if name in trained and str(trained[name]) != str(value) and name not in RECIPE
    ]
    first, *more = different
    weight = f"weight {first} is {theirs.get(first, 'absent')} in the checkpoint and {ours.get(first, 'absent')} here"
    reason = ", ".join(settings) or f"{weight} (and {len(more)} more)"
    raise UsageError(f"{path} does not fit this {type(model).__name__}: {reason}")


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...] | None]:
    """The shapes of weights, None of those that wait for a batch to tell; other state of a module has none."""
    weights = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {name: None if is_lazy(weight) else tuple(weight.shape) for name, weight in weights.items()}


def newest_whole(run: Path) -> tuple[Path | None, dict[str, Any]]:
    """The newest whole checkpoint that a run can go on from, and its path; None if it has saved none yet.

    A damaged one is named and put aside. Raises a UsageError if no other is left.
    """
    problems = []
    for path in (run / "checkpoints" / LAST, run / "checkpoints" / PREVIOUS):
        if not is_file(path):
            continue
        try:
            checkpoint = load_checkpoint(path)
        except Unreadable:
            raise
        except UsageError as error:
            problems.append((path, str(error).partition(":")[0]))
            continue
        for damaged, problem in problems:  # or the next save would keep it as the previous one
            damaged.rename(damaged.with_suffix(".damaged"))
            print(f"warning: {problem}; it is {damaged.stem}.damaged now, and the one before it is used")
        return path, checkpoint
    if problems:
        both = ", and so is the one before it" if len(problems) > 1 else ""
        raise UsageError(f"{problems[0][1]}{both}: nothing is left to resume {run} from")
    return None, {}
