"""Which files of a folder are its images, in which order, and what is told of the others; against pathlib."""

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kindling.data.image_listing import SUFFIXES, Listing


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def by_pathlib(root: Path) -> list[str]:
    images = [path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    return [path.relative_to(root).as_posix() for path in sorted(images)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a and A can be one name, and ä two")
def test_the_order_is_that_of_sorted_paths(tmp_path: Path) -> None:
    names = ["a", "a b", "a.b", "a.x", "a0", "A", "ä", "é", "z", "Z", "10", "9", "_", "~", "a-b"]
    touch(tmp_path, *[f"{name}.png" for name in names], *[f"{name}/{name}.JPG" for name in names])
    touch(tmp_path, *[f"a/{name}/{name}.tiff" for name in names], "deep/er/still/1.webp")
    found = [*Listing(tmp_path).images()]
    assert len(found) == 3 * len(names) + 1
    assert found == by_pathlib(tmp_path)
    assert [f"a/{name}" for name in by_pathlib(tmp_path / "a")] == [*Listing(tmp_path).images("a")]


def test_hidden_files_and_those_with_other_endings_are_left_out_and_told(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpeg", "deep/er/c.webp", "deep/er/d.JFIF", "folder.png/d.bmp")
    touch(tmp_path, ".hidden.png", ".git/d.png", "notes.txt", "e.png.bak", "deep/x.HEIC", "deep/w.heic", "png")
    listing = Listing(tmp_path)
    assert [*listing.images()] == ["a.jpeg", "b.PNG", "deep/er/c.webp", "deep/er/d.JFIF", "folder.png/d.bmp"]
    assert listing.left_out == {"hidden": 2, ".txt": 1, ".bak": 1, ".heic": 2, "no ending": 1}
    (note,) = listing.notes()
    assert note.startswith("left out: 7 (")
    assert all(part in note for part in ("hidden 2", ".heic 2", ".txt 1", ".bak 1", "no ending 1"))
    assert [*Listing(tmp_path).images(".git")] == [".git/d.png"]  # asked for by name


def test_of_many_kinds_the_most_frequent_are_told(tmp_path: Path) -> None:
    touch(tmp_path, *[f"{number}.heic" for number in range(1200)], *[f"x.{letter}" for letter in "abcdef"])
    listing = Listing(tmp_path)
    assert [*listing.images()] == []
    (note,) = listing.notes()
    assert note.startswith("left out: 1,206 (.heic 1,200, ")
    assert note.endswith(f", …), such as {tmp_path}/0.heic")


def test_nothing_is_told_where_nothing_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b/c.gif")
    listing = Listing(tmp_path)
    assert [*listing.images()] == ["a.png", "b/c.gif"]
    assert listing.notes() == []


def test_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.png", "store/in/2.png", "elsewhere/3.png", "pets/cat/0.png")
    link(tmp_path / "pets/cat/more", tmp_path / "store")
    link(tmp_path / "pets/cat/9.png", tmp_path / "elsewhere/3.png")
    link(tmp_path / "pets/dog", tmp_path / "elsewhere")
    listing = Listing(tmp_path / "pets")
    assert listing.folders() == ["cat", "dog"]
    assert [*listing.images("cat")] == ["cat/0.png", "cat/9.png", "cat/more/1.png", "cat/more/in/2.png"]
    assert [*listing.images("dog")] == ["dog/3.png"]
    assert not listing.left_out
    assert [*Listing(tmp_path / "pets").images()] == [*listing.images("cat"), *listing.images("dog")]


LINKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "to its own folder": (lambda root: link(root / "cat/again", root / "cat"), "linked in a circle or twice"),
    "to a folder above": (lambda root: link(root / "cat/up", root), "linked in a circle or twice"),
    "to a folder beside": (lambda root: link(root / "cat/z", root / "cat/deep"), "linked in a circle or twice"),
    "to itself": (lambda root: link(root / "cat/self.png", root / "cat/self.png"), "broken link"),
    "to nothing": (lambda root: link(root / "cat/gone.png", root / "gone.png"), "broken link"),
}


@pytest.mark.parametrize(("make", "told"), LINKS.values(), ids=LINKS)
def test_no_image_is_found_twice(make: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/deep/2.png", "dog/3.png")
    make(tmp_path)
    listing = Listing(tmp_path)
    assert [*listing.images("cat")] == ["cat/1.png", "cat/deep/2.png"]
    assert listing.left_out == {told: 1}


def test_two_links_to_one_folder_are_one(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.png", "cat/0.png")
    for name in ("a", "b"):
        link(tmp_path / "cat" / name, tmp_path / "store")
    link(tmp_path / "store/back", tmp_path / "cat")  # by which the links would be reached again
    listing = Listing(tmp_path)
    assert [*listing.images("cat")] == ["cat/0.png", "cat/a/1.png"]
    assert listing.left_out["linked in a circle or twice"] == 2


def test_a_folder_that_can_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cat/closed/1.png", "cat/2.png")
    scan = os.scandir

    def refused(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ValueError, match=r"cat/closed can't be read: Permission denied$"):
        Listing(tmp_path).images("cat")


def test_a_file_takes_little_more_memory_than_its_name(tmp_path: Path) -> None:
    touch(tmp_path, *[f"a/{number:06}.png" for number in range(2000)])
    tracemalloc.start()
    try:
        listing = Listing(tmp_path)
        found = listing.images()
        grown, _ = tracemalloc.get_traced_memory()
        packed = Listing(tmp_path, packed=True).images()
        more, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 2000
    assert grown / len(found) < 150  # bytes
    assert (more - grown) / len(packed) < 5  # bytes that Python knows of, besides those of Arrow
