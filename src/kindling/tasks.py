"""Tasks: what a model's outputs mean. A task has the loss, the metrics and the decoding; any model takes any task.

To add one: subclass `Task`, define its three methods, and name it in YAML: `model.task: MyTask`.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


class Task(nn.Module):
    """Base of all tasks. A task keeps each constructor argument under its own name, so that it can be saved."""

    num_outputs: int  # how many outputs the model must have

    def build(self, classes: list[str] | None, targets: list[str] | None) -> None:
        """Take the names of the classes or the targets from the data; set `num_outputs`, and call `add_metrics`.

        Raises:
            ValueError: if the task does not fit the data.
        """
        raise NotImplementedError

    def add_metrics(self, metrics: dict[str, Metric]) -> None:
        """Keep a set of the metrics for each stage."""
        collection = MetricCollection(dict(metrics))
        self.train_metrics = collection.clone(prefix="train/")
        self.val_metrics = collection.clone(prefix="val/")
        self.test_metrics = collection.clone(prefix="test/")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of a batch, averaged over its samples: outputs (B, num_outputs), targets (B, …) → scalar."""
        raise NotImplementedError

    def decode(self, outputs: Tensor) -> Tensor:
        """Predictions that compare with the targets: outputs (B, num_outputs) → (B, …)."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, as plain values."""
        signatures = [inspect.signature(cls).parameters for cls in type(self).__mro__ if issubclass(cls, Task)]
        named = {name for signature in signatures for name, p in signature.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
        for name in named:
            if not hasattr(self, name):
                raise ValueError(f"{type(self).__name__} must keep its argument {name} as self.{name}")
        return {name: getattr(self, name) for name in sorted(named)}


class Classification(Task):
    """One of K classes a sample: cross-entropy on logits (B, K) against class indices (B,) int64.

    The loss includes the softmax, so the model ends in a linear layer.

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1) (Szegedy et al., 2016).
        class_weights: weight of each class in the loss, in the order of the data's classes; null for equal weights.

    Raises:
        ValueError: if the smoothing is out of range, or if the number of weights is not the number of classes.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: list[float] | None = None) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}: expected a fraction in [0, 1)")
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.weight: Tensor | None

    def build(self, classes: list[str] | None, targets: list[str] | None) -> None:
        if not classes:
            raise ValueError("Classification needs data with classes; for numeric targets use task Regression")
        weights = self.class_weights
        if weights is not None and len(weights) != len(classes):
            raise ValueError(
                f"class_weights has {len(weights)} values: expected one for each of {len(classes)} classes"
            )
        self.num_outputs = len(classes)
        self.register_buffer("weight", None if weights is None else torch.tensor(weights), persistent=False)
        self.add_metrics(
            {
                "accuracy": MulticlassAccuracy(self.num_outputs, average="micro"),
                "f1": MulticlassF1Score(self.num_outputs, average="macro"),
            }
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, self.weight, label_smoothing=self.label_smoothing)

    def decode(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(dim=1)


class Regression(Task):
    """T numbers a sample: mean squared error of outputs (B, T) against targets (B, T) float32."""

    def build(self, classes: list[str] | None, targets: list[str] | None) -> None:
        if not targets:
            raise ValueError("Regression needs data with numeric targets; for classes use task Classification")
        self.num_outputs = len(targets)
        self.add_metrics({"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False), "r2": R2Score()})

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    def decode(self, outputs: Tensor) -> Tensor:
        return outputs
