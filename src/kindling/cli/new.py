"""`kindling new galaxies`: a project of one's own in ./galaxies, with examples, that has the engine as a wheel."""

import argparse
import json
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kindling import __version__
from kindling.cli.arguments import parse_options
from kindling.core.consoles import typed
from kindling.core.errors import UsageError
from kindling.core.project_names import ENGINE, check_name
from kindling.core.template import (
    CREDIT_AS_WHEEL,
    ENGINE_AS_WHEEL,
    PROJECT,
    WITHOUT_ENGINE,
    files_of,
    find_template,
    give_name,
    new_readme,
    renamed_pyproject,
    without_engine,
)

WHEELS = "wheels"  # the folder of a project that has the engine
NEXT = """\
{folder}/ is a project of your own, with examples in src/{name}/ and configs/. What is next:
  cd {folder}{wheel}
  pip install --no-deps -e .    # beside this Kindling; make test makes a .venv and runs the tests
  kindling fit --config configs/digits_mlp.yaml
"""
NO_WHEEL = f"""
  python {{script}} {WHEELS}    # so that it can be installed without this clone"""


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("kindling new", description=__doc__)
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the package and its folder: a-z, 0-9 and _")
    name = parse_options(parser, argv).name
    if name is None:
        raise UsageError("new needs the name of the project: kindling new galaxies")
    template = find_template()
    check_name(name, template)
    folder = Path(name)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: expected an empty folder or none, or another name")
    try:
        write_project(template, folder, name)
        has_wheel = copy_wheel(folder / WHEELS)
    except OSError as error:
        raise UsageError(f"can't write the project {folder}: {error.strerror or error}") from error
    script = typed(template / "scripts" / "kindling" / "build_wheel.py")
    print(NEXT.format(name=name, folder=folder, wheel="" if has_wheel else NO_WHEEL.format(script=script)), end="")


def write_project(template: Path, folder: Path, name: str) -> None:
    """Write the template's files under the project's name, without what is of the engine's source."""
    for path in files_of(template):
        target = folder / path.replace(PROJECT, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(template / path, target)
        if path in WITHOUT_ENGINE:
            write_text(target, without_engine(path, target.read_text(encoding="utf-8"), __version__))
        give_name(target, name)
    pyproject = folder / "pyproject.toml"
    write_text(pyproject, renamed_pyproject(pyproject.read_text(encoding="utf-8"), name))
    write_text(folder / "README.md", new_readme(name, __version__, ENGINE_AS_WHEEL, CREDIT_AS_WHEEL))


def write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")  # which make needs, on Windows too


def copy_wheel(folder: Path) -> bool:
    """Make the folder of wheels, and copy the engine's into it where pip has noted the file that it came from."""
    folder.mkdir(exist_ok=True)
    (folder / ".gitkeep").touch()  # uv looks into it, also before there is a wheel
    with suppress(PackageNotFoundError, ValueError, LookupError, TypeError):
        origin = urlsplit(json.loads(distribution(ENGINE).read_text("direct_url.json") or "")["url"])
        wheel = Path(url2pathname(origin.path))
        if origin.scheme == "file" and wheel.suffix == ".whl" and wheel.is_file():
            shutil.copy2(wheel, folder / wheel.name)
            return True
    return False
