"""Settings as the command line names them: `model.optimizer.lr`."""

from collections.abc import Iterator
from types import NoneType
from typing import Any

Setting = tuple[str, str, Any]  # a config file or "command line", the key as flags name it, and the value
COMMAND_LINE = "command line"  # the source of a setting that is a flag


def settings_in(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values, outer ones first: `{model: {class_path: MLP, init_args: {dropout: 0}}}` has `model.dropout`."""
    if key:
        yield key, value
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and "class_path" in item:
                yield from settings_in(item, key)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name == "init_args":
                yield from settings_in(inner, key)
            elif name not in ("class_path", "dict_kwargs"):
                yield from settings_in(inner, f"{key}.{name}" if key else str(name))


def flatten(values: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as `model.optimizer.lr`; a class by its name, and null left out."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from flatten(value, prefix if name in ("init_args", "dict_kwargs") else f"{key}.")
        elif name == "class_path":
            yield prefix.rstrip("."), value.rpartition(".")[2]
        elif value is not None:
            yield key, value if isinstance(value, bool | int | float | str) else str(value)


def misnamed_in(key: str, value: Any) -> str | None:
    """What is wrong with a nested value that is meant to name a class, if anything is."""
    if isinstance(value, list):
        return next(filter(None, (misnamed_in(key, item) for item in value)), None)
    if not isinstance(value, dict):
        return None
    path, arguments = value.get("class_path", ""), value.get("init_args", {})
    if not isinstance(path, str):
        return f"{key}.class_path is {path!r}: expected the name of a class"
    if not isinstance(arguments, dict | NoneType):
        return f"{key}.init_args is {arguments!r}: expected the arguments of the class by name"
    names = {"init_args": key, "dict_kwargs": key}
    return next(filter(None, (misnamed_in(names.get(name, f"{key}.{name}"), value[name]) for name in value)), None)
