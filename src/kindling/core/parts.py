"""The parts that a config can name: where they are found, and whose short name wins.

A part is a class: a model, a datamodule, a task, a loss, an optimiser, a schedule, a callback, a metric. The engine
finds those of the installed projects by their entry points, such as this one in `pyproject.toml`:

    [project.entry-points."kindling.projects"]
    my_project = "my_project"
"""

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from itertools import chain
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from kindling.core.errors import UsageError

GROUP = "kindling.projects"
ENGINE = "kindling"
LIBRARIES = ("lightning", "pytorch_lightning", "torch", "torchmetrics", "torchvision")  # whose classes a run may name
TEMPLATE = Path(__file__).parents[1] / "template"  # a project to begin with, in the engine's wheel alone
ANY_MODULE = "torch.nn.modules.module.Module"


@cache
def load_projects() -> tuple[str, ...]:
    """Import every module of the installed projects, and return the projects' names, this folder's first.

    A project whose package is gone, after a renaming or a move, is skipped with a warning. Where none is installed,
    the examples in the engine's wheel are one.
    """
    found: dict[str, bool] = {}
    for point in dict.fromkeys(entry_points(group=GROUP) or _examples()):
        try:
            package = import_module(point.value)
        except ModuleNotFoundError as error:
            if not f"{point.value}.".startswith(f"{error.name}."):
                raise  # the package is there, but something it imports is not
            print(f"warning: {_gone(point)}", file=sys.stderr)
            continue
        for module in _modules_of(package):
            import_module(module)
        found[point.value] = in_this_folder(point.value)
    return tuple(sorted(found, key=lambda name: not found[name]))


def _examples() -> list[EntryPoint]:
    """The project that the engine's wheel brings, for where none is installed."""
    source = TEMPLATE / "src"
    if not source.is_dir():
        return []
    sys.path.append(str(source))
    return [EntryPoint(path.parent.name, path.parent.name, GROUP) for path in source.glob("*/__init__.py")]


def _modules_of(package: ModuleType) -> list[str]:
    """The modules of a package, including those in folders without an `__init__.py`, in the order of their names."""
    folders = [Path(folder) for folder in getattr(package, "__path__", [])]  # none if the project is a single file
    files = [(folder, file) for folder in folders for file in folder.rglob("*.py")]
    names = {".".join((package.__name__, *file.relative_to(folder).with_suffix("").parts)) for folder, file in files}
    return sorted(name for name in names if not name.endswith(("__init__", "__main__")))


def _gone(point: EntryPoint) -> str:
    owner = point.dist.name if point.dist else point.value
    return (
        f"the project {point.value} is installed, but its package is gone: pip install --no-deps -e . in the "
        f"project's folder installs it again, and pip uninstall {owner} removes it"
    )


def classes_of(kind: Any) -> dict[str, type]:
    """The classes that can be built for a type, by their paths."""
    found: dict[str, type] = {}
    for cls in chain.from_iterable(base.__subclasses__() for base in bases_of(kind)):
        if not isabstract(cls) and not cls.__name__.startswith("_"):
            found[path_of(cls)] = cls
        found |= classes_of(cls)
    return found


def choices_of(kind: Any) -> dict[str, type]:
    """The classes that a user can mean by a short name, by their paths."""
    classes = classes_of(kind)
    return {path: classes[path] for path in choices_among(classes, kind)}


def choices_among(paths: Iterable[str], kind: Any) -> list[str]:
    """The paths that a user can mean for a type; for any `nn.Module`, those of losses, which have no public base.

    A loss is a class whose name ends in `Loss`, or one in a folder `losses`.
    """
    if ANY_MODULE not in map(path_of, bases_of(kind)):
        return list(paths)
    return [path for path in paths if short_name(path).endswith("Loss") or ".losses." in path]


def bases_of(kind: Any) -> list[type[Any]]:
    """The classes whose subclasses a type, or a list or a Callable of it, takes; none if it takes other values too."""
    if get_origin(kind) in (Union, UnionType, list, Callable):  # the inputs of a Callable are a list
        parts = [bases_of(part) for part in get_args(kind) if part is not NoneType and not isinstance(part, list)]
        return list(chain.from_iterable(parts)) if all(parts) else []
    plain = ("builtins", "torch")  # a Tensor is not a part
    return [kind] if isinstance(kind, type) and not get_args(kind) and kind.__module__ not in plain else []


def preferred(paths: Iterable[str]) -> list[str]:
    """Paths of classes, sorted, without those whose short name also belongs to an owner of higher rank.

    This folder's project comes first, then other projects, then the engine, then libraries. Several of the same
    rank are all kept: such a name has to be given by its path.
    """
    ranked: dict[str, dict[int, set[str]]] = {}
    for path in paths:
        ranked.setdefault(short_name(path), {}).setdefault(_rank(path), set()).add(path)
    return sorted(chain.from_iterable(by_rank[min(by_rank)] for by_rank in ranked.values()))


def _rank(path: str) -> int:
    owner = path.partition(".")[0]
    if owner in load_projects():
        return 0 if in_this_folder(owner) else 1
    return 2 if owner == ENGINE else 3


def in_this_folder(project: str) -> bool:
    module = sys.modules[project]
    places = getattr(module, "__path__", [module.__file__])
    return any(Path.cwd() in Path(place).resolve().parents for place in places)


def find_class(base: type, name: str) -> type | None:
    """The class that a short name or a path means, if it is imported; None if there is none.

    A path that is gone, as after a renaming, is resolved by its last word.

    Raises:
        UsageError: if several classes of equal rank have this name.
    """
    classes = classes_of(base)
    paths = paths_meant(name, classes)
    if len(paths) > 1:
        raise UsageError(f"{short_name(name)} is the name of several classes: give a path, {' or '.join(paths)}")
    return classes[paths[0]] if paths else None


def paths_meant(name: str, classes: Iterable[str]) -> list[str]:
    """Which of some classes a short name or a path means; several if they are of equal rank."""
    named = imported(name)
    path = path_of(named) if isinstance(named, type) else name  # the class's own, where a package exports it again
    if path in classes:
        return [path]
    return preferred(each for each in classes if short_name(each) == short_name(name))


def path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def short_name(path: str) -> str:
    return path.rpartition(".")[2]


def class_path_of(value: Any) -> str | None:
    """The class that a setting names: `MLP`, or `{class_path: MLP, init_args: …}`."""
    return str(value) if not isinstance(value, dict) else value.get("class_path")


def imported(path: str) -> Any:
    """What a path names, if its module is imported; else None."""
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def parameter_of(cls: type, name: str) -> inspect.Parameter | None:
    """A parameter of a constructor, or of a parent's that it may pass arguments on to; None if none has that name."""
    signatures = [inspect.signature(each).parameters for each in cls.__mro__]
    return next((signature[name] for signature in signatures if name in signature), None)
