"""`scripts/rename.py` turns a clone into the user's own project, or refuses and changes nothing."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clones import ENVIRONMENT, git, install, make_clone, needs_git, needs_posix, rename, run, succeed
from conftest import ROOT

from kindling.core.project_names import TAKEN

pytestmark = needs_git


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return make_clone(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clone for every refusal, since a refusal changes nothing."""
    return make_clone(tmp_path_factory.mktemp("untouched"))


def assert_refused(finished: subprocess.CompletedProcess[str], reason: str) -> None:
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert finished.stderr.startswith("rename: ")
    assert reason in finished.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "can't name"),
        ("my-project", "can't name"),
        ("MyProject", "can't name"),
        ("2fast", "can't name"),
        ("my project", "can't name"),
        ("my\nproject", "can't name"),
        ("../outside", "can't name"),
        ("größe", "can't name"),
        ("_private", "can't name"),
        ("trailing_", "can't name"),
        ("class", "can't name"),
        ("--force", "can't name"),
        ("x" * 41, "can't name"),
        ("json", "taken"),
        ("test", "taken"),
        ("print", "taken"),
        ("torch", "taken"),
        ("sklearn", "taken"),
        ("yaml", "taken"),
        ("python", "taken"),
        ("conftest", "taken"),
        ("tests", "taken"),
        ("src", "taken"),
        ("configs", "taken"),
        ("my_project", "taken"),
        ("kindling", "taken"),
        ("my_kindling", "taken"),
    ],
)
def test_refuses_a_name(untouched: Path, name: str, reason: str) -> None:
    assert_refused(rename(untouched, name), reason)
    assert git(untouched, "status", "--porcelain") == ""


@pytest.mark.parametrize("arguments", [[], ["one", "two"], ["--keep-engine-tests"]])
def test_refuses_any_but_one_name(untouched: Path, arguments: list[str]) -> None:
    assert_refused(rename(untouched, *arguments), "expected one name")
    assert git(untouched, "status", "--porcelain") == ""


@pytest.mark.parametrize("path", ["pyproject.toml", "a new file.txt"], ids=["changed", "untracked"])
def test_refuses_a_dirty_tree(clone: Path, path: str) -> None:
    with (clone / path).open("a") as file:
        file.write("# mine\n")
    before = git(clone, "status", "--porcelain")
    assert_refused(rename(clone, "galaxies"), path)
    assert git(clone, "status", "--porcelain") == before


def test_refuses_a_pyproject_that_has_another_name(clone: Path) -> None:
    pyproject = clone / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('name = "kindling"', 'name = "stars"'))
    git(clone, "commit", "--quiet", "--all", "--message", "Stars")
    assert_refused(rename(clone, "galaxies"), "pyproject.toml has 0 lines like ")
    assert git(clone, "status", "--porcelain") == ""


def test_refuses_where_there_is_no_project(clone: Path) -> None:
    git(clone, "mv", "src/my_project", "src/stars")
    git(clone, "commit", "--quiet", "--all", "--message", "Stars")
    assert_refused(rename(clone, "galaxies"), "src/my_project is not here")
    assert git(clone, "status", "--porcelain") == ""


