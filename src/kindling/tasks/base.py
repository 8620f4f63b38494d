"""What all tasks share: metrics for each stage, a loss that fits, and outputs decoded into predictions."""

from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics import classification as tm


class Task(nn.Module):
    """Base of all tasks. A task keeps each constructor argument under its own name, so that it can be saved.

    An argument that is out of range, or that the loss has no place for, raises a ValueError.
    """

    fits: str  # the kind of targets that it is for: one class a sample, several classes a sample, numeric targets
    num_outputs: int  # how many outputs the model must have
    criterion: nn.Module

    def build(self, kind: str, count: int) -> None:
        """Set up for the data's kind of targets and their number, or raise a ValueError where it does not fit."""
        if kind != self.fits:
            from kindling.tasks import DEFAULT_TASKS  # which are made from this

            right = DEFAULT_TASKS[kind].__name__
            raise ValueError(f"{type(self).__name__} needs data with {self.fits}: for {kind} use task {right}")
        self.num_outputs = count
        self.prepare()
        size = count + 1  # of a batch, unlike any other dimension
        targets = torch.zeros(size).long() if "one class" in kind else torch.zeros(size, count)
        try:
            self.loss_of(torch.zeros(size, self.num_outputs), targets)
        except (RuntimeError, ValueError, TypeError):
            raise ValueError(f"loss is {type(self.criterion).__name__}: it is none for {type(self).__name__}") from None

    def prepare(self) -> None:
        """For `num_outputs` classes or targets: call `add_metrics`, and set up what the loss needs."""

    def add_metrics(self, batch: dict[str, Any], split: dict[str, Any]) -> None:
        """Keep a set of metrics for each stage. Those of `split` need a whole split: training batches go without."""
        self.train_metrics = MetricCollection(batch).clone(prefix="train/")
        self.val_metrics = MetricCollection(batch | split).clone(prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")
        # By default NaN is left out; "disable" leaves out the weights (seen with torchmetrics 1.9).
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy=torch.nan) for _ in range(2))

    @staticmethod
    def counted(kind: str, *arguments: float) -> dict[str, Metric]:
        """Metrics that count right and wrong; the mean over the classes where there are several."""
        names = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "f1": "F1Score"}
        return {name: getattr(tm, kind + metric)(*arguments, validate_args=False) for name, metric in names.items()}

    def start(self, data: Any) -> None:
        """Before a training: learn what it takes of the data, or refuse it with a MisconfigurationException."""
        if getattr(data.augment, "mixes", False) and not isinstance(self.criterion, nn.CrossEntropyLoss):
            raise MisconfigurationException("mixup and cutmix need the task Classification with cross-entropy")

    def inputs_of(self, batch: Any) -> Any:
        """What the model's forward gets of a batch: all but the last part."""
        return batch[:-1]

    def targets_of(self, batch: Any) -> Any:
        """What the loss compares with: the last part."""
        return batch[-1]

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of a batch, averaged over its samples: outputs (B, num_outputs), targets (B, …) → scalar."""
        return self.criterion(outputs, targets)

    def scores(self, outputs: Tensor) -> Tensor:
        """What metrics and figures see: probabilities, or numbers in the targets' unit. (B, num_outputs) → (B, …)."""
        raise NotImplementedError

    def batch_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Metrics of a training batch by itself: outputs (B, num_outputs), targets (B, …) → scalars."""
        if len(targets) < 2:  # R² of one sample is undefined
            return {}
        mixed = targets.is_floating_point() and self.fits == "one class a sample"
        self.train_metrics.update(self.scores(outputs), targets.argmax(dim=1) if mixed else targets)
        metrics = self.train_metrics.compute()
        self.train_metrics.reset()
        return metrics

    def decode(self, scores: Tensor) -> Tensor:
        """Predictions that compare with the targets, from `scores`: (B, …)."""
        return scores

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        """What a table of predictions says of each sample, from `scores`; `names` are the classes or the targets."""
        return self.named(self.decode(scores), names, "prediction") | self.probabilities(scores, names)

    def named(self, values: Tensor, names: list[str], column: str) -> dict[str, Any]:
        """Predictions or targets (B, …) as columns: the names of the classes in one."""
        return {column: [names[index] for index in values.tolist()]}

    def probabilities(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        """The probability of each class as a column."""
        scores = torch.stack([1 - scores, scores], dim=1) if scores.dim() == 1 else scores
        return {f"probability_{name}": each.numpy() for name, each in zip(names, scores.T, strict=True)}
