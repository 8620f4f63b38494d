"""The inputs themselves: `kindling fit --model Autoencoder --data Digits`."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from kindling.core.errors import UsageError
from kindling.tasks.base import Task
from kindling.tasks.measures import ReconstructionMeasures
from kindling.tasks.own_metrics import Specs


class Reconstruction(Task):
    """The input is the target: outputs (B, *input_shape), or these and latent vectors (B, L), by mean squared error.

    A model with as many outputs as an input has numbers, such as an MLP, can give them in a row, (B, outputs).
    The loss sees inputs as the model does, normalised, so that predicting the mean of the training split would give 1.
    Metrics and figures are in the unit of the inputs, for images from 0 to 1. A prediction is the latent vector and
    the error: the mean squared difference between the normalised input and its reconstruction.

    Args:
        loss: another loss, such as L1Loss; null for the mean squared error.
        metrics: further metrics of torchmetrics or a project to measure: see own_metrics.py.
    """

    fits = "inputs alone"
    figures = ("reconstructions",)
    samples_drawn = 24
    metrics_of = ("torchmetrics.regression", "torchmetrics.image.psnr", "torchmetrics.image.ssim")
    mean: Tensor
    std: Tensor

    def __init__(self, loss: nn.Module | None = None, metrics: Specs | None = None) -> None:
        super().__init__()
        self.metrics = metrics
        self.loss, self.criterion = loss, loss or nn.MSELoss()

    def prepare(self) -> None:
        self.num_outputs = math.prod(self.input_shape)
        is_image = len(self.input_shape) == 3
        features = (self.input_shape[0], 1, 1) if is_image else self.input_shape[-1:]
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.add_metrics({"measures": ReconstructionMeasures(is_image)}, {})

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        batch = torch.rand(2, *self.input_shape, generator=torch.Generator().manual_seed(0))
        return batch, batch

    def start(self, data: Any) -> None:
        """Take the unit of the inputs from what normalises them."""
        super().start(data)
        how = data.preprocessing
        if how.mean is not None and how.std is not None:
            self.mean, self.std = (each.clone().to(self.mean.device, torch.float32) for each in (how.mean, how.std))

    def targets_of(self, batch: Any) -> Tensor:
        """The inputs in their own unit; if there are several, the first."""
        return self._first_input(batch).float() * self.std + self.mean

    def loss_of(self, outputs: Any, targets: Tensor) -> Tensor:
        """Loss of a batch against inputs in their own unit, which it normalises: (B, *input_shape) → scalar."""
        reconstructions, _ = self._parts(outputs)
        if reconstructions.shape != targets.shape:
            self._refuse(reconstructions, tuple(targets.shape[1:]))
        return self.criterion(reconstructions, (targets - self.mean) / self.std)

    def scores(self, outputs: Any) -> Tensor:
        """Reconstructions in the unit of the inputs: (B, *input_shape)."""
        reconstructions, _ = self._parts(outputs)
        return reconstructions.float() * self.std + self.mean

    def prediction(self, outputs: Any, batch: Any) -> Tensor:
        """Latent vectors, if the model gives them, and then the error: (B, L + 1)."""
        reconstructions, latent = self._parts(outputs)
        error = (reconstructions - self._first_input(batch)).float().square().flatten(1).mean(dim=1)
        return torch.cat([latent.float().flatten(1), error[:, None]], dim=1)

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        *latent, error = scores.T.numpy()
        return {f"latent_{index}": column for index, column in enumerate(latent)} | {"reconstruction_error": error}

    def target_columns(self, targets: Tensor, names: list[str]) -> dict[str, Any]:
        """The class of each sample, where the data has one: nothing is learnt from it, but a plot can show it."""
        if targets.is_floating_point() or targets.dim() != 1:
            return {}
        return {"target": [names[index] for index in targets.tolist()]}

    def _first_input(self, batch: Any) -> Tensor:
        inputs = self.inputs_of(batch)
        return inputs[0] if isinstance(inputs, tuple | list) else inputs

    def _parts(self, outputs: Any) -> tuple[Tensor, Tensor]:
        """Reconstructions and latent vectors, (B, 0) of a model without any."""
        is_pair = isinstance(outputs, tuple | list)
        reconstructions, latent = outputs[:2] if is_pair else (outputs, outputs.new_zeros(len(outputs), 0))
        shape = self.input_shape
        if reconstructions.dim() == 2 and reconstructions.shape[1] == math.prod(shape):
            reconstructions = reconstructions.unflatten(1, shape)
        feature = 0 if len(shape) == 3 else -1
        if reconstructions.dim() != len(shape) + 1 or reconstructions.shape[1:][feature] != shape[feature]:
            self._refuse(reconstructions, shape)
        return reconstructions, latent

    @staticmethod
    def _refuse(outputs: Tensor, shape: tuple[int, ...]) -> None:
        shapes = f"outputs of shape {tuple(outputs.shape[1:])} for inputs of shape {shape}"
        raise UsageError(f"Reconstruction is for a model such as Autoencoder, but this one gives {shapes}")
