"""Files that torch writes, with a checksum as the comment of the zip file that each of them is: all readers skip it.

The checksum is taken while the file is written, so that no second copy of a checkpoint is in memory.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

SEAL = b"sha256:"  # begins the comment
SEAL_SIZE = len(SEAL) + 64
LENGTH_SIZE = 2  # bytes that end a zip file without a comment: the comment's length
BUFFER = 2**16  # bytes; torch writes small pieces, and a larger buffer takes longer to come by than it saves


def write_sealed(content: dict[str, Any], path: Path) -> None:
    """Write what `torch.save` takes, with a checksum, and flush it to disk."""
    with path.open("wb") as file:
        sealed = _Sealed(file)
        with io.BufferedWriter(sealed, BUFFER) as buffer:
            torch.save(content, buffer)
        sealed.finish()
        file.flush()
        os.fsync(file.fileno())


class _Sealed(io.RawIOBase):
    """Writes to a file and takes the checksum of what it writes.

    An error is kept until the end: torch would lose it, or report one of its own instead.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.end = b""  # what may have the comment's length in it
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        if len(content) < LENGTH_SIZE:
            self.end += content
        else:
            self._put(self.end)
            self._put(content[:-LENGTH_SIZE])
            self.end = bytes(content[-LENGTH_SIZE:])
        return len(content)

    def finish(self) -> None:
        """Write the comment and, in the place of a 0, its length."""
        self._put(self.end[:-LENGTH_SIZE] + SEAL_SIZE.to_bytes(LENGTH_SIZE, "little"))
        self._put(SEAL + self.digest.hexdigest().encode())
        if self.failure:
            raise self.failure

    def _put(self, content: Any) -> None:
        self.digest.update(content)
        try:
            self.file.write(content)
        except OSError as error:
            self.failure = self.failure or error


def seal_of(path: Path) -> bool | None:
    """Whether the checksum at the end of a file is right; None if it has none, as in other programs' checkpoints."""
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
