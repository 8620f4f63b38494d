"""Finds what is wrong in a config that the parser refused, and says it in one sentence.

The parser's own messages nest every union and class they tried. This takes the same settings one by one and stops at
the first key, class or value that does not belong.
"""

import re
from argparse import Action
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from kindling.core.parts import bases_of, choices_of, class_path_of, paths_meant, short_name
from kindling.core.settings import Setting

PLAIN = (int, float, str, bool)
FEW = 3  # the most places that are suggested for a misplaced key
CLASS_KEYS = {"class_path", "init_args", "dict_kwargs"}  # of a dict that names a class


def explain(parser: ArgumentParser, settings: list[Setting], message: str = "") -> str:
    """One sentence for the first problem in `settings`, which are in rising priority; else the parser's `message`.

    Without a message it reports only what the parser lets pass.
    """
    options = Options(parser)
    for _, key, value in settings if message else []:
        options.problem(key, value, is_parsed=True)  # learns what each class takes: a key may come before its class
    for origin, key, value in settings:
        problem = options.problem(key, value, is_parsed=not message)
        slips_through = options.types.get(key) in (None, *PLAIN)
        if problem and (message or slips_through):
            return f"{origin}: {problem}"
    if not message:
        return ""
    for origin, key, value in settings:
        if value is None and message.endswith(f"required: {key}"):
            return f"{origin}: {key} is empty: expected the name of a class"
    given = {key for _, key, _ in settings}
    for origin, key, value in settings:
        if missing := options.required(key) - given:
            argument = min(missing)
            return f"{origin}: {key} is {class_path_of(value)}, which needs {short_name(argument)}: set {argument}"
    return " ".join(message.split())


class Options:
    """What can be set: the parser's options and, below a key that names a class, the arguments of the class."""

    def __init__(self, parser: ArgumentParser) -> None:
        self.parsers = {"": parser}  # by the key that they are below
        self.classes: dict[str, type] = {}  # by the key that names them

    @cached_property
    def types(self) -> dict[str, Any]:
        """The type of each key; None if it has keys below it instead. A class that is named adds to them."""
        types = {}
        for above, parser in self.parsers.items():
            for action in _actions(parser):
                types[f"{above}.{action.dest}".lstrip(".")] = getattr(action, "_typehint", None) or action.type
        return types

    def required(self, key: str) -> set[str]:
        """The arguments that a user has to give to the class at a key."""
        from_data = getattr(self.classes.get(key), "from_data", ())
        actions = _actions(self.parsers[key]) if key in self.parsers else []
        return {f"{key}.{action.dest}" for action in actions if action.required and action.dest not in from_data}

    def problem(self, name: str, value: Any, is_parsed: bool = False) -> str | None:
        """What is wrong with a setting, if anything; the arguments of a class that it names become options.

        Of a value that the parser has let pass, only what it does not look at is wrong.
        """
        key = name.rstrip("+")  # `callbacks+` adds to the list `callbacks`
        types = self.types
        if key.endswith(".help") and bases_of(types.get(helped := key.removesuffix(".help"))):
            return self.problem(helped, value)  # what `--model.help NAME` names is a model, or is none
        for each in _down_to(key):
            if each not in types:
                return self._unknown(each)
        value = None if value == "null" else value
        if types[key] is None:
            return self._problem_of_group(name, value)
        if bases_of(types[key]) and isinstance(value, str | list | dict):
            return self._problem_of_classes(name, value)
        if isinstance(value, str | dict) and self._note_class(key, value):
            return None
        is_left_out = value is None and types[key] in PLAIN  # which the parser lets pass
        if not is_left_out and (is_parsed or _accepts(types[key], value)):
            return None
        return f"{name} is {_written(value)}: expected {_in_words(types[key])}"

    def _unknown(self, key: str) -> str | None:
        above, _, word = key.rpartition(".")
        type_above = self.types.get(above)
        if type_above in (None, *PLAIN) or above in self.parsers:
            elsewhere = sorted(other for other in self.types if short_name(other) == word)
            if elsewhere and len(elsewhere) <= FEW:
                return f"unknown key {key}: did you mean {' or '.join(elsewhere)}?"
            return f"unknown key {key}{_suggestion(key, self._below(above))}"
        if not (classes := _classes_in(type_above)):  # only the parser knows what it takes
            return None
        example = min(short_name(path) for path in classes)
        if not bases_of(type_above):
            return f"{above} names no class that takes {word}: name one first, such as --{above} {example}"
        return f"{above} has no default: name one first, such as --{above} {example}"

    def _below(self, key: str) -> list[str]:
        return [each for each in self.types if each.rpartition(".")[0] == key]

    def _problem_of_group(self, name: str, value: Any) -> str | None:
        if isinstance(value, dict):
            return None
        examples = [short_name(key) for key in self._below(name.rstrip("+"))[:3]]
        return f"{name} is {_written(value)}: expected keys below it, such as {', '.join(examples)}"

    def _problem_of_classes(self, name: str, value: Any) -> str | None:
        for item in value if isinstance(value, list) else [value]:
            if problem := self._problem_of_class(name, item):
                return problem
        return None

    def _problem_of_class(self, name: str, value: Any) -> str | None:
        key, path = name.rstrip("+"), class_path_of(value)
        if path is None:
            return None
        type_ = self.types[key]
        classes = choices_of(type_)
        matches = paths_meant(path, classes)
        if not matches:
            base, suggestion = bases_of(type_)[0].__name__, _suggestion(path, map(short_name, classes))
            return f"{name} is {path!r}, which names no {base} here{suggestion}"
        if isinstance(value, dict) and (beside := set(value) - CLASS_KEYS):
            return f"{name}.{min(map(str, beside))} is beside class_path: put it under init_args"
        self._add_arguments(key, classes[matches[0]])
        return None

    def _note_class(self, key: str, value: Any) -> bool:
        """Make options of the arguments of a class, if one is named where other values would do as well."""
        classes, path = _classes_in(self.types[key]), class_path_of(value)
        matches = paths_meant(path, classes) if path and classes else []
        if matches:
            self._add_arguments(key, classes[matches[0]])
        return bool(matches)

    def _add_arguments(self, key: str, cls: type) -> None:
        """Make options of the arguments of the class at a key, and of those of its default parts."""
        first_comes_from_code = "Callable[" in str(self.types[key])  # the weights or the optimiser
        parser = self.parsers[key] = ArgumentParser(exit_on_error=False)
        self.classes[key] = cls
        self.__dict__.pop("types", None)
        with suppress(ValueError):  # an argument of a type that the parser can't take
            parser.add_class_arguments(cls, skip={1} if first_comes_from_code else set(), fail_untyped=False)
        for action in _actions(parser):
            below = f"{key}.{action.dest}"
            if below not in self.parsers and isinstance(action.default, dict) and bases_of(self.types[below]):
                self._problem_of_class(below, action.default)


