"""The package as a whole."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))
HELPERS = [path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith("test_")]


def test_no_source_file_and_no_helper_of_the_tests_is_over_300_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES + HELPERS}
    assert {"src/kindling/__init__.py", "tests/conftest.py"} <= set(lengths)
    assert [path for path, length in lengths.items() if length > 300] == []


def test_the_engine_shows_three_files_at_its_root() -> None:
    assert len(list((ROOT / "src" / "kindling").glob("*.py"))) <= 3


def test_every_source_file_opens_with_its_purpose() -> None:
    assert [path for path in SOURCES if not path.read_text().startswith('"""')] == []


def test_the_floor_of_lightning_is_the_release_that_closed_the_hole() -> None:
    assert re.search(r'"lightning>=2\.6\.6,<2\.7"', (ROOT / "pyproject.toml").read_text())


def test_the_engine_is_typed_for_those_who_import_it() -> None:
    assert (ROOT / "src" / "kindling" / "py.typed").is_file()
    assert '\n[tool.setuptools.package-data]\nkindling = ["py.typed", ' in (ROOT / "pyproject.toml").read_text()


def test_no_package_of_tests_or_scripts_hides_the_engine() -> None:
    for folder in ("tests", "scripts"):
        assert not (ROOT / folder / "kindling" / "__init__.py").exists()


@pytest.mark.parametrize("path", [".github/workflows/test.yml", ".pre-commit-config.yaml"])
def test_configurations_of_tools_are_yaml(path: str) -> None:
    assert isinstance(yaml.safe_load(Path(ROOT, path).read_text(encoding="utf-8")), dict)
