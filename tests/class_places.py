"""Every place of a config that takes a class or a function, as the parser of `kindling fit` has them."""

import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal, get_args, get_origin

import pytest

from kindling.cli.arguments import read_arguments
from kindling.cli.build import Parts
from kindling.core.config_problems import Options
from kindling.core.parts import choices_of

PARTS_OF_TRAINER = ("callbacks", "logger", "plugins", "profiler", "strategy")


def takes_class(kind: Any) -> bool:
    """Whether a class or a function can be a value of a type."""
    if get_args(kind):
        return get_origin(kind) is Callable or (
            get_origin(kind) is not Literal and any(map(takes_class, get_args(kind)))
        )
    return kind in (Any, object, typing.Callable) or (
        isinstance(kind, type) and kind.__module__ not in ("builtins", "datetime", "pathlib")
    )


def places(options: Options, above: str = "", flags: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys that take a class, also those of each class of Kindling's own, and the flags with which they are there."""
    for key, type_ in options.types.items():
        if not key.startswith(above) or not takes_class(type_):
            continue
        yield key, flags
        for path in choices_of(type_):
            flag = f"--{key}={path}"
            if not key.startswith("trainer.") and (
                path.startswith(("kindling.", "my_project.")) or path.endswith(".LambdaLR")
            ):
                assert options.problem(key, path) is None
                yield from places(options, f"{key}.", (*flags, flag))


@cache
def parser_of_fit() -> dict[str, Any]:
    parts = Parts.__new__(Parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "parse_arguments", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            parts.__init__(read_arguments(["fit", "--model", "MLP", "--data", "Digits"]))
    return {name: value for name, value in vars(parts).items() if name in ("parser", "model_type", "from_data")}


@cache
def all_places() -> dict[str, tuple[str, ...]]:
    found = list(places(Options(parser_of_fit()["parser"])))
    return dict(reversed(found))  # the first has all flags


@cache
def places_below_trainer() -> list[tuple[str, str, str]]:
    """The arguments of Lightning's callbacks, loggers … that take a class or a function: key, class and argument."""
    found = []
    for part in PARTS_OF_TRAINER:
        options = Options(parser_of_fit()["parser"])
        key = f"trainer.{part}"
        for path, cls in sorted(classes_in(options.types[key]).items()):
            options._add_arguments(key, cls)
            names = [name for name, kind in options.types.items() if name.startswith(f"{key}.") and takes_class(kind)]
            found += [(part, path, name.rpartition(".")[2]) for name in names if name.count(".") == 2]
    return found


def classes_in(kind: Any) -> dict[str, type]:
    """The classes that a type takes, perhaps in a list or beside other values."""
    if get_args(kind) and get_origin(kind) is not Literal:
        return {path: cls for part in get_args(kind) for path, cls in classes_in(part).items()}
    return choices_of(kind) if isinstance(kind, type) and takes_class(kind) else {}
