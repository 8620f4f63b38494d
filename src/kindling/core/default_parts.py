"""Lets the parser know a class's default optimiser and the like, whatever its `__init__` does with its arguments."""

import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jsonargparse import _parameter_resolvers as resolvers

guess_parameters = resolvers.get_parameters_by_assumptions


def read_or_guess_parameters(
    function_or_class: Callable[..., Any] | type, method_name: str | None, logger: logging.Logger
) -> list[Any]:
    """The parameters of a class, those of its bases read from their source even where its own can't be followed.

    jsonargparse gives up on the source where `__init__` does more with its `**arguments` than hand them on, such as
    `len(arguments["classes"])`. It then guesses, for all bases too, and a default such as `lambda params:
    AdamW(params)` stays a function: no flag can change a part of it, and no run's config can keep it.
    """
    with suppress(Exception):  # whatever it could not follow
        if (parameters := resolvers.get_parameters_from_ast(function_or_class, method_name, logger)) is not None:
            return parameters
    parameters = guess_parameters(function_or_class, method_name, logger)
    with suppress(Exception):  # of a class without a source
        visitor = resolvers.ParametersVisitor(function_or_class, method_name, logger=logger)
        own = inspect.signature(visitor.component).parameters
        visitor.replace_param_default_subclass_specs([each for each in parameters if each.name in own])
    return parameters


resolvers.get_parameters_by_assumptions = read_or_guess_parameters
