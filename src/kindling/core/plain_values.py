"""Turns what was built in Python into the plain values that YAML would hold."""

import inspect
from functools import partial
from typing import Any

from torch import Tensor, nn

from kindling.core.parts import path_of


def plain(name: str, value: Any) -> Any:
    """The value as YAML would hold it: a class or a part by its path and arguments. Raises a ValueError if it can't."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, dict):
        return {key: plain(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(name, item) for item in value)
    if isinstance(value, type):
        return {"class_path": path_of(value)}
    if isinstance(value, partial):  # the command line's partials have the class among their arguments
        cls = next(part for part in (value.func, *value.args) if isinstance(part, type))
        return {"class_path": path_of(cls), "init_args": plain(name, dict(value.keywords))}
    if isinstance(value, nn.Module):  # a task or a loss
        return {"class_path": path_of(type(value)), "init_args": _arguments(value)}
    if callable(value):
        raise ValueError(f"{name} is a function: give a class or a functools.partial of one")
    raise ValueError(f"{name} is {value!r}: a checkpoint keeps plain numbers, strings and lists of them")


def _arguments(part: nn.Module) -> dict[str, Any]:
    """The constructor's arguments, from the attributes of the same names."""
    named: set[str] = set()
    for cls in type(part).__mro__:
        parameters = inspect.signature(cls).parameters.values()
        named |= {each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):  # which go on to the parent
            break
    for name in named - {"size_average", "reduce"}:  # deprecated in torch
        if not hasattr(part, name):
            raise ValueError(f"{type(part).__name__} must keep its argument {name} as self.{name}")
    values = {name: getattr(part, name) for name in sorted(named) if hasattr(part, name)}
    return {name: plain(name, value) for name, value in values.items() if not isinstance(value, Tensor)}
