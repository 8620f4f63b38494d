"""What holds for this repository, and not for a project that is made of it: renaming removes this file."""

import yaml
from conftest import ROOT

from kindling import __version__


def test_the_project_is_small_enough_to_know_by_heart() -> None:
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / "src" / "my_project").rglob("*.py")) <= 1600


def test_ci_runs_lint_and_all_tests_and_the_fast_ones_on_every_system() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands["lint"] == ["make lint"]
    assert commands["linux"] == ["make test-all"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    elsewhere = jobs["windows-and-macos"]["strategy"]["matrix"]
    assert elsewhere == {"system": ["windows-latest", "macos-latest"], "python": ["3.10", "3.13"]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands["windows-and-macos"]:  # stand beside make's
        assert command.partition(" --trainer")[0].replace("python -m pip", "pip") in makefile
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test-all"


def test_the_readme_names_the_commands_for_the_tests() -> None:
    for command in ("make lint", "make test", "make test-all"):
        assert f"`{command}`" in (ROOT / "README.md").read_text()


def test_the_citation_and_the_changelog_know_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["version"], citation["license"]) == ("1.2.0", __version__, "MIT")
    assert {"message", "title", "authors"} <= citation.keys()
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{__version__}] - " in changelog
    assert changelog.index("## [Unreleased]") < changelog.index(f"## [{__version__}]")


def test_the_lock_of_uv_is_not_committed() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
