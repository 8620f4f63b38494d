"""Builds the model that a checkpoint describes, and loads weights into one."""

import math
import re
from argparse import ArgumentError
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import pyarrow as pa
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import instantiate_module
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kindling.core.class_paths import with_class_paths
from kindling.core.config_problems import explain
from kindling.core.errors import UsageError, origin
from kindling.core.parts import class_path_of, classes_of, find_class, imported, path_of
from kindling.core.settings import settings_in
from kindling.core.trusted_parts import INSTANTIATOR, imported_parts
from kindling.data.columns import encode
from kindling.data.preprocessing import Preprocessing
from kindling.models.hyperparameters import weights_follow

M = TypeVar("M", bound=L.LightningModule)
PARTS = (nn.Module, Optimizer, LRScheduler)  # the parts that a checkpoint can name
MOST_TIMES_LARGER = 1000  # how much larger than in the training an input may be for a model to try it
IMPOSSIBLE = "DefaultCPUAllocator|negative dimension|[Oo]verflow|failed to unpack"  # what torch says of sizes
DTYPES = ("uint8", "float32", "int64")  # of raw inputs
FOR_TRAINING = ("optimizer", "schedule")  # a model is built with them, but doesn't need them to predict


def rebuilt(base: type[M], file: Path, hparams: dict[str, Any]) -> M:
    """The model that a checkpoint's hyper-parameters describe, with new weights.

    A class path that is gone, as after a renaming, means the present class with the same last word.

    Raises:
        UsageError: if they name anything but imported parts of a model, or have a wrong value.
    """
    if not all(isinstance(key, str) for key in hparams):
        raise UsageError(f"{file} is refused, since its hyper_parameters have a key that is not a string")
    arguments = {key: value for key, value in hparams.items() if key not in ("_class_path", "_instantiator")}
    instantiator = hparams.get("_instantiator", INSTANTIATOR)
    if instantiator != INSTANTIATOR:
        raise UsageError(f"{file} is refused: its _instantiator is {instantiator!r}, not {INSTANTIATOR}")
    cls = model_class(base, file, hparams)
    if cls is None:
        model = f"of the model {hparams['_class_path']}" if "_class_path" in hparams else "of a model it does not name"
        raise UsageError(f"{file} is {model}, which is not here; models here: {', '.join(sorted(classes_of(base)))}")
    try:
        arguments = with_class_paths(arguments, path_here)
    except UsageError as error:  # several classes have the name
        raise UsageError(f"{file}: {error}") from error
    for key in FOR_TRAINING:
        path = str(class_path_of(arguments.get(key)))
        if "." in path and imported(path) is None:  # from a package that is not here
            del arguments[key]
            arguments.pop("groups", None)  # options of an optimiser that is not here
    with imported_parts(), weights_follow():
        try:
            return instantiate_module(base, {"_class_path": path_of(cls), **arguments})
        except (ArgumentError, ValueError) as error:
            if not isinstance(origin(error), ArgumentError | ImportError | ValueError):
                if re.search(IMPOSSIBLE, str(origin(error))):
                    reason = " ".join(str(origin(error)).split())
                    raise UsageError(f"{file} is of a model that can't be built here: {reason}") from error
                raise  # a mistake in code
            raise UsageError(_sentence(base, file, path_of(cls), arguments, error)) from error


def model_class(base: type[M], file: Path, hparams: dict[str, Any]) -> type[M] | None:
    """The class that a checkpoint's hyper-parameters name, if it is here; a UsageError if several have the name."""
    try:
        return find_class(base, str(hparams["_class_path"])) if "_class_path" in hparams else None
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error


def path_here(path: str) -> str:
    """The path of a part, or if it is gone, of the one with its last word; a UsageError if several have that."""
    if imported(path) is not None:
        return path
    paths = {path_of(cls) for base in PARTS if (cls := find_class(base, path))}
    return paths.pop() if len(paths) == 1 else path


def _sentence(base: type, file: Path, path: str, arguments: dict[str, Any], error: BaseException) -> str:
    """What is wrong with a checkpoint's hyper-parameters."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "model")
    settings = settings_in({"model": {"class_path": path, "init_args": arguments}})
    return explain(parser, [(str(file), *setting) for setting in settings], f"{file}: {origin(error)}")


def preprocessing_of(file: Path, checkpoint: dict[str, Any], model: Any) -> Preprocessing:
    """How raw inputs become what a checkpoint's model takes; a UsageError if the checkpoint makes that impossible."""
    as_the_model_takes_them = {"shape": model.input_shape, "dtype": "int64" if model.vocabulary else "float32"}
    kept = checkpoint.get("preprocessing") or as_the_model_takes_them
    try:
        preprocessing = Preprocessing(**kept)
        if not _fits(model, preprocessing.shape):
            raise ValueError(f"its shape is {preprocessing.shape}, but the model takes {tuple(model.input_shape)}")
        _try_out(preprocessing)
    except Exception as error:  # values of any type fail in any way
        reason = " ".join(str(error).split())
        raise UsageError(f"{file} is refused, since its preprocessing can't be used: {reason}") from error
    return preprocessing


def _fits(model: Any, shape: tuple[int, ...]) -> bool:
    """Whether a model takes inputs of this shape: its own, or another, such as larger images for convolutions."""
    own = tuple(model.input_shape)
    if shape == own:
        return True
    if len(shape) != len(own) or math.prod(shape) > MOST_TIMES_LARGER * math.prod(own):
        return False
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *shape))
    except (IndexError, RuntimeError, ValueError):
        return False
    return True


def _try_out(preprocessing: Preprocessing) -> None:
    """Give it an input, which fails in some way if its arguments are not what a training would have kept."""
    if preprocessing.dtype not in DTYPES:
        raise ValueError(f"its dtype is {preprocessing.dtype!r}: expected {' or '.join(DTYPES)}")
    inputs = torch.zeros(1, *preprocessing.shape)
    if preprocessing(inputs).shape != inputs.shape:
        raise ValueError("its mean and std differ in size from its inputs")
    float(preprocessing.divisor), int(preprocessing.further_inputs)
    if preprocessing.columns:
        names = [column["name"] for column in preprocessing.columns]
        encode(pa.table({name: [""] for name in names}), preprocessing.columns, preprocessing.decimal).inputs  # noqa: B018


def load_weights(module: L.LightningModule, file: Path, checkpoint: dict[str, Any]) -> None:
    """Load a checkpoint's weights into any module, as Lightning does; a UsageError if they are not its own."""
    module.configure_model()
    module.on_load_checkpoint(checkpoint)
    try:
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{file} does not fit this {type(module).__name__}: {reason}") from error
