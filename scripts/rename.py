"""Makes this clone your own project: `python scripts/rename.py galaxies`.

The project, its distribution and its tests are called galaxies then. The engine, `src/kindling`, stays as it is to the
byte, and the command stays `kindling`. README.md becomes a short one of the new project, LICENSE keeps its line, and
what is Kindling's own goes: its tests, its scripts, its documents, and this script. Runs trained before go on.

  --keep-engine-tests   keep tests/kindling and scripts/kindling, to work on the engine. They use the example models,
                        data and experiments and need them: don't delete those then.

The project is installed anew in `.venv`; where there is none, the lines that do it are printed. All changes are staged
and nothing is committed, so `git reset --hard` takes them back.
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
PROJECT, ENGINE = "my_project", "kindling"
PLACES = [ROOT / ".venv" / "bin" / "python", ROOT / ".venv" / "Scripts" / "python.exe"]  # the latter on Windows
PYTHON = next((place for place in PLACES if place.exists()), PLACES[0])
INSTALL = ["install", "--no-deps", "-e", "."]
# What dependencies and tools are imported as, commands that would be hidden, modules of the tests, folders of builds.
OTHERS = """torch torchvision torchmetrics functorch torchgen lightning lightning_utilities pytorch_lightning tqdm
jsonargparse yaml pyyaml tensorboard rich numpy scipy pandas matplotlib seaborn sklearn scikit_learn fsspec
packaging setuptools pillow PIL pyarrow datasets litdata tokenizers onnx onnxruntime onnxscript importlinter grimp
fastapi httpx timm transformers peft optuna wandb mlflow sqlalchemy alembic filelock
pytest conftest model_cases project_parts stand_ins clones simple_modules class_places cookbook_pages interrupted
launches recording_logger windows_like
mypy ruff pre_commit pip python python3 git make build dist venv"""
TAKEN = {"test", *sys.stdlib_module_names, *dir(builtins), *OTHERS.split()}  # Python leaves `test` out of its own list
# Kindling's own: what goes in any case (documents, and tests of what is renamed), and what --keep-engine-tests keeps.
IN_ANY_CASE = ["scripts/rename.py", "docs", "CHANGELOG.md"]
IN_ANY_CASE += ["tests/kindling/test_readme.py", "tests/kindling/test_docs.py"]
IN_ANY_CASE += ["tests/kindling/test_repository.py", "tests/kindling/test_configs.py"]
IN_ANY_CASE += ["tests/kindling/docs", "tests/cookbook_pages.py"]
IN_ANY_CASE += ["tests/kindling/scripts/test_rename.py", "tests/kindling/scripts/test_first_week.py"]
ENGINE_TESTS = ["tests/kindling", "tests/clones.py", "tests/simple_modules.py"]
ENGINE_TESTS += ["tests/class_places.py", "tests/interrupted.py", "tests/launches.py", "tests/recording_logger.py"]
ENGINE_TESTS += ["tests/windows_like.py"]
ENGINE_TESTS += ["scripts/kindling"]
README = """\
# {title}

Models trained with PyTorch Lightning: an experiment is one YAML file, a run is one folder.

```
make test                                     # makes .venv, installs, and tests all models, data and experiments
source .venv/bin/activate
kindling fit     --config configs/NAME.yaml   # train, keep the best checkpoint, test it
kindling fit     --resume latest              # go on after an interruption, in the same folder
kindling test    --run latest
kindling predict --run latest --input FILES
kindling compare lightning_logs               # runs in one table
```

`kindling --help` lists all commands, `kindling fit --model.help NAME` what a model takes. `make lint` checks style and
types.

## Find your way

```
src/{name}/     the project: models/, data/, losses/ …; a class in a new file there is at once a name for YAML and flags
configs/        experiments, one YAML each; trainer/ has overlays for cpu, gpu and debug
tests/{name}/   every model learns, every data set fits what it declares, every experiment trains
src/kindling/   the engine: nothing in it is to be edited
lightning_logs/ runs: config, checkpoints, metrics, figures
```

What you would change for your problem is the project's; what must be right for every problem is the engine's.
`from kindling import Model, Data, Task, Trainer, load` is all that is needed of it.

## Credit, and a later Kindling

