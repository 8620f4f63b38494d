"""Finds what is wrong in a config that the parser refused, and says it in one sentence.

The parser's own messages nest every union and class they tried. This walks the same values along the same signatures
and stops at the first key, class or value that does not belong.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import isabstract
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from kindling.sources import Flags, Source, merge

FROM_CODE = {"input_shape", "optimizer"}  # required arguments that no user gives


def explain(parser: ArgumentParser, sources: list[Source], message: str = "") -> str:
    """One sentence for the first problem in `sources`, which are in rising priority; else the parser's `message`."""
    options = _options(parser)
    known: dict[str, Any] = {}
    for origin, values in sources:
        problem = _problem(options, values, "", known)
        if problem:
            return f"{origin}: {problem}"
        merge(known, values)
    return " ".join(message.split())


def _options(parser: ArgumentParser) -> dict[str, Any]:
    """The parser's options as a tree of key → type."""
    tree: dict[str, Any] = {}
    for action in parser._actions:
        if action.dest in ("help", "config", "print_config") or action.dest.endswith(".help"):
            continue
        *groups, leaf = action.dest.split(".")
        branch = tree
        for group in groups:
            if not isinstance(branch.get(group), dict):
                branch[group] = {}
            branch = branch[group]
        branch.setdefault(leaf, getattr(action, "_typehint", None) or action.type)
    return tree


def _problem(options: dict[str, Any], values: dict[str, Any], prefix: str, known: dict[str, Any]) -> str | None:
    for key, value in values.items():
        name, key = f"{prefix}{key}", str(key).rstrip("+")
        if key not in options:
            return f"unknown key {name}{_near(key, options, prefix)}"
        found = _value_problem(options[key], value, name, known.get(key))
        if found:
            return found
    return None


def _value_problem(kind: Any, value: Any, name: str, known: Any) -> str | None:
    if isinstance(kind, dict):
        if isinstance(value, dict):
            return _problem(kind, value, f"{name}.", known if isinstance(known, dict) else {})
        return f"{name} is {value!r}: expected keys below it, such as {', '.join(list(kind)[:3])}"
    value = None if value == "null" else value
    if value is None and kind in (int, float, str, bool):  # the parser takes null for a value left out
        return f"{name} is null: expected {_say(kind)}"
    bases, positional = _class_bases(kind)
    if bases and isinstance(value, dict | str):
        return _class_problem(bases, positional, value, name, known)
    for item in [part for part in get_args(kind) if get_origin(part) is list and _class_bases(get_args(part)[0])[0]]:
        if isinstance(value, str | list | dict):  # a list of classes, such as trainer.callbacks
            found = (_value_problem(get_args(item)[0], part, name, None) for part in _as_list(value))
            return next(filter(None, found), None)
    if kind is not None and not _accepts(kind, value):
        return f"{name} is {value!r}: expected {_say(kind)}"
    return None


def _class_problem(bases: list[type], positional: int, value: Any, name: str, known: Any) -> str | None:
    """Check a class given by name, and its arguments in `init_args` (YAML) or beside it (flags)."""
    value = value if isinstance(value, dict) else {"class_path": value}
    known = known if isinstance(known, dict) else {"class_path": known}
    class_name = value.get("class_path", known.get("class_path"))
    found = {cls for base in bases for cls in _subclasses(base)}
    classes = {cls.__name__: cls for cls in found}
    if class_name is None:
        return f"{name} has no default: name one first, such as --{name} {min(classes, default='')}" if value else None
    chosen = classes.get(str(class_name).rpartition(".")[2])
    if chosen is None:
        return f"{name} is {class_name!r}, which is no {bases[0].__name__} here{_near(str(class_name), classes)}"
    twins = sorted(f"{cls.__module__}.{cls.__name__}" for cls in found if cls.__name__ == class_name)
    if len(twins) > 1:
        return f"{name} is {class_name!r}, which names two classes: give {' or '.join(twins)}"
    beside = [key for key in value if key not in ("class_path", "init_args", "dict_kwargs")]
    if beside and "class_path" in value and not isinstance(value, Flags):
        return f"{name}.{beside[0]} stands beside class_path: put it under init_args"
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(chosen, skip={positional} if positional else set(), fail_untyped=False)
    arguments = {**value, **(value.get("init_args") or {})}
    for key in ("class_path", "init_args", "dict_kwargs"):
        arguments.pop(key, None)
    defaults = parser.get_defaults().as_dict()
    known = {**defaults, **known, **(known.get("init_args") or {})}
    problem = _problem(_options(parser), arguments, f"{name}.", known)
    required = {action.dest for action in parser._actions if action.required} - FROM_CODE
    missing = sorted(required - set(arguments) - {key for key, given in known.items() if given is not None})
    return problem or (
        f"{name} is {class_name}, which needs {missing[0]}: set {name}.{missing[0]}" if missing else None
    )


def _class_bases(kind: Any) -> tuple[list[type], int]:
    """The classes that a type lets one choose from, and how many of their arguments are filled in by the code."""
    if isinstance(kind, type) and not get_origin(kind):
        return ([], 0) if kind.__module__ == "builtins" else ([kind], 0)
    if get_origin(kind) in (Union, UnionType):
        parts = [_class_bases(part) for part in get_args(kind) if part is not type(None)]
        return ([base for bases, _ in parts for base in bases], parts[0][1]) if all(b for b, _ in parts) else ([], 0)
    if "Callable" in str(get_origin(kind)) and get_args(kind):
        inputs, result = get_args(kind)
        return _class_bases(result)[0], len(inputs) if isinstance(inputs, list) else 0
    return [], 0


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _subclasses(base: type[Any]) -> Iterable[type]:
    for cls in base.__subclasses__():
        if not isabstract(cls) and not cls.__name__.startswith("_"):
            yield cls
        yield from _subclasses(cls)


def _accepts(kind: Any, value: Any) -> bool:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        parser.parse_object({"value": value})
    except Exception:
        return False
    return True


def _near(word: str, known: Iterable[str], prefix: str = "") -> str:
    known = list(known)
    lower = {name.lower(): name for name in known}
    near = [prefix + lower[match] for match in get_close_matches(word.lower(), lower, n=3, cutoff=0.5)]
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f": expected one of {', '.join(sorted(prefix + name for name in known))}" if len(known) <= 20 else ""


def _say(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(_say(part) for part in get_args(kind)))
    if get_origin(kind) is Literal:
        return " or ".join(dict.fromkeys(map(str, get_args(kind))))
    if kind is type(None):
        return "null"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
