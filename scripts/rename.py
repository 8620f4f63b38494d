"""Makes this clone your own project: `python scripts/rename.py galaxies`.

The project, its distribution and its tests are then called galaxies. The engine, `src/kindling`, stays the same to the
byte, and the command stays `kindling`. README.md becomes a short one for the new project, LICENSE keeps its line, and
what is Kindling's own goes: its tests, its scripts, its documents, and this script. Earlier runs still work.

  --keep-engine-tests   keep tests/kindling and scripts/kindling, to work on the engine. They need the example models,
                        data and experiments: keep those too.

The project is installed again in `.venv`; if there is none, the commands that do it are printed. All changes are staged
and nothing is committed, so `git reset --hard` undoes them.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

# Nothing has to be installed: what is used of the engine here is plain Python.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from kindling import __version__
from kindling.core.errors import UsageError
from kindling.core.project_names import ENGINE, check_name
from kindling.core.template import (
    CREDIT_IN_CLONE,
    ENGINE_IN_CLONE,
    ENGINE_TESTS,
    IN_ANY_CASE,
    PROJECT,
    give_name,
    new_readme,
    renamed_pyproject,
    replaced,
)

ROOT = Path(__file__).resolve().parents[1]
PLACES = [ROOT / ".venv" / "bin" / "python", ROOT / ".venv" / "Scripts" / "python.exe"]  # the latter on Windows
PYTHON = next((place for place in PLACES if place.exists()), PLACES[0])
INSTALL = ["install", "--no-deps", "-e", "."]


def main(arguments: list[str]) -> None:
    """Check everything before changing the first file."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__, end="")
        return
    keep = "--keep-engine-tests" in arguments
    names = [argument for argument in arguments if argument != "--keep-engine-tests"]
    if len(names) != 1:
        refuse("expected one name: python scripts/rename.py galaxies")
    name = names[0]
    check_name(name, ROOT)
    if not (ROOT / "src" / PROJECT).is_dir():
        refuse(f"src/{PROJECT} is not here: this clone has been renamed already")
    if changes := git("status", "--porcelain", "--untracked-files=normal", "--", "."):
        refuse(f"git has uncommitted changes (first: {changes.splitlines()[0][3:]}): commit or stash them")
    pyproject = renamed_pyproject((ROOT / "pyproject.toml").read_text(encoding="utf-8"), name)
    pyproject = replaced(pyproject, "pyproject.toml", {rf'"{ENGINE}\[(?:docs,)?': f'"{name}['})

    remove(IN_ANY_CASE if keep else IN_ANY_CASE + ENGINE_TESTS)
    for folder in ("src", "tests"):
        if (ROOT / folder / PROJECT).is_dir():
            git("mv", f"{folder}/{PROJECT}", f"{folder}/{name}")
    (ROOT / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    readme = new_readme(name, __version__, ENGINE_IN_CLONE, CREDIT_IN_CLONE)
    (ROOT / "README.md").write_text(readme, encoding="utf-8")
    tidy(reword(name))
    git("add", "--update", ".")
    print(f"This is {name} now. What is left to do:")
    for line in install():
        print(f"  {line}")
    print("  make test && make lint")
    print(f'  git commit -m "Rename to {name}"   # git reset --hard would undo the renaming')


def remove(paths: list[str]) -> None:
    """Remove files and folders from git and from here; what Python has cached for them goes too."""
    git("rm", "-r", "--quiet", "--ignore-unmatch", "--", *paths)
    for folder in (ROOT / path for path in paths):
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        below = sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else []
        for empty in [path for path in (*below, folder) if path.is_dir() and not any(path.iterdir())]:
            empty.rmdir()


def reword(name: str) -> list[Path]:
    """Give the project its new name in git's files, but for the engine's; return the files of Python among them."""
    paths = [path for path in git("ls-files", "-z").split("\0")[:-1] if not path.startswith(f"src/{ENGINE}/")]
    files = [ROOT / path for path in paths if (ROOT / path).is_file() and not (ROOT / path).is_symlink()]
    return [file for file in files if give_name(file, name) and file.suffix == ".py"]


def tidy(files: list[Path]) -> None:
    """Sort the imports and wrap the lines that contain the new name now."""
    ruff = shutil.which("ruff", path=PYTHON.parent)
    if files and ruff:
        for options in (["check", "--select", "I", "--fix"], ["format"]):
            subprocess.run([ruff, *options, "--quiet", *files], cwd=ROOT, check=False)


def install() -> list[str]:
    """Install the project in place of the distribution that was called kindling; return the commands that are left."""
    shutil.rmtree(ROOT / "src" / "kindling.egg-info", ignore_errors=True)  # or the old name would still look installed
    lines = [f"pip uninstall -y {ENGINE}", "pip " + " ".join(INSTALL)]
    if not PYTHON.exists():
        return lines
    pip: list[str | Path] = [PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "uninstall", "-y", ENGINE], cwd=ROOT, check=False, capture_output=True)
    # Without isolation it needs no network, if setuptools is new enough; with it pip fetches the newest.
    for options in (["--no-build-isolation"], []):
        finished = subprocess.run([*pip, *INSTALL, *options], cwd=ROOT, check=False, capture_output=True)
        if finished.returncode == 0:
            for stamp in (ROOT / ".venv" / "installed", ROOT / ".venv" / "installed-dev"):
                if stamp.exists():
                    stamp.touch()  # for make, which would install again because pyproject.toml has changed
            return []
    return lines[1:]


def git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
    except FileNotFoundError:
        refuse("git is needed and was not found: install it first")
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().partition("\n")[0]
        refuse(f"git {arguments[0]} failed in {ROOT}: {reason}")


def refuse(reason: str) -> NoReturn:
    print(f"rename: {reason}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UsageError as error:
        refuse(str(error))
