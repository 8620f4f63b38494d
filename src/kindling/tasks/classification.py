"""Classes: one of several, yes or no, or any of several per sample."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from kindling.core.errors import UsageError
from kindling.tasks.base import Task
from kindling.tasks.measures import ClassMeasures, LabelMeasures
from kindling.tasks.own_metrics import Specs


class _Classes(Task):
    """What the tasks with classes share: names of classes in tables."""

    figures: tuple[str, ...] = ("confusion_matrix", "curves", "worst_images")
    metrics_of = ("torchmetrics.classification",)

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        size = count + 1  # of the batch, different from any other dimension
        targets = torch.arange(size) % count
        return one_hot(targets, count)[:, -self.num_outputs :].float(), targets

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        """The class, and the probability of each."""
        both = torch.stack([1 - scores, scores], dim=1) if scores.dim() == 1 else scores  # (B, K)
        probabilities = {f"probability_{name}": each.numpy() for name, each in zip(names, both.T, strict=True)}
        return {"prediction": self.words(self.decode(scores), names)} | probabilities

    def target_columns(self, targets: Tensor, names: list[str]) -> dict[str, Any]:
        return {"target": self.words(targets, names)}

    def words(self, classes: Tensor, names: list[str]) -> list[str]:
        """Predictions or targets (B, …) as a text for each sample."""
        return [names[index] for index in classes.tolist()]


class Classification(_Classes):
    """One of K classes per sample: cross-entropy on logits (B, K) against class indices (B,) int64.

    The loss includes the softmax, so the model ends in a linear layer. Probabilities (B, K) can be targets too.

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1) (Szegedy et al., 2016).
        class_weights: weight of each class in the loss, in the order of the data's classes; balanced for weights that
            make the classes of the training split count equally; null for equal weights.
        loss: another loss on logits, such as FocalLoss; null for cross-entropy.
        metrics: further metrics of torchmetrics or a project to measure, on probabilities: see own_metrics.py.
    """

    fits = "one class a sample"

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["balanced"] | None = None,
        loss: nn.Module | None = None,
        metrics: Specs | None = None,
    ) -> None:
        super().__init__()
        self.metrics = metrics
        if not 0 <= label_smoothing < 1 or (loss and label_smoothing):
            raise ValueError(
                f"label_smoothing is {label_smoothing}: expected a fraction in [0, 1), and 0 if loss is set"
            )
        if class_weights and loss and not hasattr(loss, "weight"):
            raise ValueError(f"class_weights is {class_weights}: {type(loss).__name__} takes no weights")
        self.label_smoothing, self.class_weights, self.loss = label_smoothing, class_weights, loss
        self.criterion = loss or nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def prepare(self) -> None:
        self.weigh()
        self.add_metrics({"measures": ClassMeasures(False)}, {"measures": ClassMeasures(True)})

    def weigh(self) -> None:
        """Give the loss its weights."""
        count, weights = self.num_outputs, self.class_weights
        if weights == "balanced":  # learnt in `start`, and kept in the checkpoint
            self._set_weights(torch.ones(count), persistent=True)
        elif weights is not None:
            if len(weights) != count:
                raise ValueError(f"class_weights has {len(weights)} values: expected one for each of {count} classes")
            self._set_weights(torch.Tensor(weights), persistent=False)

    def metric_arguments(self) -> dict[str, Any]:
        return {"task": "multiclass", "num_classes": self.num_outputs}

    def _set_weights(self, weights: Tensor, persistent: bool) -> None:
        vars(self.criterion).pop("weight", None)  # of a loss that keeps it as a plain attribute
        self.criterion.register_buffer("weight", weights, persistent=persistent)

    def start(self, data: Any) -> None:
        super().start(data)
        self.balance(data.train_targets)

    def balance(self, targets: Tensor) -> None:
        """Learn the weights that make classes count equally from the training split's targets (N,)."""
        if self.class_weights == "balanced":
            counts = torch.bincount(targets, minlength=self.num_outputs).clamp_min(1)
            self.criterion.weight.copy_(counts.sum() / (self.num_outputs * counts))  # type: ignore[operator]

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.dim() == 2 and targets.dim() == 3:
            raise UsageError(
                "Classification needs data with one class a sample: for masks use Segmentation, as UNet does"
            )
        return super().loss_of(outputs, targets)

    def loss_weight(self, targets: Tensor) -> Tensor | None:
        """The sum of the weights of the classes, which these losses divide by."""
        weights = getattr(self.criterion, "weight", None)
        divides = isinstance(self.criterion, nn.CrossEntropyLoss | nn.NLLLoss) and not targets.is_floating_point()
        return weights[targets].sum() if divides and weights is not None else None

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities: (B, K) → (B, K)."""
        return outputs.float().softmax(dim=1)

    def see_batch(self, outputs: Tensor, targets: Tensor) -> None:
        mixed = targets.is_floating_point()  # of mixup and cutmix: the class with the largest share counts
        super().see_batch(outputs, targets.argmax(dim=1) if mixed else targets)

    def decode(self, scores: Tensor) -> Tensor:
        return scores.argmax(dim=1)


class BinaryClassification(_Classes):
    """Yes or no: binary cross-entropy on logits (B, 1) against class indices (B,) int64; class 1 is the positive one.

    Args:
        positive_weight: weight of a positive sample in the loss; a negative one has 1. balanced for the weight that
            makes both kinds in the training split count equally.
        threshold: a probability above it means positive, in (0, 1).
        loss: another loss on logits and 0/1 targets, such as FocalLoss; null for binary cross-entropy.
        metrics: further metrics of torchmetrics or a project to measure, on probabilities: see own_metrics.py.
    """

    fits = "one class a sample"

    def __init__(
        self,
        positive_weight: float | Literal["balanced"] = 1.0,
        threshold: float = 0.5,
        loss: nn.Module | None = None,
        metrics: Specs | None = None,
    ) -> None:
        super().__init__()
        self.metrics = metrics
        if (positive_weight != "balanced" and positive_weight <= 0) or (loss and positive_weight != 1):
            raise ValueError(f"positive_weight is {positive_weight}: expected a positive weight, and 1 if loss is set")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is {threshold}: expected a probability in (0, 1)")
        self.positive_weight, self.threshold, self.loss = positive_weight, threshold, loss
        self.criterion = loss or nn.BCEWithLogitsLoss()

    def prepare(self) -> None:
        if self.num_outputs != 2:
            raise ValueError(f"BinaryClassification needs data with two classes, not {self.num_outputs}")
        self.num_outputs = 1
        self.add_label_metrics(several=False)
        self.weigh()

    def metric_arguments(self) -> dict[str, Any]:
        return {"task": "binary", "threshold": self.threshold}

    def add_label_metrics(self, several: bool) -> None:
        batch, split = (LabelMeasures(several, self.threshold, whole_split) for whole_split in (False, True))
        self.add_metrics({"measures": batch}, {"measures": split})

    def weigh(self) -> None:
        """Give the loss its weights; balanced ones are learnt in `start` and kept in the checkpoint."""
        if self.positive_weight == "balanced":
            self.criterion.register_buffer("pos_weight", torch.ones(self.num_outputs))
        elif self.positive_weight != 1:
            self.criterion.register_buffer("pos_weight", torch.tensor(self.positive_weight), persistent=False)

    def start(self, data: Any) -> None:
        super().start(data)
        if self.positive_weight == "balanced":
            positive = data.train_targets.reshape(-1, self.num_outputs).float().mean(dim=0).clamp(1e-6, 1)
            self.criterion.pos_weight.copy_((1 - positive) / positive)  # type: ignore[operator]

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.criterion(outputs, targets.reshape(outputs.shape).to(outputs.dtype))

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities of class 1: (B, 1) → (B,)."""
        return outputs.float().sigmoid().squeeze(1)

    def decode(self, scores: Tensor) -> Tensor:
        return (scores > self.threshold).long()


class MultilabelClassification(BinaryClassification):
    """Any of K classes per sample, each a yes or no as in BinaryClassification: logits and 0/1 targets (B, K) int64."""

    fits = "several classes a sample"
    figures = ("curves",)

    def prepare(self) -> None:
        self.add_label_metrics(several=True)
        self.weigh()

    def metric_arguments(self) -> dict[str, Any]:
        return {"task": "multilabel", "num_labels": self.num_outputs, "threshold": self.threshold}

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        batch = torch.eye(count + 1, count)
        return batch, batch.long()

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities: (B, K) → (B, K)."""
        return outputs.float().sigmoid()

    def words(self, classes: Tensor, names: list[str]) -> list[str]:
        """All classes of a sample in one text, joined by `;`."""
        rows = ([name for name, given in zip(names, row, strict=True) if given] for row in classes.tolist())
        return [";".join(row) for row in rows]
