"""What holds for this repository, and not for a project that is made of it: renaming removes this file."""

import yaml
from conftest import ROOT


def test_the_project_is_small_enough_to_know_by_heart() -> None:
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / "src" / "my_project").rglob("*.py")) <= 1600


def test_ci_runs_lint_and_all_tests() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    commands = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert commands[-2:] == ["make lint", "make test-all"]
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test-all"


def test_the_readme_names_the_commands_for_the_tests() -> None:
    for command in ("make lint", "make test", "make test-all"):
        assert f"`{command}`" in (ROOT / "README.md").read_text()
