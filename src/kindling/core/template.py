"""The template that a project begins with: where it lies, which files it has, and how they get the project's name.

In a clone the template is the clone itself. The engine's wheel has a copy, made when it is built. `scripts/rename.py`
turns a clone into a project, with the engine in it; `kindling new` writes a project that needs the engine's wheel.
"""

import re
from pathlib import Path

from kindling.core.errors import UsageError
from kindling.core.parts import TEMPLATE
from kindling.core.project_names import title_of

PROJECT = "my_project"
CLONE = Path(__file__).resolve().parents[3]  # where this is no wheel
# Kindling's own: what no project keeps, and what `scripts/rename.py --keep-engine-tests` does.
IN_ANY_CASE = ["scripts/rename.py", "docs", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"]
IN_ANY_CASE += ["tests/kindling/test_readme.py", "tests/kindling/test_docs.py"]
IN_ANY_CASE += ["tests/kindling/test_repository.py", "tests/kindling/test_configs.py"]
IN_ANY_CASE += ["tests/kindling/docs", "tests/cookbook_pages.py"]
IN_ANY_CASE += ["tests/kindling/scripts/test_rename.py", "tests/kindling/scripts/test_first_week.py"]
IN_ANY_CASE += ["tests/kindling/scripts/test_build_wheel.py", "tests/kindling/core/test_template.py"]
IN_ANY_CASE += ["tests/kindling/cli/test_new.py"]
ENGINE_TESTS = ["tests/kindling", "tests/clones.py", "tests/simple_modules.py"]
ENGINE_TESTS += ["tests/class_places.py", "tests/interrupted.py", "tests/launches.py", "tests/recording_logger.py"]
ENGINE_TESTS += ["tests/windows_like.py", "scripts/kindling"]
# What a project begins with, without those.
PARTS = ["pyproject.toml", "Makefile", "LICENSE", ".gitignore", ".gitattributes", ".pre-commit-config.yaml"]
PARTS += [".ci", ".github", ".vscode"]
PARTS += ["Dockerfile", ".dockerignore", ".devcontainer", "lightning_logs/.gitkeep"]
PARTS += ["configs", "notebooks", "scripts", "src/my_project", "tests"]
CACHES = {"__pycache__", ".ipynb_checkpoints"}
# What is of the engine's source in files of a clone, and goes where the engine is a wheel: pattern and replacement.
WITHOUT_ENGINE: dict[str, dict[str, str]] = {
    "pyproject.toml": {
        r"^dependencies = \[\n(?: .*\n)*\]": 'dependencies = [\n    "kindling>={version}",\n]',
        r'^    "kindling\[.*\n    "import-linter.*\n': "",
        r"^\[project\.scripts\]\n.*\n\n": "",
        r"^\[tool\.setuptools\.package-data\]\n.*\n\n": "",
        r"^# What may import what(?:.*\n)*?(?=\[tool\.(?!importlinter)|\Z)": '[tool.uv]\nfind-links = ["wheels"]\n',
        r"^(?=\[tool\.ruff\.lint\.per-file)": '[tool.ruff.lint.isort]\nknown-first-party = ["kindling"]\n\n',
    },
    "Makefile": {
        r"^\t\$\(PIP\) -e \.$": "\t$(PIP) $(wildcard wheels/*.whl) -e .",
        r"^\t\$\(BIN\)/lint-imports\n": "",
        r"mypy, lint-imports$": "mypy",
        r"style, types, and what imports what": "style and types",
    },
    ".pre-commit-config.yaml": {r"^      - id: lint-imports\n(?:        .*\n)+": ""},
}
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

`kindling --help` lists all commands, `kindling fit --model.help NAME` shows what a model takes. `make lint` checks
style and types.

## Find your way

```
{source:15} the project: models/, data/, losses/ …; the classes in a new file there can be named in YAML and flags
configs/        experiments, one YAML each; trainer/ has overlays for cpu, gpu and debug
{tests:15} every model learns, every data set is what it declares, every experiment trains
notebooks/      first_steps.ipynb trains, plots and predicts
{engine}
lightning_logs/ runs: config, checkpoints, metrics, figures
```

What you would change for your problem is the project's; what must be right for every problem is the engine's.
`from kindling import Model, Data, Task, Trainer, load` is all that you need from it.

## Credit, and a later Kindling

{credit}
"""
ENGINE_IN_CLONE = "src/kindling/   the engine: not to be edited"
CREDIT_IN_CLONE = """\
The engine is [Kindling](src/kindling/__init__.py) {version} (MIT: [LICENSE](LICENSE)). To move to a later one,
replace the folder `src/kindling` with its folder, copy what its `pyproject.toml` has changed in `dependencies`, and
run `make test`."""
ENGINE_AS_WHEEL = "wheels/         the engine's wheel: commit it, since the kindling on PyPI is another package"
CREDIT_AS_WHEEL = """\
The project began with the examples of Kindling {version}, its engine (MIT: [LICENSE](LICENSE)). To move to a later
one, replace the wheel in `wheels/`, and run `pip install wheels/*.whl` and `make test`."""


def find_template() -> Path:
    """The folder of the template: the clone whose engine this is, or the copy in the wheel.

    Raises:
        UsageError: if there is none, as in a clone that was renamed.
    """
    for folder in (TEMPLATE, CLONE):
        if (folder / "src" / PROJECT).is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise UsageError(f"there is no template in {CLONE}, which has a project already: install the engine's wheel")


def is_below(path: str, folders: list[str]) -> bool:
    """Whether a path, as git writes it, is one of some files or folders, or lies in one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def belongs_to_project(path: str) -> bool:
    """Whether a file of the template, by its path below it as git writes it, is one that a project begins with."""
    return is_below(path, PARTS) and not is_below(path, IN_ANY_CASE + ENGINE_TESTS)


def files_of(template: Path) -> list[str]:
    """The files that a project begins with, by their paths below the template; none that Python or Jupyter cached."""
    found = []
    for part in (template / part for part in PARTS):
        files = [part] if part.is_file() else part.rglob("*")
        found += [file.relative_to(template).as_posix() for file in files if file.is_file()]
    return sorted(path for path in found if belongs_to_project(path) and not CACHES & {*path.split("/")})


def renamed_pyproject(text: str, name: str) -> str:
    """The distribution's name, description and version, and wherever the project is named.

    It gets a version of its own, since the engine's says nothing about the project.
    """
    replacements = {
        r'^name = "kindling"$': f'name = "{name}"',
        r'^description = ".*"$': f'description = "{title_of(name)}: models trained with PyTorch Lightning"',
        r'^dynamic = \["version"\]$': 'version = "0.1.0"',
        r"^\[tool\.setuptools\.dynamic\]\nversion = .*\n\n": "",
        r"^(?:docs = .*\n)?dev = \[$": "dev = [",
        r'^    "fastapi.*\n    "httpx.*\n': "",  # a page of the cookbook's, which goes
    }
    return replaced(text, "pyproject.toml", replacements).replace(PROJECT, name)


def replaced(text: str, path: str, replacements: dict[str, str]) -> str:
    """A file's text with each pattern replaced, of which there has to be one.

    Raises:
        UsageError: if a line was changed that a pattern is for.
    """
    for pattern, replacement in replacements.items():
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count != 1:
            raise UsageError(f"{path} has {count} lines like {pattern}, expected one: restore Kindling's own")
    return text


def without_engine(path: str, text: str, version: str) -> str:
    """A file's text for a project that has the engine as a wheel, of this version or a later one."""
    patterns = WITHOUT_ENGINE.get(path, {})
    text = replaced(text, path, {key: value.replace("{version}", version) for key, value in patterns.items()})
    if path == "pyproject.toml":  # the extras are the engine's, with their names: pip install -e '.[export]'
        before, title, extras = text.partition("[project.optional-dependencies]\n")
        extras, dev, after = extras.partition("dev = [\n")
        own = re.findall(r"^([\w-]+) = \[", extras, re.MULTILINE)
        text = before + title + "".join(f'{name} = ["kindling[{name}]"]\n' for name in own) + dev + after
    return text


def give_name(file: Path, name: str) -> bool:
    """Write the project's new name wherever a file says the old one; whether it did. A licence stays as it is."""
    content = file.read_bytes()  # as bytes, so that line ends and images stay as they are
    if file.name == "LICENSE" or PROJECT.encode() not in content:
        return False
    file.write_bytes(content.replace(PROJECT.encode(), name.encode()))
    return True


def new_readme(name: str, version: str, engine: str, credit: str) -> str:
    """The project's README; `engine` and `credit` say whether it has the engine in it or as a wheel."""
    return README.format(
        title=title_of(name),
        source=f"src/{name}/",
        tests=f"tests/{name}/",
        engine=engine,
        credit=credit.format(version=version),
    )
