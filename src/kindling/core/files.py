"""Files that are written whole or not at all."""

import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from socket import gethostname
from typing import Any

from kindling.core import system
from kindling.core.errors import UsageError

PATIENCE = 2.0  # seconds in which a reader may let go of a file, where it can't be replaced before


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; what is there at the end replaces `path`, unless there was an error."""
    if path.is_dir() and not path.is_symlink():
        raise UsageError(f"can't write {path}: it is a folder")
    part = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(part)  # left by a killed process of this number: writing to it could write to a file that it links to
        yield part
        put_in_place(part, path)
    except ConnectionError:  # to a process that reads what is written here
        raise
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file or folder its name, in the place of what has it.

    On Windows nobody else can have either open meanwhile: a virus scanner, or who reads it, gets a moment to finish.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return os.replace(part, path)
        except PermissionError:
            if not system.WINDOWS or time.monotonic() > until:
                raise
        time.sleep(0.05)


@contextmanager
def made_by_one(path: Path) -> Iterator[None]:
    """Let one process at a time, of all that share the disk, make a file of a cache; the others wait.

    Check inside the `with` whether another has made it. What a killed process left of it is removed.

    Raises:
        UsageError: if nothing can be written there.
    """
    from filelock import FileLock  # only caches need it

    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    try:
        for part in path.parent.glob(f"part-*@{escape(path.stem)}.*"):
            remove(part)
        yield
    finally:
        lock.release()


def make_if_missing(path: Path, make: Callable[[Path], object]) -> None:
    """Have a file of a cache made by one of the processes that need it."""
    if is_file(path):
        return
    with made_by_one(path):
        if not is_file(path):
            with whole_file(path) as part:
                make(part)


def unfinished(path: Path) -> Path:
    """Where `path` is written until it is whole: under a name that only this process uses, even on a shared disk."""
    return path.with_name(f"part-{this_process()}@{path.name}")


def this_process() -> str:
    """What identifies this process among those of all machines: its number and its machine's name."""
    return f"{os.getpid()}@{gethostname()}"


def names_to_disk(folder: Path) -> None:
    """Flush the names in a folder, so that they survive a power cut as flushed files do."""
    if not system.WINDOWS:  # where a folder can't be opened
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def content_to_disk(path: Path) -> None:
    """Have a file's content survive a power cut. It is opened to write, or Windows would not flush it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; do nothing if it has gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_left_over(part: Path, gone: str = "") -> bool:
    """Whether a file was left unfinished by a process that has gone.

    Args:
        part: a file of any name.
        gone: a process that is known to have gone, wherever it ran: there is no other sign for one on another machine.
    """
    match = re.fullmatch("part-(([0-9]+)@([^@]+))@.+", part.name)
    if not match:
        return False
    process, number, host = match.groups()
    return process == gone or (host == gethostname() and not _is_running(int(number)))


def _is_running(process: int) -> bool:
    if system.WINDOWS:  # where asking would end it
        return True
    with suppress(PermissionError):  # it is somebody else's
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def is_file(path: Path) -> bool:
    """Whether a file is there; a UsageError with the reason if a folder above it can't be read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # an impossible name, such as one with a null byte
        raise UsageError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The values that a file keeps; none if it is not there, or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def as_json(content: dict[str, Any]) -> dict[str, Any]:
    """Values as JSON gives them back, None for NaN and infinity, which it does not know."""
    return json.loads(json.dumps(content), parse_constant=lambda constant: None)


def write_json(path: Path, content: dict[str, Any]) -> None:
    with whole_file(path) as part:
        part.write_text(json.dumps(as_json(content), indent=2) + "\n", encoding="utf-8")
