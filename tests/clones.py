"""Clones of this repository, with environments of their own, for the tests of what a cloner does."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import ROOT

# A git hook that runs the tests sets GIT_DIR, and git would then work on the real repository instead of the copy.
PREFIXES = ("GIT_", "PYTEST_", "PYTHON", "PL_", "MAKE")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
SETTINGS = ("user.name=Test", "user.email=test@example.com", "commit.gpgsign=false", f"core.hooksPath={os.devnull}")
needs_git = pytest.mark.skipif(
    not (shutil.which("git") and (ROOT / ".git").exists()), reason="needs git and a clone of the repository"
)
needs_posix = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and a POSIX system")


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", timeout=3600)


def succeed(folder: Path, *command: object) -> str:
    """Run a command that has to end well; return what it printed."""
    finished = run(folder, *command)
    assert finished.returncode == 0, f"{command}\n{finished.stdout[-6000:]}{finished.stderr[-3000:]}"
    return finished.stdout


def git(folder: Path, *arguments: object) -> str:
    settings = [part for setting in SETTINGS for part in ("-c", setting)]
    return succeed(folder, "git", *settings, *arguments)


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


def rename(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(clone, sys.executable, "scripts/rename.py", *arguments)


def make_environment(folder: Path) -> Path:
    """A virtual environment with all that is installed here but Kindling and other projects; return its programs.

    Links to the packages, rather than the folder that has them: there the installation of this clone would be seen.
    """
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    links = folder / "links"
    links.mkdir()
    for site in map(Path, sys.path):
        if site.name in ("site-packages", "dist-packages") and site.is_dir():
            link_packages(site, links)
    packages = succeed(folder, programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(packages.strip(), "links.pth").write_text(f"{links}\n", encoding="utf-8")
    for tool in ("ruff", "mypy", "lint-imports"):
        copy_program(Path(sys.executable).parent / tool, programs)
    return programs


def link_packages(site: Path, links: Path) -> None:
    for package in site.iterdir():
        points = package / "entry_points.txt"
        is_project = points.is_file() and "[kindling.projects]" in points.read_text()
        if package.name != "kindling" and not is_project and not (links / package.name).exists():
            (links / package.name).symlink_to(package)


def copy_program(program: Path, programs: Path) -> None:
    """Copy a program for the Python beside it, whether it is a script or machine code."""
    content = program.read_bytes()
    if content.startswith(b"#!"):
        content = f"#!{programs / 'python'}\n".encode() + content.partition(b"\n")[2]
    (programs / program.name).write_bytes(content)
    (programs / program.name).chmod(0o755)


def install(clone: Path) -> Path:
    """What `make test` does before the tests, without network: make `.venv` and install the clone; return its programs.

    As pip would resolve nothing anew, make is told that everything is installed.
    """
    programs = make_environment(clone / ".venv")
    pip = [programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    succeed(clone, *pip, "install", "--no-deps", "--no-build-isolation", "-e", ".")
    for stamp in ("installed", "installed-dev"):
        (clone / ".venv" / stamp).touch()
    return programs
