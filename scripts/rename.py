"""Makes this clone your own project: `python scripts/rename.py my_project`.

The package, the distribution and the console script are all called my_project; environment variables start with
MY_PROJECT_, class names with MyProject, and prose says My Project. LICENSE keeps its copyright line. The script and its
test then remove themselves. Everything is staged and nothing committed, so `git reset --hard` takes it back.
Runs trained before name the old classes in their config.yaml and can't be resumed or tested afterwards.
"""

import builtins
import keyword
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
# What dependencies and tools are imported as, commands that a console script would hide, folders that git ignores.
OTHERS = """torch torchvision torchmetrics functorch torchgen lightning lightning_utilities pytorch_lightning tqdm
jsonargparse yaml pyyaml tensorboard rich numpy scipy pandas matplotlib seaborn sklearn scikit_learn fsspec
packaging setuptools pillow PIL pyarrow onnx onnxruntime onnxscript
pytest conftest mypy ruff pre_commit pip python python3 git make build dist venv"""
TAKEN = {"test", *sys.stdlib_module_names, *dir(builtins), *OTHERS.split()}  # Python leaves `test` out of its own list


def main(arguments: list[str]) -> None:
    """Check everything, and only then change the first file."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__, end="")
        return
    if len(arguments) != 1:
        refuse("expected one name: python scripts/rename.py my_project")
    name = arguments[0]
    if not re.fullmatch("[a-z]([a-z0-9_]{0,38}[a-z0-9])?", name) or keyword.iskeyword(name):
        refuse(f"{name!r} can't name a Python package: use up to 40 of a-z, 0-9 and _, such as my_project")
    if name in TAKEN or "kindling" in name or (ROOT / name).exists() or (ROOT / "src" / name).exists():
        refuse(f"{name!r} is taken by Python, a tool, a dependency or a folder here: choose another name")
    if changes := git("status", "--porcelain", "--untracked-files=normal", "--", "."):
        refuse(f"git has changes that are not committed (first: {changes.splitlines()[0][3:]}): commit or stash them")
    rename(name)
    print(f"""\
This is {name} now. What is left to do:
  pip uninstall -y kindling           # takes the old console script away
  pip install -e ".[dev]"             # brings the new one: {name}
  ruff check --fix . && ruff format . # imports are sorted, and lines broken, by the new name
  pytest
  git commit -am "Rename to {name}"   # git reset --hard would take the renaming back""")


def rename(name: str) -> None:
    git("mv", "src/kindling", f"src/{name}")
    git("rm", "--quiet", "--ignore-unmatch", "scripts/rename.py", "tests/test_rename.py")
    shutil.rmtree(ROOT / "src/kindling.egg-info", ignore_errors=True)  # or the old name would still look installed
    for path in git("ls-files", "-z").split("\0")[:-1]:
        if path == "LICENSE" or (ROOT / path).is_symlink() or not (ROOT / path).is_file():
            continue
        file = ROOT / reword(path, name)
        if file != ROOT / path:
            file.parent.mkdir(parents=True, exist_ok=True)
            git("mv", path, str(file))
        try:
            text = file.read_bytes().decode()  # as bytes, so that line ends stay as they are
        except UnicodeDecodeError:
            continue  # an image
        if (new_text := reword(text, name)) != text:
            file.write_bytes(new_text.encode())
    git("add", "--update", ".")


def reword(text: str, name: str) -> str:
    words = [word.capitalize() for word in name.split("_")]
    text = re.sub(r"(?<=\w)Kindling|Kindling(?=\w)", "".join(words), text)  # part of a class name
    return text.replace("Kindling", " ".join(words)).replace("KINDLING", name.upper()).replace("kindling", name)


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
    main(sys.argv[1:])
