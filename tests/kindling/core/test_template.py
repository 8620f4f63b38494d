"""The template is found in a clone and in a wheel, and each of its files is the engine's, a project's or Kindling's."""

from pathlib import Path

import pytest
from clones import git, needs_git
from conftest import ROOT

from kindling.core import template
from kindling.core.errors import UsageError


def test_in_a_clone_it_is_the_clone() -> None:
    assert template.find_template() == ROOT


def test_in_a_wheel_it_is_the_copy_and_a_renamed_clone_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "src" / "kindling" / "template"
    monkeypatch.setattr(template, "CLONE", tmp_path)
    monkeypatch.setattr(template, "TEMPLATE", copy)
    with pytest.raises(UsageError, match="there is no template in .*: install the engine's wheel"):
        template.find_template()
    (copy / "src" / "my_project").mkdir(parents=True)
    (copy / "pyproject.toml").touch()
    assert template.find_template() == copy


@needs_git
def test_every_file_has_one_owner() -> None:
    """A file that is Kindling's own is listed, or a renamed clone would keep it."""
    own = template.IN_ANY_CASE + template.ENGINE_TESTS
    for path in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if path != "README.md" and (ROOT / path).is_file():  # each has its own README
            owners = [path.startswith("src/kindling/"), template.belongs_to_project(path), template.is_below(path, own)]
            assert sum(owners) == 1, f"{path}: name it in src/kindling/core/template.py"


def test_what_is_cached_is_no_file_of_a_project(tmp_path: Path) -> None:
    for path in ("notebooks/.ipynb_checkpoints/first.ipynb", "src/my_project/__pycache__/a.pyc", "notebooks/a.ipynb"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert template.files_of(tmp_path) == ["notebooks/a.ipynb"]
    files = template.files_of(ROOT)
    assert {"pyproject.toml", "lightning_logs/.gitkeep", "src/my_project/__init__.py"} <= set(files)
    assert [path for path in files if "__pycache__" in path or path.startswith(("docs/", "tests/kindling/"))] == []


def test_a_line_that_was_changed_is_named() -> None:
    with pytest.raises(UsageError, match=r"^Makefile has 0 lines like .* expected one: restore Kindling's own"):
        template.without_engine("Makefile", "all:\n", "0.2.0")
