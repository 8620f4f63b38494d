"""Files that grow during a training: a kill leaves them whole, and a full disk does not end the training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kindling.core.errors import UsageError, reason_of
from kindling.core.files import whole_file

reported: set[str] = set()  # why something could not be written; each reason is reported once in a training


@contextmanager
def going_on(path: Path) -> Iterator[None]:
    """Go on when the disk is full or gone, and say so once."""
    try:
        yield
    except (OSError, UsageError) as error:
        reason = reason_of(error)
        if reason not in reported:
            with suppress(OSError):  # stderr may be a file on that disk
                print(f"warning: can't write {path}: {reason}; the training goes on", file=sys.stderr, flush=True)
        reported.add(reason)


class GrowingFile:
    """A file to which whole pieces are added. What can't be written waits for the next `flush`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting = bytearray()  # what the next flush writes
        self.is_replaced = False  # whether that replaces what is on the disk

    def text(self) -> str:
        """All there is, on the disk and waiting, without a last line that was cut off."""
        on_disk = b"" if self.is_replaced or not self.path.exists() else self.path.read_bytes()
        whole_lines = on_disk[: on_disk.rfind(b"\n") + 1]
        return (whole_lines + self.waiting).decode(errors="replace")

    def replace(self, text: str) -> None:
        self.waiting, self.is_replaced = bytearray(text.encode()), True

    def flush(self) -> None:
        with going_on(self.path):
            if self.is_replaced:
                with whole_file(self.path) as part:
                    part.write_bytes(self.waiting)
            elif self.waiting:
                self._append()
            self.waiting, self.is_replaced = bytearray(), False

    def _append(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab", buffering=0) as file:
            size_before, unwritten = file.tell(), bytes(self.waiting)
            try:
                while unwritten:  # once, unless the disk is full
                    unwritten = unwritten[file.write(unwritten) :]
            except OSError:
                with suppress(OSError):
                    file.truncate(size_before)
                raise
