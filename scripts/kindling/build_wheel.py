"""Builds the engine's own wheel, with the template in it: `python scripts/kindling/build_wheel.py dist`.

`kindling-<version>-py3-none-any.whl` is made of `src/kindling` and depends on what pyproject.toml lists. What a project
begins with (examples, experiments, tests and tools) lies in it under `kindling/template/`, for `kindling new`. It is
copied when the wheel is built, and stored nowhere else.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it
    import tomli as tomllib

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))  # of this clone, installed or not

from kindling.core.template import belongs_to_project

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "src/kindling/"
PYPROJECT = """\
[build-system]
requires = {requires}
build-backend = "setuptools.build_meta"

[project]
name = "kindling"
description = "The engine of a PyTorch Lightning project: runs that resume exactly, one YAML an experiment"
readme = "README.md"
license = "MIT"
requires-python = {python}
dynamic = ["version"]
dependencies = {dependencies}

[project.optional-dependencies]
{extras}

[project.scripts]
kindling = "kindling.cli:main"

[tool.setuptools.dynamic]
version = {{ attr = "kindling.__version__" }}

[tool.setuptools.packages.find]
where = ["src"]
namespaces = false

[tool.setuptools.package-data]
kindling = {files}
"""
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, end="")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    print(build(Path(arguments[0]).resolve()))
    return 0


def build(folder: Path) -> Path:
    """Write the wheel into a folder, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        stage = Path(temporary)
        files = copy_files(stage)
        (stage / "pyproject.toml").write_text(engine_pyproject(files), encoding="utf-8")
        command = [sys.executable, "-c", BUILD, str(folder)]
        finished = subprocess.run(command, cwd=stage, capture_output=True, encoding="utf-8")
    if finished.returncode:
        sys.exit(f"build_wheel: setuptools failed: {finished.stderr.strip().splitlines()[-1]}")
    return folder / finished.stdout.splitlines()[-1]


def copy_files(stage: Path) -> list[str]:
    """Copy the engine to where it is built, and what a project begins with into its folder `template`.

    Returns:
        Those files of the package that are no modules.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8")
    if listed.returncode:
        sys.exit(f"build_wheel: git knows no files in {ROOT}: {listed.stderr.strip()}")
    files = []
    for path in listed.stdout.split("\0")[:-1]:
        is_engine = path.startswith(ENGINE)
        if not (is_engine or belongs_to_project(path)) or not (ROOT / path).is_file():
            continue  # Kindling's own, or deleted and not yet committed
        target = stage / path if is_engine else stage / ENGINE / "template" / path
        if not (is_engine and target.suffix == ".py"):
            files.append(target.relative_to(stage / ENGINE).as_posix())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    for path in ("README.md", "LICENSE"):
        shutil.copy2(ROOT / path, stage / path)
    return files


def engine_pyproject(files: list[str]) -> str:
    """The wheel's pyproject.toml: dependencies and extras are those of the repository's; `files` are no modules."""
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name not in ("dev", "docs")}
    # An array of strings is written in TOML as it is in JSON.
    return PYPROJECT.format(
        requires=json.dumps(content["build-system"]["requires"]),
        python=json.dumps(project["requires-python"]),
        dependencies=json.dumps(project["dependencies"]),
        files=json.dumps(files),
        extras="\n".join(f"{name} = {json.dumps(needs)}" for name, needs in extras.items()),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
