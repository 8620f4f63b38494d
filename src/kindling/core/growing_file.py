"""Files that grow in a training, which a kill leaves whole, and a full disk that does not end the training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kindling.core.errors import UsageError, reason_of
from kindling.core.files import whole_file

told: set[str] = set()  # the reasons for which something could not be written, each told once in a training


@contextmanager
def going_on(path: Path) -> Iterator[None]:
    """Go on when the disk is full or gone, and say so once."""
    try:
        yield
    except (OSError, UsageError) as error:
        reason = reason_of(error)
        if reason not in told:
            with suppress(OSError):  # stderr may be a file on that disk
                print(f"warning: can't write {path}: {reason}; the training goes on", file=sys.stderr, flush=True)
        told.add(reason)


class GrowingFile:
    """A file to which whole pieces are added. What can't be written waits for the next `flush`."""

    def __init__(self, path: Path) -> None:
        self.path, self.waiting, self.anew = path, bytearray(), False

    def text(self) -> str:
        """All there is, on the disk and waiting, without a last line that was cut off."""
        on_disk = b"" if self.anew or not self.path.exists() else self.path.read_bytes()
        whole = on_disk[: on_disk.rfind(b"\n") + 1]
        return (whole + self.waiting).decode(errors="replace")

    def replace(self, text: str) -> None:
        self.waiting, self.anew = bytearray(text.encode()), True

    def flush(self) -> None:
        with going_on(self.path):
            if self.anew:
                with whole_file(self.path) as part:
                    part.write_bytes(self.waiting)
            elif self.waiting:
                self._append()
            self.waiting, self.anew = bytearray(), False

    def _append(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab", buffering=0) as file:
            size, left = file.tell(), bytes(self.waiting)
            try:
                while left:  # once, unless the disk is full
                    left = left[file.write(left) :]
            except OSError:
                with suppress(OSError):
                    file.truncate(size)
                raise
