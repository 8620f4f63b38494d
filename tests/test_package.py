"""The package as a whole."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_no_source_file_is_over_200_lines() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in SOURCES}
    assert lengths
    assert [name for name, length in lengths.items() if length > 200] == []


def lines_of_code(path: Path) -> int:
    """Lines without blank ones, comments and docstrings."""
    text = path.read_text()
    lines = {number for number, line in enumerate(text.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_the_package_is_lean() -> None:
    assert sum(map(lines_of_code, SOURCES)) < 5200


def test_every_source_file_opens_with_its_purpose() -> None:
    assert [path for path in SOURCES if not path.read_text().startswith('"""')] == []


def test_the_floor_of_lightning_is_the_release_that_closed_the_hole() -> None:
    assert re.search(r'"lightning>=2\.6\.6,<2\.7"', (ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("path", [".github/workflows/test.yml", ".pre-commit-config.yaml"])
def test_configurations_of_tools_are_yaml(path: str) -> None:
    assert isinstance(yaml.safe_load(Path(ROOT, path).read_text()), dict)
