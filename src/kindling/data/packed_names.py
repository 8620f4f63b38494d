"""Millions of names of files, packed by Arrow: in memory, or in a file from which they are read when asked for."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

BLOCK = 2**16  # names that are packed, or unpacked, at a time
PACKED = pa.large_binary()  # bytes, since the name of a file need not be valid text
SCHEMA = pa.schema([("name", PACKED)])
ABOUT = b"about"  # where a file keeps what else is known of its names


class PackedNames(Sequence[str]):
    """Names that take their length and 8 bytes each, where a list takes 57 bytes more.

    Worker processes share them, since reading them writes nothing, unlike reading a list.
    """

    blocks: pa.ChunkedArray

    def __init__(self, names: Iterable[str] = ()) -> None:
        remaining, blocks = iter(names), []
        while block := [os.fsencode(name) for name in islice(remaining, BLOCK)]:
            blocks.append(pa.array(block, PACKED))
        self.blocks = pa.chunked_array(blocks, PACKED)

    @classmethod
    def joined(cls, parts: Iterable[Sequence[str]]) -> "PackedNames":
        """The names of all parts, one after the other, without a copy of those that are packed."""
        packed = [part if isinstance(part, cls) else cls(part) for part in parts]
        names = cls()
        names.blocks = pa.chunked_array([block for part in packed for block in part.blocks.chunks], PACKED)
        return names

    def __len__(self) -> int:
        return len(self.blocks)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [os.fsdecode(name) for name in self.blocks[place].to_pylist()]
        return os.fsdecode(self.blocks[range(len(self))[place]].as_py())  # counts from the end too

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks.chunks:
            yield from map(os.fsdecode, block.to_pylist())

    def write(self, path: Path, about: dict[str, Any]) -> None:
        """Keep the names in an Arrow file, with whatever else JSON can hold."""
        schema = SCHEMA.with_metadata({ABOUT: json.dumps(about).encode()})
        with pa.ipc.new_file(path, schema) as file:
            file.write_table(pa.table([self.blocks], schema))

    @classmethod
    def read(cls, path: Path) -> tuple["PackedNames", dict[str, Any]]:
        """The names in a file, which stay there until they are asked for, and what else it holds.

        Raises:
            OSError: if it can't be read.
            ValueError: if it is damaged.
        """
        with pa.memory_map(os.fspath(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)  # a wrong place in it would end the process
        about = (table.schema.metadata or {}).get(ABOUT)
        if table.schema != SCHEMA or table["name"].null_count or about is None:
            raise ValueError(f"{path} is no list of names")
        names = cls()
        names.blocks = table["name"]
        return names, json.loads(about)
