"""Lets a short name mean one class where several have it: see `parts.preferred`.

`ReduceLROnPlateau` is torch's, Lightning's and ours: the parser would refuse the name as ambiguous.
"""

from functools import wraps
from typing import Any

from jsonargparse import _typehints

from kindling.core.parts import choices_among, preferred

_all_paths = _typehints.get_all_subclass_paths


@wraps(_all_paths)
def _paths(cls: Any, *args: Any, **kwargs: Any) -> list[str]:
    return preferred(choices_among(_all_paths(cls, *args, **kwargs), cls))


def install() -> None:
    """Change how the parser resolves names, in this process."""
    _typehints.get_all_subclass_paths = _paths
