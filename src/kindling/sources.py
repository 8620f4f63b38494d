"""Where the values of a config stand: in files and on the command line."""

from collections.abc import Iterable
from typing import Any

Source = tuple[str, dict[str, Any]]  # the file, or "command line", and the values in it


class Flags(dict[str, Any]):
    """Values that come from flags: a class's arguments stand beside its name, not under `init_args`."""


def flags_as_values(flags: list[str]) -> dict[str, Any]:
    """Nest flags as a config file would: `--model.width 16` → {"model": {"width": "16"}}."""
    values: dict[str, Any] = Flags()
    for position, flag in enumerate(flags):
        if not flag.startswith("--"):
            continue
        key, equals, value = flag[2:].partition("=")
        if not equals:
            value = next(iter(flags[position + 1 : position + 2]), "")
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = Flags({part: nested})
        merge(values, nested)
    return values


def locate(name: str, sources: list[Source]) -> str:
    """`file: group.` where the argument `name` was set last; empty if no source sets it."""
    for origin, values in reversed(sources):
        for path in _paths(values):
            keys = [key for key in path if key != "init_args"]
            if keys[-1] == name:
                return f"{origin}: {'.'.join(keys[:-1])}{'.' if keys[:-1] else ''}"
    return ""


def has_null(sources: list[Source]) -> bool:
    """Whether a source says null anywhere."""
    found = [dict(values) for _, values in sources]
    while found:
        for value in found.pop().values():
            if value in (None, "null"):
                return True
            if isinstance(value, dict):
                found.append(value)
    return False


def _paths(values: dict[str, Any]) -> Iterable[list[str]]:
    for key, value in values.items():
        yield [str(key)]
        if isinstance(value, dict):
            yield from ([str(key), *path] for path in _paths(value))


def merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """Put values over those that are there, as the parser does."""
    for key, value in values.items():
        if isinstance(into.get(key), str) and isinstance(value, dict):  # `--model MLP --model.dropout 0.1`
            into[key] = type(into)(class_path=into[key])
        if isinstance(into.get(key), dict) and isinstance(value, str) and "class_path" in into[key]:
            value = type(into)(class_path=value)
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = type(value)(value) if isinstance(value, dict) else value
