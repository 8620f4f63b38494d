"""Tasks: what a model's outputs mean. To add one: subclass `Task`, and name it in YAML: `model.task: MyTask`."""

from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss, _WeightedLoss
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics import classification as tm


class Task(nn.Module):
    """Base of all tasks. A task keeps each constructor argument under its own name, so that it can be saved.

    An argument that is out of range, or that the loss has no place for, raises a ValueError.
    """

    fits: str  # the kind of targets that it is for, of DEFAULT_TASKS
    num_outputs: int  # how many outputs the model must have
    criterion: nn.Module

    def build(self, kind: str, count: int) -> None:
        """Set up for the data's kind of targets and their number, or raise a ValueError where it does not fit."""
        if kind != self.fits:
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
        return {name: getattr(tm, kind + metric)(*arguments) for name, metric in names.items()}

    def start(self, data: Any) -> None:
        """Before a training: learn what it takes of the data, or refuse it with a MisconfigurationException."""
        if getattr(data.augment, "mixes", False) and not isinstance(self.criterion, nn.CrossEntropyLoss):
            raise MisconfigurationException("mixup and cutmix need the task Classification with cross-entropy")

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of a batch, averaged over its samples: outputs (B, num_outputs), targets (B, …) → scalar."""
        return self.criterion(outputs, targets)

    def scores(self, outputs: Tensor) -> Tensor:
        """What metrics and figures see: probabilities, or numbers in the targets' unit. (B, num_outputs) → (B, …)."""
        raise NotImplementedError

    def decode(self, outputs: Tensor) -> Tensor:
        """Predictions that compare with the targets: outputs (B, num_outputs) → (B, …)."""
        return self.scores(outputs)


class Classification(Task):
    """One of K classes a sample: cross-entropy on logits (B, K) against class indices (B,) int64.

    The loss includes the softmax, so the model ends in a linear layer. Probabilities (B, K) are targets as well.

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1) (Szegedy et al., 2016).
        class_weights: weight of each class in the loss, in the order of the data's classes; null for equal weights.
        loss: another loss on logits, such as FocalLoss; null for cross-entropy.
    """

    fits = "one class a sample"

    def __init__(
        self, label_smoothing: float = 0.0, class_weights: list[float] | None = None, loss: _Loss | None = None
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1 or (loss and label_smoothing):
            raise ValueError(f"label_smoothing is {label_smoothing}: expected a fraction in [0, 1), 0 beside a loss")
        if class_weights and loss and not isinstance(loss, _WeightedLoss):
            raise ValueError(f"class_weights is {class_weights}: {type(loss).__name__} takes no weights")
        self.label_smoothing, self.class_weights, self.loss = label_smoothing, class_weights, loss
        self.criterion = loss or nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def prepare(self) -> None:
        count, weights = self.num_outputs, self.class_weights
        if weights is not None:
            if len(weights) != count:
                raise ValueError(f"class_weights has {len(weights)} values: expected one for each of {count} classes")
            self.criterion.register_buffer("weight", torch.Tensor(weights), persistent=False)
        accuracy = {"accuracy": tm.MulticlassAccuracy(count, average="micro")}
        ranked = {"auroc": tm.MulticlassAUROC(count), "calibration_error": tm.MulticlassCalibrationError(count)}
        self.add_metrics(self.counted("Multiclass", count) | accuracy, ranked)

    def scores(self, outputs: Tensor) -> Tensor:
        return outputs.float().softmax(dim=1)

    def decode(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(dim=1)


class BinaryClassification(Task):
    """Yes or no: binary cross-entropy on logits (B, 1) against class indices (B,) int64; class 1 is the positive one.

    Args:
        positive_weight: weight of a positive sample in the loss; a negative one has 1.
        threshold: a probability above it is taken for positive, in (0, 1).
        loss: another loss on logits and 0/1 targets, such as FocalLoss; null for binary cross-entropy.
    """

    fits = "one class a sample"

    def __init__(self, positive_weight: float = 1.0, threshold: float = 0.5, loss: _Loss | None = None) -> None:
        super().__init__()
        if positive_weight <= 0 or (loss and positive_weight != 1):
            raise ValueError(f"positive_weight is {positive_weight}: expected a positive weight, and no loss besides")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is {threshold}: expected a probability in (0, 1)")
        self.positive_weight, self.threshold, self.loss = positive_weight, threshold, loss
        self.criterion = loss or nn.BCEWithLogitsLoss()
        if positive_weight != 1:
            self.criterion.register_buffer("pos_weight", torch.tensor(positive_weight), persistent=False)

    def prepare(self) -> None:
        if self.num_outputs != 2:
            raise ValueError(f"BinaryClassification needs data with two classes, not {self.num_outputs}")
        self.num_outputs = 1
        ranked = {"auroc": tm.BinaryAUROC(), "calibration_error": tm.BinaryCalibrationError()}
        self.add_metrics(self.counted("Binary", self.threshold), ranked)

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.criterion(outputs, targets.reshape(outputs.shape).to(outputs.dtype))

    def scores(self, outputs: Tensor) -> Tensor:
        return outputs.float().sigmoid().squeeze(1)

    def decode(self, outputs: Tensor) -> Tensor:
        return (self.scores(outputs) > self.threshold).long()


class MultilabelClassification(BinaryClassification):
    """Any of K classes a sample, each a yes or no as in BinaryClassification: logits and 0/1 targets (B, K) int64."""

    fits = "several classes a sample"

    def prepare(self) -> None:
        count = self.num_outputs
        self.add_metrics(self.counted("Multilabel", count, self.threshold), {"auroc": tm.MultilabelAUROC(count)})

    def scores(self, outputs: Tensor) -> Tensor:
        return outputs.float().sigmoid()


class Regression(Task):
    """T numbers a sample: outputs (B, T) against targets (B, T) float32, by mean squared error.

    The loss sees targets brought to mean 0 and variance 1 by the training split's statistics, which the checkpoint
    keeps; predictions and metrics are in the unit of the targets.

    Args:
        loss: another loss, such as L1Loss, HuberLoss or MSEMAELoss; null for the mean squared error.
    """

    fits = "numeric targets"
    mean: Tensor
    std: Tensor

    def __init__(self, loss: _Loss | None = None) -> None:
        super().__init__()
        self.loss, self.criterion = loss, loss or nn.MSELoss()

    def prepare(self) -> None:
        self.register_buffer("mean", torch.zeros(self.num_outputs))
        self.register_buffer("std", torch.ones(self.num_outputs))
        self.add_metrics({"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False), "r2": R2Score()}, {})

    def start(self, data: Any) -> None:
        super().start(data)
        self.mean.copy_(data.train_targets.mean(dim=0))
        self.std.copy_(data.train_targets.std(dim=0).nan_to_num(1.0).clamp_min(1e-6))

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.criterion(outputs, (targets - self.mean) / self.std)

    def scores(self, outputs: Tensor) -> Tensor:
        return outputs.float() * self.std + self.mean


DEFAULT_TASKS = {task.fits: task for task in (Classification, MultilabelClassification, Regression)}