def _actions(parser: ArgumentParser) -> list[Action]:
    """The options of a parser, without those that Kindling does not use."""
    unused = ("config", "print_config", "print_shtab")
    return [each for each in parser._actions if each.dest not in unused and short_name(each.dest) != "help"]


def _classes_in(type_: Any) -> dict[str, type]:
    """The classes that a type takes, perhaps among other values."""
    if get_origin(type_) in (Union, UnionType):
        return {path: cls for part in get_args(type_) for path, cls in _classes_in(part).items()}
    return choices_of(type_) if bases_of(type_) else {}


def _down_to(key: str) -> list[str]:
    """The keys from the top down to this one: model, model.optimizer, model.optimizer.lr."""
    words = key.split(".")
    return [".".join(words[:count]) for count in range(1, len(words) + 1)]


def _accepts(type_: Any, value: Any) -> bool:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=type_)
    with suppress(Exception):
        parser.parse_object({"value": value})
        return True
    return False


def _written(value: Any) -> str:
    return "null" if value is None else repr(value)


def _suggestion(word: str, names: Iterable[str]) -> str:
    """The names that are near a word, or all of them if they are few."""
    names = sorted(set(names))
    by_last_word = {short_name(name).lower(): name for name in names}
    matches = get_close_matches(short_name(word).lower(), by_last_word, n=3, cutoff=0.6)
    if matches:
        return f": did you mean {' or '.join(by_last_word[match] for match in matches)}?"
    return f": expected one of {', '.join(names)}" if 0 < len(names) <= 20 else ""


def _in_words(type_: Any) -> str:
    if get_origin(type_) in (Union, UnionType, Literal):
        choices = [_in_words(each) for each in get_args(type_)]
        return " or ".join(dict.fromkeys(choices))
    if type_ is NoneType:
        return "null"
    is_class = isinstance(type_, type) and not get_args(type_)
    return type_.__name__ if is_class else re.sub(r"\b[\w.]+\.(?=\w)", "", str(type_))  # without the modules' names
