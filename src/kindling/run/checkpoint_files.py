"""Checkpoint files that can be trusted: written whole or not at all, with a checksum, and read without running code."""

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

from kindling.core.errors import UsageError
from kindling.core.files import content_to_disk, names_to_disk, remove, whole_file
from kindling.run.checkpoint_content import unloadable_in, wrong_in
from kindling.run.checkpoint_links import free_name, have_link, point, remove_unnamed
from kindling.run.checkpoint_names import BEST, LAST, PREVIOUS, REST, is_checkpoint
from kindling.run.sealed_file import seal_of, write_sealed

HYPERPARAMETERS = {"hyper_parameters", "datamodule_hyper_parameters"}  # where checkpoints keep them


class Unloadable(Exception):
    """A checkpoint holds something that could not be loaded again."""


class Unreadable(UsageError):
    """A file can't be read, for lack of permission or because its disk fails: it may well be whole."""


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, but flushed to disk before they get their name, and with a checksum inside.

    `failure` holds the path and the error of a failed save, since an exception in one of several processes would leave
    the others waiting. The first checkpoint of a training is not written if it could not be loaded again.
    """

    failure: tuple[Path, BaseException] | None = None
    written: Path | None = None  # the newest that was written whole
    is_loadable = False  # whether a checkpoint of this training can be loaded again
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
        with self._failures(Path(path)):
            write(Path(path), checkpoint | {"sealed": True})
            self.written = Path(path)

    def save_folder(
        self, checkpoint: dict[str, Any], part: Path, path: Path, checksums: dict[str, str], failure: str | None
    ) -> None:
        """Complete a checkpoint that is a folder, which holds the shares of all processes, and give it its name.

        The name is a link, which can be switched from one folder to another in one step.

        Args:
            checkpoint: without the tensors that are shared out.
            part: the unfinished folder.
            path: its name.
            checksums: those of the files with the shares.
            failure: why the shares could not be written; None if they were.
        """
        from kindling.run import sharded_checkpoint as shards  # which not every build of torch can

        if not failure:
            self.save_checkpoint(checkpoint, part / REST)
        with self._failures(path):
            if failure:
                raise UsageError(failure)
            if not self.failure:
                shards.seal(part, checksums)
                folder = free_name(path.with_name(f"step-{checkpoint['global_step']}"))
                part.rename(folder)
                _replace(path, partial(point, folder.name))
                self.written = path
                remove_unnamed(path.parent)
        if self.failure:
            self.failure = path, self.failure[1]
            remove(part)

    def name_last(self, path: Path) -> None:
        """Give a checkpoint the name `last.ckpt` as well, which saves writing it twice."""
        last = path.with_name(LAST)
        with self._failures(last):
            _replace(last, partial(_link, path))
            remove_unnamed(path.parent)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint that a callback no longer keeps: a folder loses its name, and goes with its last one."""
        if Path(path).is_symlink():
            remove(Path(path))
            remove_unnamed(Path(path).parent)
        else:
            super().remove_checkpoint(path)

    @contextmanager
    def _failures(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, UsageError) as error:
            self.failure = path, error.__cause__ or error

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return load_checkpoint(Path(path))


