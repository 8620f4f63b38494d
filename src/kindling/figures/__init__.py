"""Figures of how a model does on a split: one a file, with a `draw` that gives None for results that it is not for."""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

FIGURES: dict[str, Callable[[Any], Any]] = {
    module.name: import_module(f"{__name__}.{module.name}").draw
    for module in iter_modules(__path__)
    if module.name not in ("callback", "results")
}
