"""Shards of LitData: `kindling fit --model CNN --data Shards --data.path shards --data.inputs image …`.

They need `pip install -e '.[shards]'`. Of what LitData can write, only what can run no code is read: no pickles.
"""

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
from torch.utils.data import ConcatDataset, Dataset

from kindling.core.progress import progress
from kindling.data.records import _Records
from kindling.data.split_folders import folder_of_each_split

INDEX = "index.json"
PICTURES = ("jpeg", "image")  # which are read as bytes, and decoded to the size that is wanted
ARRAYS = ("numpy", "no_header_numpy", "tensor", "no_header_tensor")
SAFE = ("bytes", "int", "float", "bool", "str", "text", *ARRAYS, *PICTURES)


class Shards(_Records):
    """Records, many to a file, as LitData's `optimize` writes them: a batch reads its records by their numbers.

    They lie at `path`, or at `path/train` beside `val` and `test`; a split without a folder is drawn. Each record is a
    dict of a picture's bytes, numbers, arrays and texts.

    Args:
        path: the folder.
        inputs: the name of a picture, of numbers or of an array; or the names of several numbers.
        **records: target, kind, image_size, colour, resize, batch_size …: see _Records.

    Raises:
        ValueError: if there are no such shards, they could run code, or the records lack a name.
    """

    def __init__(self, path: str, inputs: str | list[str], **records: Any) -> None:
        super().__init__(inputs, **records)
        _litdata()  # says first if it is missing
        parts = {split: ShardRecords(folder) for split, folder in _folders_of(Path(path)).items()}
        self.own_val, self.own_test = (len(parts[split]) if split in parts else 0 for split in ("val", "test"))
        self.folders = [part.folder for part in parts.values()]
        names = next(iter(parts.values())).names
        if other := [part for part in parts.values() if {*part.names} != {*names}]:
            raise ValueError(f"{other[0].folder} has {', '.join(other[0].names)}, but train has {', '.join(names)}")
        whole: Any = ConcatDataset(parts.values())
        self.take(whole, names, lambda name: self._column(whole, name))

    def _column(self, records: Any, name: str) -> pa.Array:
        """The values of one name, for which all shards are read once, in their order."""
        places = progress(range(len(records)), f"reading {name} of {len(records):,} records", len(records))
        return pa.array([_plain(records[place][name]) for place in places])

    def source_files(self) -> list[str]:
        return [str(file) for folder in self.folders for file in sorted(folder.iterdir()) if file.is_file()]


class ShardRecords(Dataset):
    """The records of a folder of shards, by number; each process opens the files for itself.

    Args:
        folder: with an index of the shards.

    Raises:
        ValueError: if the index can't be read, or names a format that could run code.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names, self.size = _read_index(folder / INDEX)
        self.opened: tuple[int, Any] = 0, None  # the process that opened it, and what it opened

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int) -> dict[str, Any]:
        process, records = self.opened
        if process != os.getpid():
            library = _litdata()
            raw = {kind: library.streaming.serializers.BytesSerializer() for kind in PICTURES}
            # Without batch_decode, which would decode 256 neighbours with each record.
            records = library.StreamingDataset(str(self.folder), serializers=raw, batch_decode=0)
            self.opened = os.getpid(), records
        return records[place]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "opened": (0, None)}


def _litdata() -> ModuleType:
    try:
        import litdata
    except ImportError:
        raise ValueError("Shards needs the library litdata: pip install -e '.[shards]'") from None
    return litdata


def _folders_of(root: Path) -> dict[str, Path]:
    """The folder of each split, in the order train, val, test; the root for training alone if it holds shards."""
    if (root / INDEX).is_file():
        return {"train": root}
    found = folder_of_each_split(sorted(os.listdir(root)) if root.is_dir() else [], root)
    if "train" not in found:
        raise ValueError(f"path is {str(root)!r}: expected {INDEX}, as litdata.optimize writes it, there or in train")
    return {split: root / name for split, name in found.items()}


def _read_index(path: Path) -> tuple[list[str], int]:
    """The names of what each record holds, and how many records there are.

    Raises:
        ValueError: if LitData did not write it, a record is not a dict, or its values could run code when read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config, size = content["config"], sum(chunk["chunk_size"] for chunk in content["chunks"])
        _, spec = json.loads(config["data_spec"])
        formats, loader = config["data_format"], config.get("item_loader") or "PyTreeLoader"
        is_flat = spec["type"] == "builtins.dict" and not any(child["type"] for child in spec["children_spec"])
        names = json.loads(spec["context"]) if is_flat else []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} can't be read as the index of shards: {error}") from None
    if not is_flat or loader != "PyTreeLoader":
        raise ValueError(f"{path} has samples other than flat dicts of values: write such dicts with litdata.optimize")
    for name, kind in zip(names, formats, strict=True):
        if kind.partition(":")[0] not in SAFE:
            raise ValueError(
                f"{path}: {name} is written as {kind}, which is not read since it could run code: expected one of "
                f"{', '.join(SAFE)}"
            )
    return names, size


def _plain(value: Any) -> Any:
    """A number or a text as Python has it."""
    return value.item() if hasattr(value, "item") else value
