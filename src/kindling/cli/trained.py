"""The trained module that `--run` or `--ckpt` names, for the commands that use one: `predict` and `export`."""

import argparse
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden

from kindling.cli.arguments import read_arguments
from kindling.cli.build import Parts
from kindling.cli.dispatch import tame_lightning
from kindling.cli.stages import has_loader, make_trainer, told_in_a_sentence
from kindling.core.class_paths import import_part
from kindling.core.errors import UsageError
from kindling.core.parts import load_projects
from kindling.models.base import Model
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.folder import ROOT, find_checkpoint, find_run
from kindling.use.graph import tensors_in
from kindling.use.input_batches import InputBatches, Predictions, has_raw_samples, of_test_split
from kindling.use.input_files import read_inputs
from kindling.use.predictor import Predictor, predictor_of, scores_of
from kindling.use.rebuild import model_class

ONLY_PREDICT: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "fast_dev_run": False,
    "precision": "32-true",
}


class Trained:
    """A checkpoint, and the run that it belongs to, if one is named.

    Args:
        options: those of the command line, as `arguments.run_options` defines them.

    Raises:
        UsageError: if there is no such run or checkpoint.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        if not options.run and options.ckpt in (None, "best", "last"):
            raise UsageError("needs --run RUN (a folder or latest), or --ckpt PATH and --input PATH")
        tame_lightning()
        load_projects()
        self.paths = {"model": options.model, "data": options.data}  # the parts that the user has named again
        for path in self.paths.values():
            if path and "." in path:
                import_part(path)
        self.run = find_run(options.run) if options.run else None
        self.file = find_checkpoint(self.run, options.ckpt or "best")
        self.checkpoint = load_checkpoint(self.file)
        hparams = self.checkpoint.get("hyper_parameters", {})
        self.model_class = model_class(Model, self.file, hparams)  # None for a module that is not a Model, or not here

    @cached_property
    def parts(self) -> Parts:
        """The module, with new weights, and the data that the run's config describes."""
        flags = ["--trainer.logger=false", *(f"--{key}={path}" for key, path in self.paths.items() if path)]
        return Parts(read_arguments(["test", "--run", str(self.run), *flags]), self.checkpoint)

    @property
    def is_foreign(self) -> bool:
        """Whether the module is not a Model, so that only the run's config describes it."""
        return self.run is not None and self.model_class is None

    def folder(self, name: str) -> Path:
        """Where a command writes: a folder in the run, or beside the runs for a checkpoint without one."""
        return (self.run or ROOT) / name

    def predictor(self, device: str | None) -> Predictor:
        return predictor_of(self.file, self.checkpoint, device)

    def inputs(self, predictor: Predictor, path: Path | None, size: int) -> InputBatches:
        """What a file or a folder holds, or else the run's test split, in batches of at most `size`.

        Raises:
            UsageError: if there is neither, or the model can't take it.
        """
        if path:
            return read_inputs(path, predictor, size)
        if not self.keeps_raw_inputs():
            raise UsageError(f"the data of {self.run} does not keep its raw inputs as arrays: give --input PATH")
        data: Any = self.data
        if tuple(data.input_shape) != predictor.preprocessing.shape:
            shapes = f"has the shape {tuple(data.input_shape)}, but the model takes {predictor.preprocessing.shape}"
            raise UsageError(f"the data of {self.run} {shapes}: give --input PATH")
        return of_test_split(data, size)

    def keeps_raw_inputs(self) -> bool:
        """Whether the run's data has raw inputs to read, rather than only a loader; a UsageError without a run."""
        if not self.run:
            raise UsageError("needs --input PATH: a checkpoint without a run has no test split")
        return has_raw_samples(self.data)

    @property
    def data(self) -> L.LightningDataModule | None:
        """The run's data; a UsageError if it is no longer there."""
        try:
            return self.parts.datamodule
        except UsageError as error:
            raise UsageError(f"{error}; --input PATH predicts other inputs") from error

    def predictions_of_loader(self, device: str | None) -> Iterator[Predictions]:
        """The model's predictions for the batches of the run's loader; samples are named by their places in it."""
        model: Any = self.parts.model
        model.predict_step = lambda batch, batch_idx: (scores_of(model, batch), model.task.targets_of(batch))
        start = 0
        for scores, targets in self.predict(model, device)[0]:
            count = len(tensors_in(scores)[0])
            names = [str(row) for row in range(start, start + count)]
            yield Predictions(names, [""] * count, scores, targets)
            start += count

    def predict(self, module: L.LightningModule, device: str | None) -> list[list[Any]]:
        """What `module.predict_step` returns for each batch of each loader, with the checkpoint's weights.

        The loader is the data's predict loader, else its test loader, else the module's own.

        Raises:
            UsageError: if there is no loader, or the weights belong to another module.
        """
        parts = self.parts
        if not has_loader(parts, "predict"):
            _predict_with_test_loader(parts)
        trainer = make_trainer(parts, None, [], **_one_device(device), **ONLY_PREDICT)
        with told_in_a_sentence(parts, None):
            outputs: Any = trainer.predict(module, datamodule=parts.datamodule, ckpt_path=self.file, weights_only=True)
        return outputs if len(trainer.num_predict_batches) > 1 else [outputs]


def _predict_with_test_loader(parts: Parts) -> None:
    """Let Lightning predict what it would test; a UsageError if there is no loader for that."""
    owners: list[Any] = [owner for owner in (parts.datamodule, parts.model) if owner is not None]
    owner = next((owner for owner in owners if is_overridden("test_dataloader", owner)), None)
    if owner is None:
        name = type(owners[0]).__name__
        raise UsageError(f"{name} has no predict_dataloader and no test_dataloader: there is nothing to predict")
    owner.predict_dataloader = _test_loader(owner)


def _test_loader(owner: Any) -> Callable[[], Any]:
    def predict_dataloader() -> Any:
        if isinstance(owner, L.LightningDataModule):
            owner.setup("test")
        return owner.test_dataloader()

    return predict_dataloader


def _one_device(name: str | None) -> dict[str, Any]:
    """Settings of a trainer for a device by torch's name; None for a GPU where there is one."""
    settings: dict[str, Any] = {"accelerator": "auto", "devices": 1, "num_nodes": 1, "strategy": "auto"}
    if name:
        device = torch.device(name)
        settings["accelerator"] = device.type
        if device.index is not None and device.type != "cpu":
            settings["devices"] = [device.index]
    return settings


def check_device(name: str | None) -> None:
    """Raise a UsageError if torch can't use a device."""
    try:
        torch.empty(0, device=name)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"--device is {name}, which can't be used here: leave it out, or use cpu") from error
