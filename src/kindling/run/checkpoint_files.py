"""Checkpoint files that can be trusted: written whole or not at all, with a checksum, and read without running code."""

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.nn.parameter import is_lazy

from kindling.core.errors import UsageError
from kindling.core.files import is_file, whole_file
from kindling.core.parts import path_of
from kindling.core.settings import misnamed_in

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # what `--resume` goes on from, and the one before it
SEAL = b"sha256:"  # opens the checksum, which is the comment of the zip file that torch writes: all readers skip it
SEAL_SIZE = len(SEAL) + 64
HYPERPARAMETERS = {"hyper_parameters", "datamodule_hyper_parameters"}  # where checkpoints have them
RECIPE = ("optimizer", "schedule", "_instantiator")  # hyper-parameters that no weight depends on
# What a checkpoint holds under a name, if it holds it.
TYPES: dict[str, tuple[type, ...]] = {
    "state_dict": (dict,),
    "hyper_parameters": (dict,),
    "datamodule_hyper_parameters": (dict,),
    "preprocessing": (dict, NoneType),
    "callbacks": (dict,),
    "loops": (dict,),
    "position": (dict, NoneType),
    "optimizer_states": (list,),
    "lr_schedulers": (list,),
    "epoch": (int,),
    "global_step": (int,),
    "pytorch-lightning_version": (str,),
}
OF_DICTS = ("callbacks", "loops", "optimizer_states")  # whose parts are dicts


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


def wrong_in(checkpoint: dict[Any, Any]) -> str | None:
    """What in a checkpoint, which can come from anyone, is not what is kept there; None if all is."""
    for name, kinds in TYPES.items():
        if name in checkpoint and not isinstance(checkpoint[name], kinds):
            return f"{name} is of the type {type(checkpoint[name]).__name__}: expected {kinds[0].__name__}"
    for name in OF_DICTS:
        parts = checkpoint.get(name, ())
        for part in parts.values() if isinstance(parts, dict) else parts:
            if not isinstance(part, dict):
                return f"{name} has a part of the type {type(part).__name__}: expected dict"
    for state in checkpoint.get("optimizer_states", ()):
        if not isinstance(state.get("state"), dict) or not isinstance(state.get("param_groups"), list):
            return "optimizer_states has one without a state and groups of parameters"
    if not all(isinstance(name, str) for name in checkpoint["state_dict"]):
        return "state_dict has a key that is no name"
    if checkpoint.get("position") and not isinstance(checkpoint.get("loops", {}).get("fit_loop"), dict):
        return "loops has no fit_loop to go on with"
    if problem := misnamed_in("model", {"init_args": checkpoint.get("hyper_parameters", {})}):
        return f"hyper_parameters can't be used: {problem}"
    for name, state in checkpoint.get("callbacks", {}).items():
        for key, path in _paths_in(state):
            if ".." in Path(path).parts or _is_elsewhere(path, state.get("dirpath")):
                return f"state of {name} names a {key} outside of its folder: {path}"
    return None


def _paths_in(state: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    """The files that the state of a callback names: Lightning removes those whose turn is over."""
    for key, value in state.items():
        for path in value if key == "best_k_models" and isinstance(value, dict) else [value]:
            if isinstance(path, str) and isinstance(key, str) and (key.endswith("path") or key == "best_k_models"):
                yield key, path


def _is_elsewhere(path: str, folder: Any) -> bool:
    """Whether an address, of which Lightning does not ask where it is, is below no such folder."""
    return ":/" in path and not (isinstance(folder, str) and ":/" in folder and path.startswith(f"{folder}/"))


def unloadable_in(content: Any, name: str = "") -> str | None:
    """What in nested dicts and lists no checkpoint may hold, since loading it would run code; None if nothing is."""
    if _can_be_loaded(content):
        return None
    parts: Any = ()
    if isinstance(content, Mapping):
        parts = content.items()
    elif isinstance(content, list | tuple):
        parts = enumerate(content)
    for key, part in parts:
        if problem := unloadable_in(part, f"{name}.{key}" if name else str(key)):
            return problem
    return f"{name} is of the type {path_of(type(content))}, and a checkpoint keeps plain values and tensors alone"


def _can_be_loaded(content: Any) -> bool:
    empty = torch.empty(0)
    buffer = io.BytesIO()
    try:
        torch.save(apply_to_collection(content, Tensor, lambda _: empty), buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except Exception:  # foreign objects fail in any way
        return False
    return True


def unloadable_hyperparameters(*owners: Any) -> dict[str, str]:
    """The types of those hyper-parameters of modules that no checkpoint may hold, by name."""
    every = [item for owner in owners if owner is not None for item in owner.hparams.items()]
    return {name: path_of(type(value)) for name, value in every if unloadable_in(value, name)}


def fit_or_refuse(path: Path, checkpoint: dict[str, Any], model: Any) -> None:
    """Raise a UsageError that names the difference if a checkpoint's weights are not those of a model.

    That of a module which can change either while it loads is left to Lightning.
    """
    hooks = ("setup", "configure_model", "on_load_checkpoint")
    if not hasattr(model, "task") and (not model.strict_loading or any(is_overridden(hook, model) for hook in hooks)):
        return
    theirs, ours = _shapes(checkpoint["state_dict"]), _shapes(model.state_dict())
    names = [name for name in {**ours, **theirs} if ours.get(name, ()) is not None]
    different = [name for name in names if ours.get(name) != theirs.get(name)]
    if not different:
        return
    trained = checkpoint.get("hyper_parameters", {})
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
