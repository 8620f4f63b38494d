"""Files that several processes make or need at the same time."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from kindling.core import files, system
from kindling.core.errors import UsageError
from kindling.core.files import (
    content_to_disk,
    made_by_one,
    make_if_missing,
    names_to_disk,
    unfinished,
    whole_file,
)

MAKE = """
import sys
from pathlib import Path
from kindling.core.files import make_if_missing

def make(part):
    Path(sys.argv[2], part.name).touch()  # tells who has made it
    part.write_text("content")

print("begun", flush=True)
make_if_missing(Path(sys.argv[1]), make)
print(Path(sys.argv[1]).read_text())
"""


def test_of_several_processes_one_makes_a_file_and_the_others_wait(tmp_path: Path) -> None:
    path, makers = tmp_path / "cache" / "a.tokens", tmp_path / "makers"
    makers.mkdir()
    path.parent.mkdir()
    command = [sys.executable, "-c", MAKE, str(path), str(makers)]
    with FileLock(path.with_suffix(".lock")):  # until all have begun
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "begun\n"
        assert not path.exists()
    assert [process.communicate()[0] for process in processes] == ["content\n"] * 3
    assert len([*makers.iterdir()]) == 1


def test_what_a_kill_has_left_of_a_cache_is_removed_and_what_is_there_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a[1].tokens"
    left, of_another = tmp_path / "part-123@elsewhere@a[1].tokens", tmp_path / "part-123@elsewhere@a1.tokens"
    left.touch()
    of_another.touch()
    make_if_missing(path, lambda part: part.write_text("first"))
    make_if_missing(path, lambda part: part.write_text("second"))
    assert path.read_text() == "first"
    assert not left.exists()
    assert of_another.exists()


def test_a_cache_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"can't write .*a\.tokens: File exists"),
        made_by_one(tmp_path / "file" / "a.tokens"),
    ):
        pass


def test_the_name_of_an_unfinished_file_tells_process_and_machine(tmp_path: Path) -> None:
    assert unfinished(tmp_path / "a.csv") == tmp_path / f"part-{os.getpid()}@{os.uname().nodename}@a.csv"


@pytest.mark.parametrize(("windows", "refusals", "replaced"), [(True, 3, True), (True, 99, False), (False, 1, False)])
def test_a_file_that_somebody_reads_is_replaced_once_it_is_let_go(
    windows: bool, refusals: int, replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace, asked = tmp_path / "a.json", os.replace, list[int]()

    def refusing(part: Path, whole: Path) -> None:
        asked.append(1)
        if len(asked) <= refusals:
            raise PermissionError(13, "Permission denied")
        replace(part, whole)

    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(system, "WINDOWS", windows)
    monkeypatch.setattr(files, "PATIENCE", 60.0 if replaced else 0.0)
    monkeypatch.setattr(os, "replace", refusing)
    with suppress(UsageError), whole_file(path) as part:
        part.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == ("new" if replaced else "old")
    assert [*tmp_path.iterdir()] == [path]


def test_a_content_is_flushed_where_it_could_be_written_and_a_folder_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "a", list[str]()
    path.write_bytes(b"content")
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fdopen(os.dup(file), "rb+").read().decode()))
    content_to_disk(path)
    monkeypatch.setattr(system, "WINDOWS", True)
    names_to_disk(tmp_path)
    assert flushed == ["content"]
