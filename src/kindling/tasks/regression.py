"""Numbers: `--model.task Regression --model.task.loss HuberLoss`."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score

from kindling.tasks.base import Task


class Regression(Task):
    """T numbers a sample: outputs (B, T) against targets (B, T) float32, by mean squared error.

    The loss sees targets brought to mean 0 and variance 1 by the training split's statistics, which the checkpoint
    keeps; predictions and metrics are in the unit of the targets.

    Args:
        loss: another loss, such as L1Loss, HuberLoss or MSEMAELoss; null for the mean squared error.
    """

    fits = "numeric targets"
    figures = ("regression",)
    mean: Tensor
    std: Tensor

    def __init__(self, loss: nn.Module | None = None) -> None:
        super().__init__()
        self.loss, self.criterion = loss, loss or nn.MSELoss()

    def prepare(self) -> None:
        self.register_buffer("mean", torch.zeros(self.num_outputs))
        self.register_buffer("std", torch.ones(self.num_outputs))
        self.add_metrics({"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False), "r2": R2Score()}, {})

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        batch = torch.zeros(count + 1, count)
        return batch, batch

    def start(self, data: Any) -> None:
        super().start(data)
        self.mean.copy_(data.train_targets.mean(dim=0))
        self.std.copy_(data.train_targets.std(dim=0).nan_to_num(1.0).clamp_min(1e-6))

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.criterion(outputs, (targets - self.mean) / self.std)

    def scores(self, outputs: Tensor) -> Tensor:
        """Numbers in the unit of the targets: (B, T) → (B, T)."""
        return outputs.float() * self.std + self.mean

    def batch_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if len(targets) < 2:  # R² of one sample is undefined
            return {}
        return super().batch_metrics(outputs, targets)

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        return self._numbers(scores, names, "prediction")

    def target_columns(self, targets: Tensor, names: list[str]) -> dict[str, Any]:
        return self._numbers(targets, names, "target")

    @staticmethod
    def _numbers(values: Tensor, names: list[str], column: str) -> dict[str, Any]:
        return {f"{column}_{name}": each.numpy() for name, each in zip(names, values.T, strict=True)}
