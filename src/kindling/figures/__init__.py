"""Figures of how a model does on a split: one per file, whose `draw` gives None for results that it can't show.

A task names the figures that suit it: by the name of a module here, or by the path of one elsewhere.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException

OTHERS = ("callback", "results", "study", "written_text")  # modules here that are not figures
OF_THE_WORST = ("worst_images", "worst_masks")  # drawn from the samples that went worst, not from a whole split


def check_names(names: tuple[str, ...], owner: str) -> None:
    """Check that there is a module for each, without importing it: seaborn and scikit-learn take a second.

    Raises:
        MisconfigurationException: if there is none for a name.
    """
    for name in names:
        if not _exists(_path(name)):
            there = ", ".join(module.name for module in iter_modules(__path__) if module.name not in OTHERS)
            raise MisconfigurationException(
                f"{owner} names the figure {name!r}: expected {there}, or the path of a module that has a function draw"
            )


def drawing(name: str) -> Callable[[Any], Any]:
    """The function that draws a figure."""
    return import_module(_path(name)).draw


def _path(name: str) -> str:
    return name if "." in name else f"{__name__}.{name}"


def _exists(path: str) -> bool:
    try:
        return find_spec(path) is not None
    except ModuleNotFoundError:  # raised for a missing package that it would be in
        return False
