"""Keeps what a model was built with in its checkpoint as the plain values that YAML would hold."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import lightning as L
from jsonargparse import ArgumentParser
from torch import nn

from kindling.core.parts import path_of
from kindling.core.plain_values import plain
from kindling.core.trusted_parts import INSTANTIATOR, imported_parts

WEIGHTS_FOLLOW: ContextVar[bool] = ContextVar("weights_follow", default=False)


@contextmanager
def weights_follow(yes: bool = True) -> Iterator[None]:
    """Let models that are built inside the `with` start without pretrained weights: a checkpoint's will follow."""
    token = WEIGHTS_FOLLOW.set(yes)
    try:
        yield
    finally:
        WEIGHTS_FOLLOW.reset(token)


class Loadable(L.LightningModule):
    """A module whose `load_from_checkpoint` imports nothing and runs no foreign part: a file can come from anyone."""

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **kwargs: Any) -> Any:
        with imported_parts(), weights_follow():
            return super().load_from_checkpoint(*args, **kwargs | {"weights_only": True})


def name_hyperparameters(model: L.LightningModule) -> None:
    """Replace classes, partials, tasks and losses among a model's hyper-parameters by their names and arguments.

    Raises:
        ValueError: if one is not plain and can't be named.
    """
    arguments = set(ArgumentParser().add_class_arguments(type(model), fail_untyped=False))
    defaults = _defaults(type(model))
    for name, value in list(model.hparams.items()):
        is_set_by_subclass = name not in arguments  # for its parent's constructor
        is_default_function = callable(value) and any(value is default for default in defaults)  # no file can name it
        if is_set_by_subclass or is_default_function:
            del model.hparams[name]
        else:
            model.hparams[name] = plain(name, value)
    model.hparams["_class_path"] = path_of(type(model))
    model.hparams["_instantiator"] = INSTANTIATOR


def _defaults(cls: type) -> list[Any]:
    """The default values of all constructors of a module and its parents."""
    signatures = [inspect.signature(each) for each in cls.__mro__ if issubclass(each, nn.Module)]
    return [parameter.default for signature in signatures for parameter in signature.parameters.values()]
