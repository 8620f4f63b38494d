"""Text files: which there are, where they are cut into splits, and their content in parts, however large they are."""

import codecs
import math
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from kindling.data.split_folders import SPLIT_OF_FOLDER

CHUNK = 2**22  # bytes that are read at once
LINE = 2**16  # bytes in which a cut looks for the end of a line


class Piece(NamedTuple):
    """The bytes of a file from `start` to `stop`."""

    path: str
    start: int
    stop: int


def find_texts(path: str | list[str]) -> tuple[list[Piece], list[str]]:
    """A file, several, or all .txt in a folder and below, whole, in the order of their names; and the empty ones.

    Raises:
        ValueError: if one isn't there, or there are none.
    """
    files: list[str] = []
    for name in [path] if isinstance(path, str) else path:
        if os.path.isdir(name):
            below = sorted(str(file) for file in Path(name).rglob("*.txt") if file.is_file())
            if not below:
                raise ValueError(f"path is {name!r}: there is no .txt file in it")
            files += below
        elif os.path.isfile(name):
            files.append(name)
        else:
            raise ValueError(f"path is {name!r}: there is no such file or folder")
    pieces = [Piece(file, 0, os.path.getsize(file)) for file in files]
    empty = [piece.path for piece in pieces if not piece.stop]
    pieces = [piece for piece in pieces if piece.stop]
    if not pieces:
        raise ValueError(f"{empty[0] if empty else 'path'} is empty: expected text")
    return pieces, empty


def by_name(pieces: list[Piece]) -> dict[str, list[Piece]] | None:
    """The pieces of each split, if all files, or the folders that they are in, are named after splits; else None."""
    found: dict[str, list[Piece]] = {}
    for piece in pieces:
        path = Path(piece.path)
        split = SPLIT_OF_FOLDER.get(path.stem.lower()) or SPLIT_OF_FOLDER.get(path.parent.name.lower())
        if not split:
            return None
        found.setdefault(split, []).append(piece)
    return found if "train" in found and len(found) > 1 else None


def cut(pieces: list[Piece], share: float) -> tuple[list[Piece], list[Piece]]:
    """Cut the text at the end of a line: all but a share of its bytes, and that share at its end."""
    left = math.floor((1 - share) * sum(piece.stop - piece.start for piece in pieces))
    for number, piece in enumerate(pieces):
        size = piece.stop - piece.start
        if left < size:
            place = min(_line_end(piece.path, piece.start + left), piece.stop)
            before, after = Piece(piece.path, piece.start, place), Piece(piece.path, place, piece.stop)
            return _filled([*pieces[:number], before]), _filled([after, *pieces[number + 1 :]])
        left -= size
    return pieces, []


def _filled(pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.stop > piece.start]


def _line_end(path: str, place: int) -> int:
    """Where the next line begins, or in a very long line the next character."""
    with open(path, "rb") as file:
        file.seek(place)
        some = file.read(LINE)
    if b"\n" in some:
        return place + some.index(b"\n") + 1
    continued = (number for number, byte in enumerate(some) if byte & 0xC0 != 0x80)  # no byte within a character
    return place + next(continued, 0)


def bytes_of(piece: Piece) -> Iterator[bytes]:
    """The bytes of a piece, a few MB at a time."""
    with open(piece.path, "rb") as file:
        file.seek(piece.start)
        left = piece.stop - piece.start
        while left > 0 and (part := file.read(min(CHUNK, left))):
            if len(part) < left:
                part += file.readline(min(LINE, left - len(part)))  # words stay whole
            left -= len(part)
            yield part


def text_of(piece: Piece) -> Iterator[str]:
    """The text of a piece, a few MB at a time; a ValueError at the first byte that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = piece.start
    for part in chain(bytes_of(piece), [b""]):
        waiting = len(decoder.getstate()[0])  # bytes of a character that is not whole yet
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            wrong = place - waiting + error.start
            raise ValueError(
                f"{piece.path} is not UTF-8, at byte {wrong:,}: convert it, or set data.tokens to bytes"
            ) from None
        place += len(part)
        yield text
