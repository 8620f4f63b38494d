"""What checkpoints are called: files, or folders to which several processes have written."""

from pathlib import Path

from kindling.core.files import is_file

BEST = "best.ckpt"  # of all validations so far
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # what `--resume` goes on from, and the one before it
REST, MANIFEST = "rest.ckpt", "manifest.json"  # in a folder: see sharded_checkpoint


def is_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint, file or folder; a link whose folder is gone counts as a damaged one."""
    return is_file(path) or path.is_symlink() or is_file(path / MANIFEST)
