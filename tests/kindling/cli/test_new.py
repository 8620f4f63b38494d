"""`kindling new` writes a project of one's own, or refuses and writes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Result, assert_refused

from kindling import __version__
from kindling.cli import new
from kindling.core.consoles import typed
from kindling.core.template import files_of

Kindling = Callable[..., Result]


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_project_has_the_template_under_its_own_name(kindling: Kindling, project: Path) -> None:
    (project / "deep_sky").mkdir()  # empty
    finished = kindling("new", "deep_sky")
    assert (finished.code, finished.err) == (0, "")
    assert "  cd deep_sky\n" in finished.out
    assert f"  python {typed(ROOT / 'scripts' / 'kindling' / 'build_wheel.py')} wheels    # so" in finished.out
    folder = project / "deep_sky"
    expected = {path.replace("my_project", "deep_sky") for path in files_of(ROOT)}
    assert {"src/deep_sky/models/mlp.py", "tests/deep_sky/test_models.py", "configs/digits_mlp.yaml"} <= expected
    assert files_below(folder) == expected | {"README.md", "wheels/.gitkeep"}
    assert [path for path in files_below(folder) if b"my_project" in (folder / path).read_bytes()] == []
    assert (folder / ".ci" / "run").stat().st_mode == (ROOT / ".ci" / "run").stat().st_mode
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# Deep Sky\n")
    assert "\nsrc/deep_sky/   the project: " in readme
    assert "\nwheels/         the engine's wheel" in readme
    assert "src/kindling" not in readme


def test_it_depends_on_the_engine_by_name_and_version(kindling: Kindling, project: Path) -> None:
    assert kindling("new", "galaxies").code == 0
    pyproject = (project / "galaxies" / "pyproject.toml").read_text(encoding="utf-8")
    for line in (
        'name = "galaxies"',
        'version = "0.1.0"',
        f'dependencies = [\n    "kindling>={__version__}",\n]',
        'export = ["kindling[export]"]',
        '[project.entry-points."kindling.projects"]\ngalaxies = "galaxies"',
        'known-first-party = ["kindling"]',
        '[tool.uv]\nfind-links = ["wheels"]',
    ):
        assert f"\n{line}\n" in pyproject
    for gone in ("torch", "importlinter", "import-linter", "project.scripts", "package-data", "dynamic"):
        assert gone not in pyproject.replace("PyTorch", "")
    makefile = (project / "galaxies" / "Makefile").read_text(encoding="utf-8")
    assert "\t$(PIP) $(wildcard wheels/*.whl) -e .\n" in makefile
    for path in ("Makefile", ".pre-commit-config.yaml"):
        assert "lint-imports" not in (project / "galaxies" / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MyProject", "'MyProject' can't name a Python package: use up to 40 of a-z, 0-9 and _, such as galaxies"),
        ("my-project", "can't name"),
        ("../outside", "can't name"),
        ("class", "can't name"),
        ("torch", "'torch' is taken by Python, a tool, a dependency or a folder here: choose another name"),
        ("test", "is taken"),
        ("tests", "is taken"),
        ("kindling", "is taken"),
        ("my_project", "is taken"),
    ],
)
def test_a_name_is_refused(kindling: Kindling, project: Path, name: str, reason: str) -> None:
    before = files_below(project)
    assert_refused(kindling("new", name), reason)
    assert files_below(project) == before


def test_no_file_is_overwritten(kindling: Kindling, project: Path) -> None:
    (project / "galaxies").mkdir()
    (project / "galaxies" / "mine.txt").write_text("mine")
    (project / "stars").write_text("mine")
    before = files_below(project)
    assert_refused(kindling("new", "galaxies"), "galaxies is there already: expected an empty folder or none")
    assert_refused(kindling("new", "stars"), "stars is there already")
    assert_refused(kindling("new"), "new needs the name of the project: kindling new galaxies")
    assert_refused(kindling("new", "a", "b"), "unknown option b")
    assert files_below(project) == before


def test_the_wheel_that_the_engine_came_from_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "a folder" / "kindling-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"wheel")

    class Installed:
        url = wheel.as_uri()

        def read_text(self, _: str) -> str:
            return json.dumps({"url": self.url})

    monkeypatch.setattr(new, "distribution", lambda _: Installed())
    assert new.copy_wheel(tmp_path / "wheels")
    assert (tmp_path / "wheels" / wheel.name).read_bytes() == b"wheel"
    for url in ((tmp_path / "gone.whl").as_uri(), tmp_path.as_uri(), "https://example.com/kindling.whl"):
        monkeypatch.setattr(Installed, "url", url)
        assert not new.copy_wheel(tmp_path / "none")
    assert files_below(tmp_path / "none") == {".gitkeep"}
