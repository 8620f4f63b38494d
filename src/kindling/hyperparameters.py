"""Turns what a model was built with in Python into the plain values that YAML would hold, so that a checkpoint can.

And back: a checkpoint can come from anyone, so nothing is imported or built that is not a part of a model.
"""

import inspect
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from jsonargparse import ArgumentParser, _common, set_parsing_settings
from lightning.pytorch.cli import instantiate_module
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kindling.arguments import settings_in
from kindling.config_errors import class_path_of, classes_of, explain, imported
from kindling.refusals import origin
from kindling.runs import UsageError

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
M = TypeVar("M", bound=L.LightningModule)

# For configs, too: none can name os.system, eval and the like, or have a class built where any value would do.
set_parsing_settings(import_path_denylist=[], instantiate_subclass_spec_in_any=False)


class Loadable(L.LightningModule):
    """A module whose `load_from_checkpoint` imports nothing and runs no foreign part: a file can come from anyone."""

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **kwargs: Any) -> Any:
        with imported_parts():
            return super().load_from_checkpoint(*args, **kwargs | {"weights_only": True})


def name_hyperparameters(model: L.LightningModule) -> None:
    """Replace classes, partials, tasks and losses among the hyper-parameters by their names and arguments.

    Raises:
        ValueError: if one is neither plain nor can be named.
    """
    signatures = [inspect.signature(cls).parameters for cls in type(model).__mro__ if issubclass(cls, nn.Module)]
    defaults = [parameter.default for signature in signatures for parameter in signature.values()]
    known = set(ArgumentParser().add_class_arguments(type(model), fail_untyped=False))
    for name, value in list(model.hparams.items()):
        is_default = callable(value) and any(value is default for default in defaults)
        if name not in known or is_default:  # set by a subclass for its parent, or a function that no file can name
            del model.hparams[name]
        else:
            model.hparams[name] = plain(name, value)
    model.hparams["_class_path"] = _path(type(model))
    model.hparams["_instantiator"] = INSTANTIATOR


def plain(name: str, value: Any) -> Any:
    """The value as YAML would hold it: a class or a part by its path and arguments. Raises a ValueError if it can't."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, dict):
        return {key: plain(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(name, item) for item in value)
    if isinstance(value, type):
        return {"class_path": _path(value)}
    if isinstance(value, partial):  # the command line's partials have the class among their arguments
        cls = next(part for part in (value.func, *value.args) if isinstance(part, type))
        return {"class_path": _path(cls), "init_args": plain(name, dict(value.keywords))}
    if isinstance(value, nn.Module):  # a task or a loss
        return {"class_path": _path(type(value)), "init_args": _arguments(value)}
    if callable(value):
        raise ValueError(f"{name} is a function: give a class or a functools.partial of one")
    raise ValueError(f"{name} is {value!r}: a checkpoint keeps plain numbers, strings and lists of them")


def _arguments(part: nn.Module) -> dict[str, Any]:
    """The constructor's arguments, from the attributes of the same names."""
    named: set[str] = set()
    for cls in type(part).__mro__:
        parameters = inspect.signature(cls).parameters.values()
        named |= {each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):  # which go on to the parent
            break
    for name in named - {"size_average", "reduce"}:  # deprecated in torch
        if not hasattr(part, name):
            raise ValueError(f"{type(part).__name__} must keep its argument {name} as self.{name}")
    values = {name: getattr(part, name) for name in sorted(named) if hasattr(part, name)}
    return {name: plain(name, value) for name, value in values.items() if not isinstance(value, Tensor)}


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def rebuilt(base: type[M], file: Path, hparams: dict[str, Any]) -> M:
    """The model that a checkpoint's hyper-parameters describe, with new weights.

    Raises:
        UsageError: if they name anything but parts of a model that are imported, or have a wrong value.
    """
    path, instantiator = hparams.pop("_class_path", None), hparams.pop("_instantiator", INSTANTIATOR)
    if instantiator != INSTANTIATOR:
        raise UsageError(f"{file} is refused: its _instantiator is {instantiator!r}, not {INSTANTIATOR}")
    if path not in (known := sorted(classes_of(base))):
        raise UsageError(f"{file} is of the model {path}, which is not here: {', '.join(known)}")
    for key in ("optimizer", "schedule"):
        name = str(class_path_of(hparams.get(key)))
        if "." in name and imported(name) is None:  # of another package: it is for training alone
            del hparams[key]
    with imported_parts():
        try:
            return instantiate_module(base, {"_class_path": path, **hparams})
        except (ArgumentError, ValueError) as error:
            if not isinstance(origin(error), ArgumentError | ImportError | ValueError):
                raise  # a mistake in code
            parser = ArgumentParser(exit_on_error=False)
            parser.add_subclass_arguments(base, "model")
            settings = settings_in({"model": {"class_path": path, "init_args": hparams}})
            found = explain(parser, [(str(file), *each) for each in settings], f"{file}: {origin(error)}")
            raise UsageError(found) from error


@contextmanager
def imported_parts() -> Iterator[None]:
    """Let the parser build nothing but ImportedParts, and import nothing. It has no public way (seen with 4.53)."""
    others = _common.parsing_settings["import_path_verdicts"]
    _common.parsing_settings["import_path_verdicts"] = ImportedParts()
    try:
        yield
    finally:
        _common.parsing_settings["import_path_verdicts"] = others


class ImportedParts(dict[str, bool]):
    """Tells of every path whether it names a part of models, or a function of torch.nn.functional, that is imported."""

    def __contains__(self, path: object) -> bool:
        return True

    def __getitem__(self, path: str) -> bool:
        found = imported(path)
        if isinstance(found, type):
            return issubclass(found, nn.Module | Optimizer | LRScheduler)
        return callable(found) and any(found is function for function in vars(nn.functional).values())
