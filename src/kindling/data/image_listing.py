"""Finds the image files in folders and below, in an order that splits can depend on, and says what else is there."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kindling.core.files import made_by_one, whole_file
from kindling.data.packed_names import BLOCK, PackedNames

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
KINDS = 5  # of files left out that a note names, at most
JUST_NOW = 2  # seconds within which a file system may give two changes the same time


@dataclass
class Found:
    """What lies in a folder and below, as it is kept in a cache.

    Attributes:
        names: of the images.
        left_out: how many files, or folders, of each kind are not images.
        examples: one name of each kind.
        times: when each of the folders was changed, in nanoseconds, by its path.
    """

    names: Sequence[str] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    def leave_out(self, kind: str, name: str, count: int = 1) -> None:
        self.left_out[kind] += count
        self.examples[kind] = min(name, self.examples.get(kind, name))

    def leave_out_as(self, other: "Found") -> None:
        for kind, count in other.left_out.items():
            self.leave_out(kind, other.examples[kind], count)

    def write(self, path: Path, started: float) -> None:
        """Keep this, unless a folder was changed so recently that its time could hide another change."""
        if max(self.times.values()) < (started - JUST_NOW) * 1e9:
            about = {name: value for name, value in vars(self).items() if name != "names"}
            with whole_file(path) as part:
                PackedNames.joined([self.names]).write(part, about)

    @classmethod
    def read(cls, path: Path) -> "Found | None":
        """What is kept; None if it isn't there, is damaged, or a folder has changed since then."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            names, about = PackedNames.read(path)
            kept = cls(names, **about)
            kept.left_out = Counter(kept.left_out)
            if kept.times and all(os.stat(folder).st_mtime_ns == time for folder, time in kept.times.items()):
                return kept
        return None


class Listing:
    """The image files below a folder, and what else lies there.

    Files are relative to the folder, and their parts are separated by / on every system: what a run keeps of them holds
    on another.

    Args:
        root: the folder.
        packed: whether to pack the names, since there can be millions of them.
        cache: a folder to keep what was found in, packed, so that another listing need only look at the times of the
            folders; None to keep nothing.
    """

    def __init__(self, root: Path, packed: bool = False, cache: str | None = None) -> None:
        self.root, self.packed, self.cache = root, packed, cache
        self._all, self._found = Found(), Found()  # what all calls have found, and what the latest has
        self._known: list[Path] = []  # where links have led to

    @property
    def left_out(self) -> Counter[str]:
        """How many files, or folders, of each kind are not images."""
        return self._all.left_out

    def images(self, folder: str = "") -> Sequence[str]:
        """The names of all images in a folder below the root, sorted by the parts of their paths.

        Linked folders count too, except those whose images are found anyway.

        Raises:
            ValueError: if a folder can't be read.
        """
        path = os.path.join(self.root, folder)
        kept = self._cache_file(path)
        if kept and (found := Found.read(kept)):
            self._found = found
        elif kept:
            self._look_or_wait(path, folder, kept)
        else:
            self._look(path, folder)
        self._all.leave_out_as(self._found)
        return self._found.names

    def _look_or_wait(self, path: str, folder: str, kept: Path) -> None:
        """Look, unless another process does, and keep what is found."""
        with made_by_one(kept):
            if found := Found.read(kept):
                self._found = found
                return
            started = time.time()
            self._look(path, folder)
            self._found.write(kept, started)
        self._found = Found.read(kept) or self._found  # the kept names, which take no memory

    def _look(self, path: str, folder: str) -> None:
        self._known, self._found = [Path(path).resolve()], Found()
        self._names: list[str] = []
        self._parts: list[PackedNames] = []
        self._walk(path, f"{folder}/" if folder else "")
        self._found.names = PackedNames.joined([*self._parts, self._names]) if self.packed else self._names

    def _cache_file(self, path: str) -> Path | None:
        if not self.cache:
            return None
        place = Path(path).resolve()
        digest = hashlib.sha256(os.fsencode(f"{self.root}\n{place}")).hexdigest()[:16]
        return Path(self.cache, f"{place.name}-{digest}.listing")

    def folders(self, folder: str = "") -> list[str]:
        """The names of the folders in a folder; hidden ones don't count, and images and broken links are left out."""
        found = []
        for entry in _entries(os.path.join(self.root, folder)):
            name = f"{folder}/{entry.name}" if folder else entry.name
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
        """Note something in the root itself."""
        self._all.leave_out(kind, name)

    def notes(self) -> list[str]:
        """What is left out, in one line; none if nothing is."""
        if not self.left_out:
            return []
        kinds = self.left_out.most_common(KINDS)
        told = [f"{kind} {count:,}" for kind, count in kinds] + ["…"] * (len(self.left_out) > KINDS)
        example = os.path.join(self.root, self._all.examples[kinds[0][0]])
        return [f"left out: {self.left_out.total():,} ({', '.join(told)}), such as {example}"]

    def _walk(self, path: str, prefix: str) -> None:
        """Add the images of a folder, whose names begin with a prefix."""
        self._found.times[path] = os.stat(path).st_mtime_ns
        images, folders = self._content(path, prefix)
        for name in sorted([*images, *folders]):
            if name not in folders:
                self._names.append(prefix + name)
            elif self._leads_elsewhere(folders[name]):
                self._walk(folders[name].path, f"{prefix}{name}/")
            else:
                self._found.leave_out("linked in a circle or twice", prefix + name)
        if self.packed and len(self._names) > BLOCK:
            self._parts.append(PackedNames(self._names))
            self._names.clear()

    def _content(self, path: str, prefix: str) -> tuple[list[str], dict[str, os.DirEntry[str]]]:
        """The names of the images in a folder, and the folders by their names; in any order."""
        images, folders = list[str](), dict[str, os.DirEntry[str]]()
        for entry in _entries(path):
            name = entry.name
            if name.startswith("."):
                self._found.leave_out("hidden", prefix + name)
            elif name.lower().endswith(SUFFIXES) and _is(entry.is_file):
                images.append(name)
            elif _is(entry.is_dir):
                folders[name] = entry
            elif _is(entry.is_file):
                self._found.leave_out(os.path.splitext(name)[1].lower() or "no ending", prefix + name)
            else:
                self._found.leave_out("broken link", prefix + name)
        return images, folders

    def _leads_elsewhere(self, folder: os.DirEntry[str]) -> bool:
        """Whether the images in a folder are not found already: it is not a link, or is one to an unknown place."""
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
    """Whether an entry is a file, or a folder; a link to itself is neither."""
    try:
        return what()
    except OSError:
        return False
