"""Finds what is wrong in a config that the parser refused, and says it in one sentence.

The parser's own messages nest every union and class they tried. This takes the same settings one by one and stops at
the first key, class or value that does not belong.
"""

from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from itertools import accumulate
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from kindling.core.parts import bases_of, class_path_of, classes_of, preferred
from kindling.core.settings import Setting

PLAIN = (int, float, str, bool)
FROM_CODE = "input_shape"  # a required argument that no user gives


def explain(parser: ArgumentParser, settings: list[Setting], message: str = "") -> str:
    """One sentence for the first problem in `settings`, which are in rising priority; else the parser's `message`.

    Without a message it names only what the parser lets pass.
    """
    options = Options(parser)
    for origin, key, value in settings:
        problem = options.problem(key, value)
        if problem and (message or options.kinds.get(key) in (None, *PLAIN)):
            return f"{origin}: {problem}"
    given = {key for _, key, _ in settings}
    for origin, key, value in settings if message else []:
        missing = sorted(options.required(key) - given)
        if missing:
            return f"{origin}: {key} is {class_path_of(value)}, which needs {_last(missing[0])}: set {missing[0]}"
    return " ".join(message.split())


class Options:
    """What can be set: the parser's options and, below a key that names a class, the arguments of the class."""

    def __init__(self, parser: ArgumentParser) -> None:
        self.parsers = {"": parser}

    @property
    def kinds(self) -> dict[str, Any]:
        """The type of each key; None if it has keys below it instead."""
        found = {}
        for key, parser in self.parsers.items():
            for action in parser._actions:
                if action.dest not in ("config", "print_config") and _last(action.dest) != "help":
                    found[f"{key}.{action.dest}".lstrip(".")] = getattr(action, "_typehint", None) or action.type
        return found

    def required(self, key: str) -> set[str]:
        actions = self.parsers[key]._actions if key in self.parsers else []
        return {f"{key}.{action.dest}" for action in actions if action.required and action.dest != FROM_CODE}

    def problem(self, name: str, value: Any) -> str | None:
        """What is wrong with a setting, if anything; a class that it names adds its arguments to the options."""
        key, kinds = name.rstrip("+"), self.kinds
        for part in accumulate(key.split("."), "{}.{}".format):
            if part not in kinds:
                return self._unknown(part)
        kind, value = kinds[key], None if value == "null" else value
        if bases_of(kind) and isinstance(value, str | list | dict):
            problems = (self._class_problem(name, item) for item in (value if isinstance(value, list) else [value]))
            return next(filter(None, problems), None)
        if kind is None:
            right = isinstance(value, dict)
            expected = "keys below it, such as " + ", ".join(map(_last, self._below(key)[:3]))
        else:  # the parser takes null for a value left out
            right = not (value is None and kind in PLAIN) and _accepts(kind, value)
            expected = _say(kind)
        return None if right else f"{name} is {'null' if value is None else repr(value)}: expected {expected}"

    def _below(self, parent: str) -> list[str]:
        return [key for key in self.kinds if key.rpartition(".")[0] == parent]

    def _unknown(self, key: str) -> str | None:
        parent = key.rpartition(".")[0]
        kind = self.kinds.get(parent)
        if kind in (None, *PLAIN) or parent in self.parsers:
            return f"unknown key {key}{_near(key, self._below(parent))}"
        if not bases_of(kind):  # it takes more than classes; only the parser knows
            return None
        return f"{parent} has no default: name one first, such as --{parent} {min(map(_last, classes_of(kind)))}"

    def _class_problem(self, name: str, value: Any) -> str | None:
        key, path = name.rstrip("+"), class_path_of(value)
        if path is None:
            return None
        kind = self.kinds[key]
        classes = classes_of(kind)
        found = [path] if path in classes else preferred([known for known in classes if _last(known) == _last(path)])
        if not found:
            return (
                f"{name} is {path!r}, which is no {bases_of(kind)[0].__name__} here{_near(path, map(_last, classes))}"
            )
        for beside in set(value) - {"class_path", "init_args", "dict_kwargs"} if isinstance(value, dict) else ():
            return f"{name}.{beside} stands beside class_path: put it under init_args"
        parser = self.parsers[key] = ArgumentParser(exit_on_error=False)
        by_code = {1} if "Callable[" in str(kind) else set()  # the weights or the optimiser
        parser.add_class_arguments(classes[found[0]], skip=by_code, fail_untyped=False)
        for action in parser._actions:
            inner = f"{key}.{action.dest}"
            if inner not in self.parsers and isinstance(action.default, dict) and bases_of(self.kinds[inner]):
                self._class_problem(inner, action.default)
        return None


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _accepts(kind: Any, value: Any) -> bool:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    with suppress(Exception):
        parser.parse_object({"value": value})
        return True
    return False


def _near(word: str, known: Iterable[str]) -> str:
    known = sorted(set(known))
    lower = {_last(name).lower(): name for name in known}
    near = [lower[match] for match in get_close_matches(_last(word).lower(), lower, n=3, cutoff=0.6)]
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f": expected one of {', '.join(known)}" if 0 < len(known) <= 20 else ""


def _say(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType, Literal):
        return " or ".join(dict.fromkeys(map(_say, get_args(kind))))
    if kind is NoneType:
        return "null"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")
