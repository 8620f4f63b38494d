"""`scripts/rename.py` turns a clone into the user's own project, or refuses and changes nothing."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# A git hook that runs the tests sets GIT_DIR, and git would then work on the real repository instead of the copy.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTEST_", "PYTHON"))}
SETTINGS = ("user.name=Test", "user.email=test@example.com", "commit.gpgsign=false", f"core.hooksPath={os.devnull}")
IN_GIT = shutil.which("git") and (ROOT / ".git").exists()
pytestmark = pytest.mark.skipif(not IN_GIT, reason="needs git and a clone")


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", timeout=300)


def git(folder: Path, *arguments: object) -> str:
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    finished = run(folder, "git", *settings, *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def rename(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(clone, sys.executable, "scripts/rename.py", *arguments)


def make_clone(folder: Path) -> Path:
    """A repository of its own with what git tracks or would track here."""
    for path in git(ROOT, "ls-files", "-co", "--exclude-standard", "-z").split("\0")[:-1]:
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path, follow_symlinks=False)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    return folder


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
        ("tests", "taken"),
        ("src", "taken"),
        ("configs", "taken"),
        ("kindling", "taken"),
        ("my_kindling", "taken"),
    ],
)
def test_refuses_a_name(untouched: Path, name: str, reason: str) -> None:
    assert_refused(rename(untouched, name), reason)
    assert git(untouched, "status", "--porcelain") == ""


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
def test_refuses_any_but_one_name(untouched: Path, arguments: list[str]) -> None:
    assert_refused(rename(untouched, *arguments), "expected one name")
    assert git(untouched, "status", "--porcelain") == ""


@pytest.mark.parametrize("path", ["pyproject.toml", "a new file.txt"], ids=["changed", "untracked"])
def test_refuses_a_dirty_tree(clone: Path, path: str) -> None:
    with (clone / path).open("a") as file:
        file.write("# mine\n")
    before = git(clone, "status", "--porcelain")
    assert_refused(rename(clone, "my_project"), path)
    assert git(clone, "status", "--porcelain") == before


def test_refuses_outside_git(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(clone / ".git")
    monkeypatch.setitem(ENVIRONMENT, "GIT_CEILING_DIRECTORIES", str(clone.parent))  # tmp_path may lie in a repository
    assert_refused(rename(clone, "my_project"), "not a git repository")
    assert (clone / "src" / "kindling").is_dir()


def test_refuses_without_git(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", str(untouched))
    assert_refused(rename(untouched, "my_project"), "git is needed")
    assert (untouched / "src" / "kindling").is_dir()


def test_knows_every_dependency() -> None:
    """A dependency that joins pyproject.toml must join the names that are refused."""
    taken = runpy.run_path(str(ROOT / "scripts" / "rename.py"))["TAKEN"]
    block = re.search(r"^dependencies = \[$(.*?)^\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert block
    names = {name.replace("-", "_") for name in re.findall(r'^ *"([\w-]+)', block[1], re.MULTILINE)}
    assert {"torch", "scikit_learn"} <= names <= taken


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="writes a console script for POSIX")
def test_the_renamed_project_works(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    licence = (clone / "LICENSE").read_bytes() if (clone / "LICENSE").exists() else None
    finished = rename(clone, "my_project")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "pip install -e" in finished.stdout

    found = run(clone, "git", "grep", "-i", "kindling").stdout.splitlines()
    assert [line for line in found if not line.startswith("LICENSE:")] == []
    assert "kindling" not in git(clone, "ls-files").lower()
    assert not (clone / "src" / "kindling").exists()
    assert licence is None or (clone / "LICENSE").read_bytes() == licence
    assert not (clone / "scripts" / "rename.py").exists()
    assert "class MyProjectCLI(" in (clone / "src" / "my_project" / "commands.py").read_text()
    assert "MY_PROJECT_TRACEBACK" in (clone / "src" / "my_project" / "cli.py").read_text()
    git(clone, "commit", "--quiet", "--all", "--message", "Rename")
    assert git(clone, "status", "--porcelain") == ""

    programs = install(clone, tmp_path_factory.mktemp("environment"))
    assert run(clone, programs / "my_project", "--version").stdout.startswith("my_project ")
    assert run(clone, programs / "python", "-c", "import kindling").returncode == 1
    pytest_ = [programs / "python", "-m", "pytest", "-p", "no:cacheprovider"]
    collected = run(clone, *pytest_, "--collect-only")  # every test's imports
    assert collected.returncode == 0, collected.stdout[-5000:]
    some = [
        "tests/models/test_base.py",
        "tests/data",
        "tests/test_dashboard.py",
        "tests/callbacks",
        "tests/test_tasks.py",
    ]
    suite = run(clone, *pytest_, "-m", "not slow", *(part for part in some if (clone / part).exists()))
    assert suite.returncode == 0, suite.stdout[-5000:] + suite.stderr[-1000:]


def install(clone: Path, folder: Path) -> Path:
    """What `pip install -e .` does, without network: a virtual environment that sees this one's packages."""
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    finished = run(folder, programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    packages = Path(finished.stdout.strip())
    shared = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "clone.pth").write_text("\n".join([str(clone / "src"), *shared]) + "\n")
    (packages / "my_project-0.dist-info").mkdir()
    (packages / "my_project-0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my_project\nVersion: 0\n"
    )
    ((module, function),) = re.findall(
        r'^my_project = "(.+):(.+)"$', (clone / "pyproject.toml").read_text(), re.MULTILINE
    )
    script = programs / "my_project"
    script.write_text(f"#!{programs / 'python'}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    return programs
