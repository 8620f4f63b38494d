"""Lets a checkpoint or a run name only known parts, as it can come from anyone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import BuiltinFunctionType, FunctionType, ModuleType

from jsonargparse import _common, set_parsing_settings
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.overrides import get_overridable_functions

from kindling.core.parts import ENGINE, LIBRARIES, imported, load_projects

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
# Modules whose functions a run may name, besides those of the projects and torch's operations on tensors.
FUNCTIONS = ("torch.nn.init", "torchmetrics.functional", "kindling.data", "kindling.models", "kindling.tasks")

TRANSFORMS = "torchvision.transforms.v2"  # what `transforms` of data names

# For configs, too: none can name os.system, eval and the like, or have a class built where any value would do.
set_parsing_settings(import_path_denylist=[], instantiate_subclass_spec_in_any=False)


def is_trusted(path: str) -> bool:
    """Whether a checkpoint may name this: a part of models or a function of torch.nn.functional, if it is imported."""
    named = imported(path)
    if isinstance(named, type):
        return issubclass(named, nn.Module | Optimizer | LRScheduler)
    return callable(named) and any(named is function for function in vars(nn.functional).values())


def is_trusted_of_run(path: str) -> bool:
    """Whether a run's config may name this: a class or a function of a known package that is imported.

    Of functions, only operations on tensors and what projects define: none that loads a file or starts a program.
    """
    if path.startswith(f"{TRANSFORMS}."):  # importing it takes seconds, so the engine does so nowhere else
        import_module(TRANSFORMS)
    named = imported(path)
    if isinstance(named, type):
        return _is_below(named.__module__, (ENGINE, *load_projects(), *LIBRARIES))
    if is_trusted(path) or path in _operations():
        return True
    return isinstance(named, FunctionType) and _is_below(named.__module__, (*load_projects(), *FUNCTIONS))


def _is_below(module: str, packages: tuple[str, ...]) -> bool:
    return f"{module}.".startswith(tuple(f"{package}." for package in packages))


@cache
def _operations() -> set[str]:
    """The paths of torch's operations on tensors, both as torch lists them and as they are defined."""
    paths = set()
    for module, functions in get_overridable_functions().items():
        for function in functions:
            if isinstance(module, ModuleType) and isinstance(function, FunctionType | BuiltinFunctionType):
                paths |= {f"{module.__name__}.{function.__name__}", f"{function.__module__}.{function.__qualname__}"}
    return paths


@contextmanager
def imported_parts(may_be_named: Callable[[str], bool] = is_trusted) -> Iterator[None]:
    """Let the parser look up only what `may_be_named` says yes to, inside the `with`.

    The parser's public lists of allowed and denied paths can't be undone, and allow everything below a path.
    """
    others = _common.parsing_settings["import_path_verdicts"]
    _common.parsing_settings["import_path_verdicts"] = VerdictOnEveryPath(may_be_named)
    try:
        yield
    finally:
        _common.parsing_settings["import_path_verdicts"] = others


class VerdictOnEveryPath(dict[str, bool]):
    """What the parser asks whether a path may be named: unlike its own dict, this one has an answer for every path."""

    def __init__(self, may_be_named: Callable[[str], bool]) -> None:
        super().__init__()
        self.may_be_named = may_be_named

    def __contains__(self, path: object) -> bool:
        return True

    def __getitem__(self, path: str) -> bool:
        return self.may_be_named(path)
