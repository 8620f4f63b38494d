"""How `predict` and `export` write, so that nothing half-written stays behind, however they end."""

import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kindling.core.errors import Terminated
from kindling.core.files import is_left_over, put_in_place, remove, unfinished, whole_file


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Like `whole_file`, but also if SIGTERM comes; what a SIGKILL has left of an earlier try is removed."""
    _remove_leftovers(path)
    new_folders = [folder for folder in path.parents if not folder.exists()]
    try:
        with _sigterm_ends_the_command(), whole_file(path) as part:
            yield part
    finally:
        for folder in new_folders:  # removes those that are still empty, from the innermost on
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def written_whole_folder(path: Path) -> Iterator[Path]:
    """Gives a folder to make and write to; if it exists at the end, it replaces `path`, unless there was an error.

    Use it inside `written_whole`, which takes care of the rest.
    """
    _remove_leftovers(path)
    part, old = unfinished(path), unfinished(path.with_name(f"old-{path.name}"))
    try:
        yield part
        if part.is_dir():
            if path.exists():
                put_in_place(path, old)
            put_in_place(part, path)
    finally:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what processes that are gone have left of a file or a folder."""
    for part in path.parent.glob("part-*"):
        name = part.name.split("@", 2)[-1]
        if name in (path.name, f"old-{path.name}") and is_left_over(part):
            remove(part)


@contextmanager
def _sigterm_ends_the_command() -> Iterator[None]:
    """Let SIGTERM end what is done here as an error would, rather than end Python at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: Any) -> None:
    raise Terminated(128 + number)
