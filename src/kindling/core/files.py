"""Files that are written whole or not at all."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kindling.core.errors import UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write to; what is there in the end replaces `path`, unless there was an error."""
    if path.is_dir():
        raise UsageError(f"can't write {path}: it is a folder")
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except ConnectionError:  # to a process that reads what is written here
        raise
    except OSError as error:
        raise UsageError(f"can't write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def is_file(path: Path) -> bool:
    """Whether there is a file; a UsageError with the reason if a folder above it can't be read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name that can't be one, such as with a null byte
        raise UsageError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    without_nan = json.loads(json.dumps(content), parse_constant=lambda constant: None)  # which JSON does not know
    with whole_file(path) as part:
        part.write_text(json.dumps(without_nan, indent=2) + "\n")
