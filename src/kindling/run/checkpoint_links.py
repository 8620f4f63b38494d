"""The names of checkpoints that are folders: links, since a folder can't replace another in one step."""

import itertools
import os
import re
from pathlib import Path

from kindling.core.files import is_file, remove
from kindling.run.checkpoint_names import MANIFEST


def free_name(path: Path) -> Path:
    """A path that is free, with a number appended if need be."""
    taken = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return path if not path.exists() else next(each for each in taken if not each.exists())


def have_link(path: Path) -> None:
    """Put a link where a copy of a run has the folder itself, which nothing could replace in one step."""
    if path.is_dir() and not path.is_symlink() and is_file(path / MANIFEST):
        folder = free_name(path.with_name("step-copied"))
        path.rename(folder)
        os.symlink(folder.name, path)


def point(folder: str, link: Path) -> None:
    """Make a link to a checkpoint folder beside it."""
    link.unlink(missing_ok=True)
    os.symlink(folder, link)


def remove_unnamed(folder: Path) -> None:
    """Remove checkpoint folders that no longer have a name, and nothing that a user has put beside them."""
    named = {Path(os.readlink(path)).name for path in folder.iterdir() if path.is_symlink()}
    for path in folder.glob("step-*"):
        is_ours = re.fullmatch(r"step-(\d+|copied)(-\d+)?", path.name) and path.is_dir() and not path.is_symlink()
        if is_ours and path.name not in named:
            remove(path)
