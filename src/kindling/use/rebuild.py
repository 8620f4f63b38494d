"""Builds the model that a checkpoint describes."""

from argparse import ArgumentError
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import instantiate_module

from kindling.core.config_problems import explain
from kindling.core.errors import UsageError, origin
from kindling.core.parts import class_path_of, classes_of, imported
from kindling.core.settings import settings_in
from kindling.core.trusted_parts import INSTANTIATOR, imported_parts

M = TypeVar("M", bound=L.LightningModule)


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
