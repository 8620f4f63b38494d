"""Numbers: `--model.task Regression --model.task.loss HuberLoss`."""

from typing import Any

import torch
from torch import Tensor, nn

from kindling.tasks.base import Task
from kindling.tasks.measures import NumberMeasures
from kindling.tasks.own_metrics import Specs


class Regression(Task):
    """T numbers per sample: outputs (B, T) against targets (B, T) float32, by mean squared error.

    The loss sees targets brought to mean 0 and variance 1 by the training split's statistics, which the checkpoint
    keeps; predictions and metrics are in the unit of the targets.

    Args:
        loss: another loss, such as L1Loss, HuberLoss or MSEMAELoss; null for the mean squared error.
        metrics: further metrics of torchmetrics or a project to measure, in the unit of the targets: see
            own_metrics.py.
    """

    fits = "numeric targets"
    figures = ("regression",)
    metrics_of = ("torchmetrics.regression",)
    mean: Tensor
    std: Tensor

    def __init__(self, loss: nn.Module | None = None, metrics: Specs | None = None) -> None:
        super().__init__()
        self.metrics = metrics
        self.loss, self.criterion = loss, loss or nn.MSELoss()

    def prepare(self) -> None:
        self.register_buffer("mean", torch.zeros(self.num_outputs))
        self.register_buffer("std", torch.ones(self.num_outputs))
        self.add_metrics({"measures": NumberMeasures(whole_split=False)}, {})

    def metric_arguments(self) -> dict[str, Any]:
        return {"num_outputs": self.num_outputs}

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        batch = torch.arange(1.0, count + 2)[:, None].expand(-1, count)  # above 0, as some losses and metrics require
        return batch, batch

    def start(self, data: Any) -> None:
        """Take the statistics of the training split; a target that never varies counts as if it varied a little."""
        super().start(data)
        targets = data.train_targets.double()
        mean, std = targets.mean(dim=0), targets.std(dim=0).nan_to_num(0.0)
        size = mean.abs().where(mean != 0, 1.0)
        std = torch.where(std > 1e-12 * size, std, 1e-6 * size)
        # Whatever the precision of the weights, these are float32: bfloat16 has two digits.
        self.mean, self.std = (each.float().to(self.mean.device) for each in (mean, std))

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.criterion(outputs, (targets - self.mean) / self.std)

    def scores(self, outputs: Tensor) -> Tensor:
        """Numbers in the unit of the targets: (B, T) → (B, T)."""
        return outputs.float() * self.std + self.mean

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        return self._numbers(scores, names, "prediction")

    def target_columns(self, targets: Tensor, names: list[str]) -> dict[str, Any]:
        return self._numbers(targets, names, "target")

    @staticmethod
    def _numbers(values: Tensor, names: list[str], column: str) -> dict[str, Any]:
        """In float64, so that a table keeps all digits: far from zero only the last ones vary."""
        return {f"{column}_{name}": each.double().numpy() for name, each in zip(names, values.T, strict=True)}