The engine is [Kindling](src/kindling/__init__.py) {version} (MIT: [LICENSE](LICENSE)). To take over a later one,
replace the folder `src/kindling` by its folder, take over what its `pyproject.toml` has changed in `dependencies`, and
run `make test`.
"""


def main(arguments: list[str]) -> None:
    """Check everything, and only then change the first file."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__, end="")
        return
    keep = "--keep-engine-tests" in arguments
    names = [argument for argument in arguments if argument != "--keep-engine-tests"]
    if len(names) != 1:
        refuse("expected one name: python scripts/rename.py galaxies")
    name = names[0]
    check_name(name)
    if not (ROOT / "src" / PROJECT).is_dir():
        refuse(f"src/{PROJECT} is not here: this clone has a name already")
    if changes := git("status", "--porcelain", "--untracked-files=normal", "--", "."):
        refuse(f"git has changes that are not committed (first: {changes.splitlines()[0][3:]}): commit or stash them")
    pyproject = renamed_pyproject((ROOT / "pyproject.toml").read_text(encoding="utf-8"), name)

    remove(IN_ANY_CASE if keep else IN_ANY_CASE + ENGINE_TESTS)
    for folder in ("src", "tests"):
        if (ROOT / folder / PROJECT).is_dir():
            git("mv", f"{folder}/{PROJECT}", f"{folder}/{name}")
    (ROOT / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    (ROOT / "README.md").write_text(new_readme(name), encoding="utf-8")
    tidy(reword(name))
    git("add", "--update", ".")
    print(f"This is {name} now. What is left to do:")
    for line in install():
        print(f"  {line}")
    print("  make test && make lint")
    print(f'  git commit -m "Rename to {name}"   # git reset --hard would take the renaming back')


def check_name(name: str) -> None:
    if not re.fullmatch("[a-z]([a-z0-9_]{0,38}[a-z0-9])?", name) or keyword.iskeyword(name):
        refuse(f"{name!r} can't name a Python package: use up to 40 of a-z, 0-9 and _, such as galaxies")
    if name in TAKEN or ENGINE in name or (ROOT / name).exists() or (ROOT / "src" / name).exists():
        refuse(f"{name!r} is taken by Python, a tool, a dependency or a folder here: choose another name")


def title_of(name: str) -> str:
    return " ".join(word.capitalize() for word in name.split("_"))


def renamed_pyproject(text: str, name: str) -> str:
    """The distribution's name, description and version, and wherever the project is named.

    A version of its own, since the engine's tells nothing of the project.
    """
    replacements = {
        r'^name = "kindling"$': f'name = "{name}"',
        r'^description = ".*"$': f'description = "{title_of(name)}: models trained with PyTorch Lightning"',
        r'^dynamic = \["version"\]$': 'version = "0.1.0"',
        r"^\[tool\.setuptools\.dynamic\]\nversion = .*\n\n": "",
        r'"kindling\[': f'"{name}[',
        r'^    "fastapi.*\n    "httpx.*\n': "",  # a page of the cookbook's, which goes
    }
    for pattern, replacement in replacements.items():
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count != 1:
            refuse(f"pyproject.toml has {count} lines like {pattern}, expected one: bring back that of Kindling")
    return text.replace(PROJECT, name)


def new_readme(name: str) -> str:
    source = (ROOT / "src" / ENGINE / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    return README.format(name=name, title=title_of(name), version=" ".join(version))


def remove(paths: list[str]) -> None:
    """Remove files and folders from git and from here; what Python has cached of them goes too."""
    git("rm", "-r", "--quiet", "--ignore-unmatch", "--", *paths)
    for folder in (ROOT / path for path in paths):
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        below = sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else []
        for empty in [path for path in (*below, folder) if path.is_dir() and not any(path.iterdir())]:
            empty.rmdir()


def reword(name: str) -> list[Path]:
    """Give the project its new name wherever git's files say the old one; return the files of Python among them."""
    changed = []
    for path in git("ls-files", "-z").split("\0")[:-1]:
        file = ROOT / path
        if path == "LICENSE" or path.startswith(f"src/{ENGINE}/") or file.is_symlink() or not file.is_file():
            continue
        content = file.read_bytes()  # as bytes, so that line ends and images stay as they are
        if PROJECT.encode() in content:
            file.write_bytes(content.replace(PROJECT.encode(), name.encode()))
            changed.append(file)
    return [file for file in changed if file.suffix == ".py"]


def tidy(files: list[Path]) -> None:
    """Sort the imports anew, and break the lines, that have another name in them now."""
    ruff = shutil.which("ruff", path=PYTHON.parent)
    if files and ruff:
        for options in (["check", "--select", "I", "--fix"], ["format"]):
            subprocess.run([ruff, *options, "--quiet", *files], cwd=ROOT, check=False)


def install() -> list[str]:
    """Install the project in the place of the distribution that was called kindling; return the lines that are left."""
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
    main(sys.argv[1:])
