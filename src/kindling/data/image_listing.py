"""Finds the image files in folders and below, in an order that splits can depend on, and tells what else is there."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
KINDS = 5  # of what is left out, that are told


class Listing:
    """The image files below a folder, and what else lies there.

    Files are strings, relative to the folder, since a Path takes several times the memory and the time.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out = Counter[str]()  # how many files, or folders, of each kind are no images
        self._examples: dict[str, str] = {}  # of each kind
        self._known: list[Path] = []  # where links have led to

    def images(self, folder: str = "") -> list[str]:
        """The names of all images in a folder below the root, sorted by the parts of their paths.

        Linked folders count too, but for those whose images are found anyway.

        Raises:
            ValueError: if a folder can't be read.
        """
        path = os.path.join(self.root, folder)
        self._known = [Path(path).resolve()]
        names = list[str]()
        self._walk(path, os.path.join(folder, ""), names)
        return names

    def folders(self, folder: str = "") -> list[str]:
        """The names of the folders in a folder; hidden ones don't count, and images and broken links are left out."""
        found = []
        for entry in _entries(os.path.join(self.root, folder)):
            name = os.path.join(folder, entry.name)
            if entry.name.startswith("."):
                continue
            if _is(entry.is_dir):
                found.append(entry.name)
            elif not _is(entry.is_file):
                self.leave_out("broken link", name)
            elif entry.name.lower().endswith(SUFFIXES):
                self.leave_out("in no class", name)
        return sorted(found)

    def leave_out(self, kind: str, name: str) -> None:
        self.left_out[kind] += 1
        self._examples[kind] = min(name, self._examples.get(kind, name))

    def notes(self) -> list[str]:
        """What is left out, in one line; none if nothing is."""
        if not self.left_out:
            return []
        kinds = self.left_out.most_common(KINDS)
        told = [f"{kind} {count:,}" for kind, count in kinds] + ["…"] * (len(self.left_out) > KINDS)
        example = os.path.join(self.root, self._examples[kinds[0][0]])
        return [f"left out: {self.left_out.total():,} ({', '.join(told)}), such as {example}"]

    def _walk(self, path: str, prefix: str, names: list[str]) -> None:
        """Add the images of a folder, whose names begin with a prefix."""
        images, folders = self._content(path, prefix)
        for name in sorted([*images, *folders]):
            if name not in folders:
                names.append(prefix + name)
            elif self._leads_elsewhere(folders[name]):
                self._walk(folders[name].path, prefix + name + os.sep, names)
            else:
                self.leave_out("linked in a circle or twice", prefix + name)

    def _content(self, path: str, prefix: str) -> tuple[list[str], dict[str, os.DirEntry[str]]]:
        """The names of the images in a folder, and the folders by their names; in any order."""
        images, folders = list[str](), dict[str, os.DirEntry[str]]()
        for entry in _entries(path):
            name = entry.name
            if name.startswith("."):
                self.leave_out("hidden", prefix + name)
            elif name.lower().endswith(SUFFIXES) and _is(entry.is_file):
                images.append(name)
            elif _is(entry.is_dir):
                folders[name] = entry
            elif _is(entry.is_file):
                self.leave_out(os.path.splitext(name)[1].lower() or "no ending", prefix + name)
            else:
                self.leave_out("broken link", prefix + name)
        return images, folders

    def _leads_elsewhere(self, folder: os.DirEntry[str]) -> bool:
        """Whether the images in a folder are not found already: it is no link, or one to where none is known."""
        if not folder.is_symlink():
            return True
        target = Path(folder.path).resolve()
        if any(target.is_relative_to(known) or known.is_relative_to(target) for known in self._known):
            return False
        self._known.append(target)
        return True


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise ValueError(f"{folder} can't be read: {error.strerror}") from None


def _is(what: Callable[[], bool]) -> bool:
    """Whether an entry is a file, or a folder; a link to itself is none."""
    try:
        return what()
    except OSError:
        return False