def write(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint and its checksum, whole or not at all."""
    _replace(path, partial(write_sealed, checkpoint))


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    """Make a checkpoint, and then give it its name.

    The old `last.ckpt` becomes `previous.ckpt`, and at no instant is there no `last.ckpt`. The name of `best.ckpt` is
    flushed to disk with the next `last.ckpt`, which says what was best: a power cut in between loses both.
    """
    for name in (path.name, LAST, PREVIOUS):
        have_link(path.with_name(name))
    if path.name == LAST and path.exists():
        with whole_file(path.with_name(PREVIOUS)) as older:  # gets that name once `path` is the new one
            _link(path, older)
            _make_whole(path, make)
    else:
        _make_whole(path, make)
    if path.name != BEST:
        names_to_disk(path.parent)


def _make_whole(path: Path, make: Callable[[Path], None]) -> None:
    with whole_file(path) as part:
        make(part)


def _link(path: Path, other: Path) -> None:
    """Give a file a second name; where links are not possible, copy it."""
    if path.is_symlink():
        point(os.readlink(path), other)
        return
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
        content_to_disk(other)


def load_checkpoint(path: Path, shapes_only: bool = False) -> dict[str, Any]:
    """Load a checkpoint of tensors and plain values: a file, or a folder whose shares are put together.

    Args:
        path: the file or folder.
        shapes_only: whether a folder's tensors are on `meta`, since one process may not hold all of them.

    Raises:
        UsageError: if it is damaged, holds anything else, or something in it is not as it should be.
        Unreadable: if it can't be read.
    """
    if not path.is_dir():
        return _load_file(path, path)
    from kindling.run import sharded_checkpoint as shards  # which not every build of torch can

    rest = load_rest(path)
    try:
        checkpoint = shards.join(rest, shards.read_whole(path, "meta" if shapes_only else "cpu"))
        states = checkpoint.get("optimizer_states", [])
        return {**checkpoint, "optimizer_states": [shards.numbered(state) for state in states]}
    except UsageError:
        raise
    except Exception as error:  # a description that does not match the files fails in any way
        raise _damaged(path) from error


def load_rest(folder: Path) -> dict[str, Any]:
    """What a folder holds besides the tensors that are shared out; raises the same errors as `load_checkpoint`."""
    from kindling.run import sharded_checkpoint as shards  # which not every build of torch can

    try:
        if not shards.is_whole(folder):
            raise _damaged(folder)
    except OSError as error:
        raise Unreadable(f"can't read {folder}: {error.strerror}") from error
    return _load_file(folder / REST, folder)


def _damaged(path: Path) -> UsageError:
    advice = "validate, test and predict take another one with --ckpt last"
    return UsageError(f"{path} is not a checkpoint, or it is damaged: {advice}")


def _load_file(path: Path, named: Path) -> dict[str, Any]:
    damaged = _damaged(named)
    try:
        seal = seal_of(path)
    except FileNotFoundError as error:  # a name whose folder is gone
        raise damaged from error
    except OSError as error:
        raise Unreadable(f"can't read {path}: {error.strerror}") from error
    if seal is False:
        raise damaged
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can make the reader fail in any way
        if re.search("GLOBAL|Unsupported (global|class)|unrecognized function", str(error)):
            reason = "is refused, and nothing in it was run: it holds code or objects besides weights"
            raise UsageError(f"{path} {reason}") from error
        raise damaged from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UsageError(f"{path} is not a Lightning checkpoint: it has no state_dict")
    if checkpoint.get("sealed") and not seal:
        raise damaged
    if problem := wrong_in(checkpoint):
        raise UsageError(f"{path} is refused, since its {problem}")
    return checkpoint


def newest_whole(run: Path) -> tuple[Path | None, dict[str, Any]]:
    """The path and content of the newest whole checkpoint that a run can go on from; None if it has saved none yet.

    A damaged one is reported and set aside. Raises a UsageError if no other is left.
    """
    problems = []
    for path in (run / "checkpoints" / LAST, run / "checkpoints" / PREVIOUS):
        if not is_checkpoint(path):
            continue
        try:
            checkpoint = load_checkpoint(path, shapes_only=True)
        except Unreadable:
            raise
        except UsageError as error:
            what, _, _ = str(error).removeprefix(str(path)).partition(":")  # a path can have a colon in it
            problems.append((path, f"{path}{what}"))
            continue
        for damaged, problem in problems:  # or the next save would keep it as the previous one
            damaged.replace(damaged.with_suffix(".damaged"))
            print(f"warning: {problem}; it is now {damaged.stem}.damaged, and the one before it is used")
        return path, checkpoint
    if problems:
        both = ", and so is the one before it" if len(problems) > 1 else ""
        raise UsageError(f"{problems[0][1]}{both}: nothing is left to resume {run} from")
    return None, {}
