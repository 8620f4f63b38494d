"""What all models share: sizes from the data, a task, a recipe, and the steps of training and evaluation."""

import inspect
import math
from functools import partial
from typing import Any

import lightning as L
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from torchmetrics import MetricCollection

from kindling.optim import Constant, WarmupCosine
from kindling.tasks import Classification, Regression, Task


class Model(L.LightningModule):
    """Base of all models. A subclass builds its layers and defines `forward`: inputs (B, *input_shape) → (B, outputs).

    In Python give `optimizer` and `schedule` as a class or a `functools.partial` of one, so that a checkpoint can name
    them.

    Args:
        input_shape: shape of one input, without the batch; on the command line it comes from the data.
        classes: names of the classes, if the data has classes; likewise from the data.
        targets: names of the numeric targets, if the data has those; likewise from the data.
        task: what the outputs mean; by default Classification for classes and Regression for targets.
        optimizer: builds the optimiser from the parameters; it is fused where torch can fuse it.
        schedule: builds the learning-rate schedule from the optimiser; null (or `Constant`) for none.

    Raises:
        ValueError: if an argument is out of range or does not fit the data.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        classes: list[str] | None = None,
        targets: list[str] | None = None,
        task: Task | None = None,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-3),
        schedule: LRSchedulerCallable = lambda optimizer: WarmupCosine(optimizer),
    ) -> None:
        super().__init__()
        if not (classes or targets):
            raise ValueError("classes and targets are empty: a model needs the names of one or the other")
        self.input_shape = tuple(input_shape)
        self.task = task or (Classification() if classes else Regression())
        self.task.build(classes, targets)
        self.num_outputs = self.task.num_outputs
        if optimizer is None:
            raise ValueError("optimizer is null: expected an optimiser, such as AdamW")
        self.optimizer, self.schedule = optimizer, Constant if schedule is None else schedule
        self._try_recipe()
        self.save_hyperparameters(logger=False)
        if "_class_path" not in self.hparams:  # built in Python rather than by the command line
            self._name_hyperparameters()

    @property  # type: ignore[misc]
    def example_input_array(self) -> Tensor:
        """Two empty inputs, for the summary's sizes."""
        return torch.zeros(2, *self.input_shape, dtype=next(self.parameters()).dtype)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if isinstance(optimizer, Adam | AdamW | SGD):  # those that torch can fuse on every device
            for group in optimizer.param_groups:
                if group["fused"] is None and not (group["foreach"] or group["differentiable"]):
                    group["fused"] = True
        schedule = self.schedule(optimizer)
        per_step = isinstance(schedule, OneCycleLR | CyclicLR)
        interval = getattr(schedule, "interval", "step" if per_step else "epoch")
        config = {"scheduler": schedule, "interval": interval, "name": "learning_rate"}
        if hasattr(schedule, "monitor"):
            config["monitor"] = schedule.monitor
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_train_start(self) -> None:
        start = getattr(self.lr_schedulers(), "start", None)
        if start:
            start(self.trainer.estimated_stepping_batches)
        # An epoch that is shorter than the logging interval is logged once all the same.
        steps = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        self.trainer.log_every_n_steps = math.ceil(min(self.trainer.log_every_n_steps, steps))  # type: ignore[attr-defined]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        outputs = self(inputs)
        loss = self.task.loss(outputs, targets)
        if self._is_logged(batch_idx):
            self.log("train/loss", loss.detach(), prog_bar=True)
            self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
            if len(targets) > 1:  # R² of one sample is undefined
                self.log_dict(self.task.train_metrics(outputs.detach(), targets))
                self.task.train_metrics.reset()
        return loss

    def _is_logged(self, batch_idx: int) -> bool:
        """Whether this step reaches the logger: logging costs as much as a small network's step, so no other pays."""
        interval = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not interval or (self.global_step + 1) % interval:
            return False
        return (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val", self.task.val_metrics)

    def on_validation_epoch_end(self) -> None:
        self._log_metrics(self.task.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "test", self.task.test_metrics)

    def on_test_epoch_end(self) -> None:
        self._log_metrics(self.task.test_metrics)

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str, metrics: MetricCollection) -> dict[str, Tensor]:
        inputs, targets = batch
        outputs = self(inputs)
        metrics.update(outputs, targets)
        loss = self.task.loss(outputs, targets)
        self.log(f"{stage}/loss", loss, on_epoch=True, prog_bar=True, batch_size=len(targets), sync_dist=True)
        return {"predictions": self.task.decode(outputs), "targets": targets}

    def _log_metrics(self, metrics: MetricCollection) -> None:
        (first, value), *others = metrics.compute().items()
        self.log(first, value, prog_bar=True)
        self.log_dict(dict(others))
        metrics.reset()

    def _try_recipe(self) -> None:
        """Build the recipe once on a dummy weight, so that a bad learning rate is refused before any data is read."""
        try:
            self.schedule(self.optimizer([nn.Parameter(torch.zeros(1, 1))]))
        except ValueError as error:
            raise ValueError(f"the recipe (optimizer, schedule) is refused: {error}") from None

    def _name_hyperparameters(self) -> None:
        """Turn classes, partials and tasks among the hyper-parameters into the plain values that YAML would hold."""
        signatures = [inspect.signature(cls).parameters for cls in type(self).__mro__ if issubclass(cls, Model)]
        defaults = [parameter.default for signature in signatures for parameter in signature.values()]
        for name, value in list(self.hparams.items()):
            if isinstance(value, Task):
                self.hparams[name] = {"class_path": _path(type(value)), "init_args": value.arguments()}
            elif isinstance(value, partial):  # the command line's partials have the class among their arguments
                cls = next(part for part in (value.func, *value.args) if isinstance(part, type))
                self.hparams[name] = {"class_path": _path(cls), "init_args": dict(value.keywords)}
            elif isinstance(value, type):
                self.hparams[name] = {"class_path": _path(value)}
            elif callable(value):
                if not any(value is default for default in defaults):
                    raise ValueError(f"{name} is a function: give a class or a functools.partial of one")
                del self.hparams[name]
        taken = ArgumentParser().add_class_arguments(type(self), fail_untyped=False)
        for name in set(self.hparams) - set(taken):  # set by a subclass for its parent
            del self.hparams[name]
        for name, value in self.hparams.items():
            if not _is_plain(value):
                raise ValueError(f"{name} is {value!r}: a checkpoint keeps plain numbers, strings and lists of them")
        self.hparams["_class_path"] = _path(type(self))
        self.hparams["_instantiator"] = "lightning.pytorch.cli.instantiate_module"


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
