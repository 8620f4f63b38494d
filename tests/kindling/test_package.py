"""The package as a whole."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_no_source_file_is_over_300_lines() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in SOURCES}
    assert lengths
    assert [name for name, length in lengths.items() if length > 300] == []


def test_the_project_is_small_enough_to_know_by_heart() -> None:
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / "src" / "my_project").rglob("*.py")) <= 1200


def test_the_engine_shows_three_files_at_its_root() -> None:
    assert len(list((ROOT / "src" / "kindling").glob("*.py"))) <= 3


def test_every_source_file_opens_with_its_purpose() -> None:
    assert [path for path in SOURCES if not path.read_text().startswith('"""')] == []


def test_the_floor_of_lightning_is_the_release_that_closed_the_hole() -> None:
    assert re.search(r'"lightning>=2\.6\.6,<2\.7"', (ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("path", [".github/workflows/test.yml", ".pre-commit-config.yaml"])
def test_configurations_of_tools_are_yaml(path: str) -> None:
    assert isinstance(yaml.safe_load(Path(ROOT, path).read_text()), dict)
