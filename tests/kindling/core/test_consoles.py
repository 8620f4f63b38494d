"""What is printed where there are few characters, and commands as they are typed in each shell."""

import io
import os
import sys
from pathlib import Path

import pytest

from kindling.core import system
from kindling.core.consoles import print_anything, typed
from kindling.core.tables import print_plain

LINE = "1×8×8 → 10 classes ± 0.1 … ✓│ Größe 日"


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", LINE),
        ("cp1252", r"1×8×8 -> 10 classes ± 0.1 … ok| Größe \u65e5"),
        ("cp437", r"1x8x8 -> 10 classes ± 0.1 ... ok│ Größe \u65e5"),
        ("ascii", r"1x8x8 -> 10 classes +- 0.1 ... ok| Gr\xf6\xdfe \u65e5"),
    ],
)
def test_a_character_that_a_console_lacks_becomes_a_plain_one(
    encoding: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, written in content.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding=encoding, newline="\n"))
    print_anything()
    print_plain(LINE)
    print(LINE, file=sys.stderr, flush=True)
    assert [written.getvalue().decode(encoding) for written in content.values()] == [f"{printed}\n"] * 2


def test_a_stdout_that_is_no_console_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # such as a notebook's
    print_anything()
    print_plain(LINE)
    assert sys.stdout.getvalue() == f"{LINE}\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("windows", "words", "line"),
    [
        (False, ["kindling", Path("my runs/a")], "kindling 'my runs/a'"),
        (False, ["a"], "a"),
        (True, ["kindling", "C:\\my runs\\a"], 'kindling "C:\\my runs\\a"'),
        (True, ["C:\\runs\\a"], "C:\\runs\\a"),
    ],
)
def test_a_command_is_quoted_as_its_shell_wants_it(
    windows: bool, words: list[object], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "WINDOWS", windows)
    assert typed(*words) == line


def test_a_stream_whose_file_became_a_pipe_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with (tmp_path / "said.txt").open("w", encoding="utf-8") as stream:
        stream.write("first ")
        stream.flush()
        os.dup2(writer, stream.fileno())
        os.close(writer)
        monkeypatch.setattr(sys, "stdout", stream)
        print_anything()
        print("→", file=stream, end="", flush=True)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        assert pipe.read() == "→"
