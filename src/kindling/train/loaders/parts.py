"""Finds what an object holds, at any depth."""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from types import MethodType
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor, nn

OBJECTS = 2000  # the most that are looked at in all
ITEMS = 20  # of each list, tuple, set or dict
LEAVES = (str, bytes, int, float, type, Tensor, np.ndarray, nn.Module, L.Trainer)  # not looked into


def parts_of(*roots: Any, without: Any = None) -> Iterator[Any]:
    """Objects, and what they hold in attributes, lists, tuples, sets and dicts: each once, within the limits above.

    Args:
        *roots: the objects to begin with.
        without: an object that is left out, with all that only it holds.
    """
    queue, seen = deque(roots), {id(without)}
    while queue and len(seen) < OBJECTS:
        part = queue.popleft()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        queue.extend(_inside(part))


def _inside(part: Any) -> Iterable[Any]:
    if part is None or isinstance(part, LEAVES):
        return ()
    if isinstance(part, MethodType):
        return (part.__self__,)
    if isinstance(part, partial):
        return (part.func, *part.args, *part.keywords.values())
    if isinstance(part, dict):
        return islice(part.values(), ITEMS)
    if isinstance(part, list | tuple | set | deque):
        return islice(part, ITEMS)
    return tuple(getattr(part, "__dict__", {}).values())
