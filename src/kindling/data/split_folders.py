"""Folders that are for a split, by their names: `train/`, `val/` and `test/`."""

import os
from collections.abc import Sequence
from pathlib import Path

# The split that a folder is for, by its name in lower case; in the order of the splits.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def order_by_split(names: Sequence[str], root: Path) -> tuple[list[int], int, int]:
    """The places of files in the order train, val, test, and how many of the last are for val and for test.

    They stay as they are, and none is for val or test, if no file lies in a folder for a split.

    Args:
        names: of the files, below `root`.
        root: the folder that all lie in.

    Raises:
        ValueError: if some files lie in such a folder and others don't, or none in train.
    """
    splits = [SPLITS.get(name.split(os.sep)[0].lower()) if os.sep in name else None for name in names]
    if not any(splits):
        return list(range(len(names))), 0, 0
    if not all(splits) or "train" not in splits:
        other = names[splits.index(None)] if None in splits else "none in train"
        raise ValueError(f"{root} has folders for splits, but not for all images ({other}): expected train besides")
    order = [*dict.fromkeys(SPLITS.values())]
    places = sorted(range(len(names)), key=lambda place: order.index(str(splits[place])))
    return places, splits.count("val"), splits.count("test")
