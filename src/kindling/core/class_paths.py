"""Class paths in configs: short where a name means one class, resolved by their last word where the class is gone.

So a run survives a renaming of its project, and moves within it.
"""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from kindling.core.errors import UsageError
from kindling.core.parts import ENGINE, LIBRARIES, imported, load_projects, path_of, preferred, short_name
from kindling.core.settings import settings_in

NAMED_FIRST = ("model", "data")  # a package that one of these is from is trusted by its flag
IN_A_LIST = "trainer.callbacks"  # a flag can't name a single item of it


def class_paths_in(value: Any) -> Iterator[str]:
    """All class paths in nested values."""
    if isinstance(value, dict):
        if isinstance(path := value.get("class_path"), str):
            yield path
        for inner in value.values():
            yield from class_paths_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from class_paths_in(inner)


def with_class_paths(value: Any, change: Callable[[str], str]) -> Any:
    """Nested values with each class path changed."""
    if isinstance(value, list):
        return [with_class_paths(inner, change) for inner in value]
    if not isinstance(value, dict):
        return value
    changed = {key: with_class_paths(inner, change) for key, inner in value.items()}
    if isinstance(changed.get("class_path"), str):
        changed["class_path"] = change(changed["class_path"])
    return changed


def shortened(path: str) -> str:
    """The short name of a class of the engine or a project, if it means that class alone; else the path."""
    cls = imported(path)
    if not isinstance(cls, type):
        return path
    alike = _own_paths(cls.__name__)
    return cls.__name__ if preferred(alike) == [path_of(cls)] else path


def current(path: str) -> str:
    """The path, or its last word if its class is gone and an installed part has that name."""
    gone = "." in path and imported(path) is None
    return short_name(path) if gone and _own_paths(short_name(path)) else path


def is_foreign(path: str) -> bool:
    """Whether a path lies outside the engine, the projects, and the libraries whose parts anyone may name."""
    root = path.partition(".")[0]
    return "." in path and root not in (ENGINE, *load_projects(), *LIBRARIES)


def foreign_parts(values: dict[str, Any]) -> dict[str, str]:
    """The paths of a config's parts that belong to no installed project, one per package, by the keys of their flags.

    To trust one by naming it is to trust its package, so one per package will do: the model's if it is from there.
    """
    parts: dict[str, str] = {}
    settings = sorted(settings_in(values), key=lambda item: (item[0] not in NAMED_FIRST, item[0] == IN_A_LIST))
    for key, value in settings:
        path = value.get("class_path") if isinstance(value, dict) else None
        packages = {other.partition(".")[0] for other in parts.values()}
        if isinstance(path, str) and is_foreign(path) and path.partition(".")[0] not in packages:
            parts[key] = path
    return parts


def import_part(path: str) -> None:
    """Import the module of a part that a user has named by its import path.

    Raises:
        UsageError: if there is no such module, or no such name in it.
    """
    module, _, name = path.rpartition(".")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if not (module + ".").startswith(f"{error.name}."):
            raise  # the module is there, but something it imports is not
        raise UsageError(
            f"{path}: there is no module {error.name}: install it, or put the folder that contains it on PYTHONPATH"
        ) from error
    if not hasattr(found, name):
        raise UsageError(f"{path}: the module {module} has no {name}")


def _own_paths(name: str) -> list[str]:
    """The paths of the classes of the engine and the projects that have this name."""
    owners = tuple(f"{owner}." for owner in (ENGINE, *load_projects()))
    modules = [(path, module) for path, module in list(sys.modules.items()) if f"{path}.".startswith(owners)]
    classes = [(path, vars(module).get(name)) for path, module in modules]
    return [path_of(cls) for path, cls in classes if isinstance(cls, type) and cls.__module__ == path]
