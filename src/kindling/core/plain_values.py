"""Turns what was built in Python into the plain values that YAML would hold."""

import inspect
from functools import partial
from inspect import Parameter
from typing import Any

from torch import Tensor, nn

from kindling.core.parts import path_of

DEPRECATED = {"size_average", "reduce"}  # arguments of torch's losses, which it does not keep


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
    if isinstance(value, partial):  # in one of the command line, the class is among the arguments
        cls = next(each for each in (value.func, *value.args) if isinstance(each, type))
        return {"class_path": path_of(cls), "init_args": plain(name, dict(value.keywords))}
    if isinstance(value, nn.Module):  # a task or a loss
        return {"class_path": path_of(type(value)), "init_args": _arguments(value)}
    if callable(value):
        raise ValueError(f"{name} is a function: give a class or a functools.partial of one")
    raise ValueError(f"{name} is {value!r}: a checkpoint keeps plain numbers, strings and lists of them")


def _arguments(part: nn.Module) -> dict[str, Any]:
    """The constructor's arguments, from the attributes of the same names."""
    values = {}
    for name in sorted(_argument_names(type(part))):
        if not hasattr(part, name):
            if name in DEPRECATED:
                continue
            raise ValueError(f"{type(part).__name__} must keep its argument {name} as self.{name}")
        value = getattr(part, name)
        if not isinstance(value, Tensor):  # such as the weights of the classes, which the task sets
            values[name] = plain(name, value)
    return values


def _argument_names(cls: type) -> set[str]:
    """The names of the constructor's arguments, including those that it hands on to its parent by **kwargs."""
    names: set[str] = set()
    for each in cls.__mro__:
        parameters = inspect.signature(each).parameters.values()
        names |= {parameter.name for parameter in parameters if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD}
        hands_on = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
        if not hands_on:
            break
    return names