def test_refuses_outside_git(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(clone / ".git")
    monkeypatch.setitem(ENVIRONMENT, "GIT_CEILING_DIRECTORIES", str(clone.parent))  # tmp_path may lie in a repository
    assert_refused(rename(clone, "galaxies"), "not a git repository")
    assert (clone / "src" / "my_project").is_dir()


def test_refuses_without_git(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(untouched))
    assert_refused(rename(untouched, "galaxies"), "git is needed")
    assert (untouched / "src" / "my_project").is_dir()


def test_knows_every_dependency() -> None:
    """A dependency that joins pyproject.toml must join the names that are refused."""
    block = re.search(r"^dependencies = \[$(.*?)^\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert block
    names = {name.replace("-", "_") for name in re.findall(r'^ *"([\w-]+)', block[1], re.MULTILINE)}
    assert {"torch", "scikit_learn"} <= names <= TAKEN


def hashes(folder: Path) -> dict[str, str]:
    """The checksum of every file below a folder, but for what Python caches."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_everything_but_the_engine_is_the_new_projects(clone: Path) -> None:
    engine, licence = hashes(clone / "src" / "kindling"), (clone / "LICENSE").read_bytes()
    (clone / "tests" / "kindling" / "__pycache__").mkdir()  # which git ignores
    (clone / "configs" / "mine.yaml").write_text("model: my_project.models.mlp.MLP\ndata: Wine\n")
    (clone / "src" / "my_project" / "image.png").write_bytes(b"\xff\xd8 no text")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "Mine")

    finished = rename(clone, "deep_sky")
    assert (finished.returncode, finished.stderr) == (0, "")
    lines = [line.strip() for line in finished.stdout.splitlines()]
    assert lines[1:4] == ["pip uninstall -y kindling", "pip install --no-deps -e .", "make test && make lint"]

    assert hashes(clone / "src" / "kindling") == engine
    assert (clone / "LICENSE").read_bytes() == licence
    assert (clone / "src" / "deep_sky" / "image.png").read_bytes() == b"\xff\xd8 no text"
    assert (clone / "configs" / "mine.yaml").read_text() == "model: deep_sky.models.mlp.MLP\ndata: Wine\n"
    named = run(clone, "git", "grep", "--cached", "-l", "my_project").stdout.split()
    assert [path for path in named if not path.startswith("src/kindling/")] == []
    for gone in ("src/my_project", "tests/my_project", "tests/kindling", "scripts/kindling", "scripts/rename.py"):
        assert not (clone / gone).exists(), gone
    assert {path.name for path in (clone / "tests").iterdir()} == {
        "conftest.py",
        "deep_sky",
        "model_cases.py",
        "project_parts.py",
        "stand_ins.py",
    }
    readme = (clone / "README.md").read_text()
    assert readme.startswith("# Deep Sky\n")
    assert len(readme.splitlines()) < 50
    for path in re.findall(r"^(\S+/) ", readme, re.MULTILINE):
        assert (clone / path).is_dir(), path
    pyproject = (clone / "pyproject.toml").read_text()
    for line in ('name = "deep_sky"', 'version = "0.1.0"', 'deep_sky = "deep_sky"', 'kindling = "kindling.cli:main"'):
        assert f"\n{line}\n" in pyproject
    assert '"deep_sky[export,hub,mlflow,sweep,text,wandb]"' in pyproject
    assert "fastapi" not in pyproject
    assert 'root_packages = ["kindling", "deep_sky"]' in pyproject
    assert "dynamic" not in pyproject

    assert git(clone, "diff", "--name-only") == ""  # all of it is staged
    git(clone, "reset", "--quiet", "--hard")
    assert (clone / "src" / "my_project").is_dir()
    assert (clone / "scripts" / "rename.py").exists()
    assert git(clone, "status", "--porcelain") == ""


def test_what_could_not_be_installed_is_printed(clone: Path) -> None:
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    finished = rename(clone, "galaxies")
    assert finished.returncode == 0
    assert "  pip install --no-deps -e .\n" in finished.stdout


def kindling(clone: Path, *arguments: str) -> None:
    """Run a command that has to end well and has nothing to complain of."""
    accelerator = [] if arguments[0] == "predict" else ["--trainer.accelerator", "cpu"]
    finished = run(clone, clone / ".venv" / "bin" / "kindling", *arguments, *accelerator)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("options", [[], ["--keep-engine-tests"]], ids=["alone", "with the engine's tests"])
def test_the_renamed_project_works_at_once(clone: Path, options: list[str]) -> None:
    programs = install(clone)
    kindling(clone, "fit", "--config", "configs/digits_mlp.yaml", "--trainer.max_epochs", "1")
    finished = rename(clone, "galaxies", *options)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "pip" not in finished.stdout

    installed = succeed(clone, programs / "python", "-m", "pip", "list", "--format", "freeze")
    assert "galaxies==0.1.0" in installed
    assert "kindling==" not in installed
    kindling(clone, "fit", "--config", "configs/digits_mlp.yaml", "--trainer.fast_dev_run", "1")
    kindling(clone, "fit", "--resume", "latest", "--trainer.max_epochs", "2")  # a run of before the renaming
    kindling(clone, "predict", "--run", "latest")
    (clone / "data").mkdir()
    np.save(clone / "data" / "new.npy", np.zeros((3, 8, 8), dtype=np.float32))
    best = "lightning_logs/digits_mlp/version_0/checkpoints/best.ckpt"
    kindling(clone, "predict", "--ckpt", best, "--input", "data/new.npy", "--output", "data/new.csv")
    assert len((clone / "data" / "new.csv").read_text().splitlines()) == 4
    succeed(clone, "make", "lint")
    if options:
        succeed(clone, programs / "python", "-m", "pytest", "--collect-only")  # every test's imports
        succeed(clone, programs / "python", "-m", "pytest", "tests/kindling/examples", "tests/kindling/test_package.py")
    else:
        succeed(clone, "make", "test")
    git(clone, "commit", "--quiet", "--message", "Rename")
    assert git(clone, "status", "--porcelain") == ""
