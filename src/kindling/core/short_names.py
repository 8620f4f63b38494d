"""Lets a short name mean one class where several have it: see `parts.preferred`.

`ReduceLROnPlateau` is torch's, Lightning's and ours: the parser would refuse the name as ambiguous.
"""

from functools import wraps
from typing import Any

from jsonargparse import _typehints

from kindling.core.parts import ANY_MODULE, bases_of, imported, is_loss, path_of, preferred

_all_paths = _typehints.get_all_subclass_paths


@wraps(_all_paths)
def _paths(cls: Any, *args: Any, **kwargs: Any) -> list[str]:
    paths = _all_paths(cls, *args, **kwargs)
    if ANY_MODULE in map(path_of, bases_of(cls)):
        paths = [path for path in paths if is_loss(imported(path))]
    return preferred(paths)


def install() -> None:
    """Change how the parser resolves names, in this process."""
    _typehints.get_all_subclass_paths = _paths
