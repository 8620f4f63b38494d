"""Lets a short name mean Kindling's own class where a library has one of the same name.

`ReduceLROnPlateau` is torch's, Lightning's and ours: the parser would refuse the name as ambiguous.
"""

from collections.abc import Iterable
from typing import Any

from jsonargparse import _typehints

_all_paths = _typehints.get_all_subclass_paths


def ours_first(paths: Iterable[str]) -> list[str]:
    """Import paths of classes, sorted, without those whose name a class of this package has too."""
    ours = {path.rpartition(".")[2]: path for path in paths if path.startswith("kindling.")}
    return sorted({ours.get(path.rpartition(".")[2], path) for path in paths})


def _paths(*args: Any, **kwargs: Any) -> list[str]:
    return ours_first(_all_paths(*args, **kwargs))


def install() -> None:
    """Change how the parser resolves names, in this process."""
    _typehints.get_all_subclass_paths = _paths
