"""The table of faults in tests/kindling/README.md names tests that exist."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROWS = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| ")][1:]


def named_in(row: str) -> list[tuple[str, str]]:
    """The files and tests that a row names: `file.py`, `file.py::test`, or `::test` of the file before."""
    named = []
    file = ""
    for text in re.findall(r"`([^`]+)`", row.rpartition(" | ")[2]):
        path, _, test = text.partition("::")
        file = path or file
        named.append((file, test))
    return named


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.strip("| ").partition(" | ")[0])
def test_each_row_names_tests_that_exist(row: str) -> None:
    named = named_in(row)
    assert named
    for file, test in named:
        assert (FOLDER / file).is_file(), file
        assert not test or f"\ndef {test}(" in (FOLDER / file).read_text(), f"{file}::{test}"


def test_the_table_is_read() -> None:
    assert len(ROWS) > 15
