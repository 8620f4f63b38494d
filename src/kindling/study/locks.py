"""File locks that end with the process that holds them, however it ends."""

import errno
from pathlib import Path
from typing import IO

from kindling.core.errors import UsageError


def wait_for_lock(path: Path) -> IO[str]:
    """Open and lock a file: it stays locked until it is closed here and in every process that has inherited it."""
    file = _lock(path, waits=True)
    assert file
    return file


def try_lock(path: Path) -> IO[str] | None:
    """Likewise, without waiting; None if another process has locked it."""
    return _lock(path, waits=False)


def _lock(path: Path, waits: bool) -> IO[str] | None:
    try:
        import fcntl
    except ImportError as error:
        raise UsageError("a study needs file locks, which Windows doesn't have: use WSL") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"can't write to {path}: {error.strerror}") from error
    try:  # not the kind that belongs to one process (lockf): a process that inherits this one holds it as well
        fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except OSError as error:
        file.close()
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise UsageError(f"can't lock {path}: {error.strerror}; a study needs a folder that has file locks") from error
    return file
