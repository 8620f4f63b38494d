"""Settings as the command line names them: `model.optimizer.lr`."""

from collections.abc import Iterator
from typing import Any

Setting = tuple[str, str, Any]  # a config file or "command line", the key as flags name it, and the value


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
            below = f"{key}.{name}" if key else str(name)
            if name not in ("class_path", "dict_kwargs"):
                yield from settings_in(inner, key if name == "init_args" else below)


def flatten(values: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as `model.optimizer.lr`; a class by its name, and null left out."""
    for key, value in values.items():
        name = prefix.rstrip(".") if key == "class_path" else f"{prefix}{key}"
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from flatten(value, prefix if key in ("init_args", "dict_kwargs") else f"{name}.")
        elif key == "class_path":
            yield name, value.rpartition(".")[2]
        elif value is not None:
            yield name, value if isinstance(value, bool | int | float | str) else str(value)
