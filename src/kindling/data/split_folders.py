"""Folders that are for a split, by their names: `train/`, `val/` and `test/`."""

from collections.abc import Sequence
from pathlib import Path

from kindling.data.splits import SPLITS

# The split that a folder is for, by its name in lower case.
SPLIT_OF_FOLDER = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def folder_of_each_split(names: Sequence[str], root: Path) -> dict[str, str]:
    """The folders that are for a split, by the split that each is for, in the order train, val, test.

    Raises:
        ValueError: if two are for the same one.
    """
    own = [name for name in names if name.lower() in SPLIT_OF_FOLDER]
    found = {SPLIT_OF_FOLDER[name.lower()]: name for name in own}
    if len(found) < len(own):
        raise ValueError(f"{root} has the folders {', '.join(own)}: keep one per split")
    return {split: found[split] for split in SPLITS if split in found}


def order_by_split(names: Sequence[str], root: Path) -> tuple[list[int], int, int]:
    """The places of files in the order train, val, test, and how many of the last are for val and for test.

    They stay as they are, and none is for val or test, if no file lies in a folder for a split.

    Args:
        names: of the files, below `root`.
        root: the folder that all lie in.

    Raises:
        ValueError: if some files lie in such a folder and others don't, or none is in train.
    """
    splits = [SPLIT_OF_FOLDER.get(name.split("/")[0].lower()) if "/" in name else None for name in names]
    if not any(splits):
        return list(range(len(names))), 0, 0
    if not all(splits) or "train" not in splits:
        other = names[splits.index(None)] if None in splits else "none in train"
        raise ValueError(f"{root} has folders for splits, but not all images are in one ({other}); train needs some")
    places = sorted(range(len(names)), key=lambda place: SPLITS.index(str(splits[place])))
    return places, splits.count("val"), splits.count("test")
