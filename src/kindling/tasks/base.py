"""What a model's outputs mean: the loss, the metrics of each stage, and outputs decoded into predictions."""

from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from kindling.core.errors import UsageError
from kindling.tasks.measures import WeightedMean, names_in
from kindling.tasks.own_metrics import OfSplit, Specs, own_metrics, try_out

# What the targets of Kindling's own data can be, and the task for each unless another is chosen.
TASK_FOR: dict[str, str] = {
    "one class a sample": "Classification",
    "several classes a sample": "MultilabelClassification",
    "numeric targets": "Regression",
}


class Task(nn.Module):
    """Base of all tasks. A subclass defines what it can; the engine manages without the rest.

    `loss_of` is enough to train. With `add_metrics`, called in `prepare`, more is measured than the loss; with `scores`
    a model can be exported, with `columns` its predictions become a table, and with `figures` they are drawn. A task
    keeps each constructor argument under its own name, so that it can be saved.

    An argument that is out of range, or that the loss has no place for, raises a ValueError.
    """

    fits: str = ""  # the targets that it is for, as TASK_FOR has them; with a word of its own it is given any data
    figures: tuple[str, ...] = ()  # modules of `kindling/figures/` that suit it, or paths of modules with a `draw`
    metrics: Specs | None = None  # measured on a split in addition to the task's own: see own_metrics.py
    metrics_of: tuple[str, ...] = ("torchmetrics.classification", "torchmetrics.regression")  # where its metrics are
    samples_drawn: int | None = None  # how many of a split's first samples the figures need; None for all
    input_shape: tuple[int, ...]  # of the model's first input, without the batch; set by the model before `build`
    vocabulary: int | None = None  # number of different tokens, if that is tokens; likewise
    num_outputs: int  # how many outputs the model must give
    criterion: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.add_metrics({}, {})

    def chosen(self, default: type["Task"]) -> "Task":
        """The task itself; `DefaultTask` gives way to the default."""
        return self

    def build(self, targets: str, count: int) -> None:
        """Set up for what the data's targets are and how many classes or numbers there are.

        Raises:
            ValueError: if the task is not for such targets, or its loss is not for such outputs.
        """
        if self.fits in TASK_FOR and targets != self.fits:
            needs = f"{type(self).__name__} needs data with {self.fits}"
            raise ValueError(f"{needs}: for {targets} use task {TASK_FOR.get(targets, 'of your own')}")
        self.num_outputs = count
        self.prepare()
        if example := self.example(count):
            self.try_loss(*example)
            outputs, targets = example
            try_out(self.metrics or [], self.own_metrics, self.scores(outputs), targets)

    def prepare(self) -> None:
        """For `num_outputs` classes or targets: call `add_metrics`, and set up what the loss needs."""

    def example(self, count: int) -> tuple[Any, Any] | None:
        """Outputs and targets of a batch for `count` classes or targets, to try the loss on; None for no trial."""
        return None

    def try_loss(self, outputs: Any, targets: Any) -> None:
        """Refuse a loss that this task can't use before the training does, with a ValueError."""
        try:
            self.loss_of(outputs, targets)
        except (RuntimeError, ValueError, TypeError):
            if not hasattr(self, "criterion"):
                raise  # a mistake in the task itself
            raise ValueError(
                f"loss is {type(self.criterion).__name__}, which {type(self).__name__} can't use"
            ) from None

    def add_metrics(self, batch: dict[str, Metric], split: dict[str, Metric]) -> None:
        """Keep a set of metrics for each stage. Those of `split` need a whole split: training batches go without."""
        self.train_metrics = MetricCollection(dict[str, Any](batch)).clone(prefix="train/")
        of_split = MetricCollection(dict[str, Any](batch | split))
        self.own_metrics: dict[str, OfSplit] = {}  # those of `metrics`, by their names
        if self.metrics:
            arguments, taken = self.metric_arguments(), names_in(of_split)
            self.own_metrics = own_metrics(self.metrics, self.metrics_of, arguments, taken)
            of_split.add_metrics(dict[str, Any](self.own_metrics))
        self.val_metrics = of_split.clone(prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")
        self.val_loss, self.test_loss = WeightedMean(), WeightedMean()
        self.notes: dict[str, str] = {}  # why a metric is undefined, or what its mean leaves out, by its logged name

    def metric_arguments(self) -> dict[str, Any]:
        """What metrics of torchmetrics take from the task, by the names of their arguments, such as num_classes."""
        return {}

    def start(self, data: Any) -> None:
        """Before a training: learn what the task needs from the data, or refuse it with a MisconfigurationException."""
        mixes = getattr(getattr(data, "augment", None), "mixes", False)
        if mixes and not isinstance(getattr(self, "criterion", None), nn.CrossEntropyLoss):
            raise MisconfigurationException("mixup and cutmix need the task Classification with cross-entropy")

    def inputs_of(self, batch: Any) -> Any:
        """What the model's forward gets from a batch: all but the last part."""
        return batch[:-1]

    def targets_of(self, batch: Any) -> Any:
        """What the loss compares with: the last part."""
        return batch[-1]

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        """Loss of a batch, averaged over its samples: outputs (B, num_outputs), targets (B, …) → scalar."""
        return self.criterion(outputs, targets)

    def loss_weight(self, targets: Any) -> Tensor | None:
        """The weight of a batch's loss in that of its split, if its samples have weights; None for their number."""
        return None

    def scores(self, outputs: Any) -> Any:
        """What metrics, figures and an exported file get, such as probabilities; by default the outputs as they are."""
        return outputs

    def prediction(self, outputs: Any, batch: Any) -> Any:
        """What `columns` takes for the inputs of a batch; by default `scores`."""
        return self.scores(outputs)

    def exported(self, outputs: Any, batch: Any) -> Any:
        """What an exported file gives for the inputs of a batch; by default the same."""
        return self.prediction(outputs, batch)

    def sureness(self, scores: Any, targets: Any) -> Tensor | None:
        """How right each sample is, (B,): the probability of its class; or None. Figures choose the worst by it."""
        if targets.dim() != 1 or scores.dim() > 2:
            return None
        both = torch.stack([1 - scores, scores], dim=1) if scores.dim() == 1 else scores
        return both.gather(1, targets[:, None])[:, 0]

    def decode(self, scores: Any) -> Any:
        """Predictions that compare with the targets, from `scores`: (B, …)."""
        return scores

    def see_batch(self, outputs: Any, targets: Any) -> None:
        """Update `train_metrics` with a training batch: outputs (B, num_outputs), targets (B, …)."""
        self.train_metrics.update(self.scores(outputs), targets)

    def batch_metrics(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Metrics of a training batch by itself: outputs (B, num_outputs), targets (B, …) → scalars."""
        if not self.train_metrics:
            return {}
        self.see_batch(outputs, targets)
        metrics = self.train_metrics.compute()
        self.train_metrics.reset()
        return metrics

    def take_notes(self, metrics: MetricCollection) -> None:
        """Keep what the metrics of a split, just computed, say about themselves."""
        prefix = metrics.prefix or ""
        self.notes = {name: note for name, note in self.notes.items() if not name.startswith(prefix)}
        for metric in metrics.values(copy_state=False):
            self.notes |= {f"{prefix}{name}": note for name, note in getattr(metric, "notes", {}).items()}

    def columns(self, scores: Any, names: list[str]) -> dict[str, Any]:
        """What a table says about each sample, from `prediction`: lists or arrays of one dimension by name.

        `names` are those of the classes or the targets. A list of arrays (H, W) of whole numbers becomes PNG files.
        """
        raise NotImplementedError

    def target_columns(self, targets: Any, names: list[str]) -> dict[str, Any]:
        """What the table says about the targets, where they are known; by default nothing."""
        return {}

    def declares(self, method: str) -> bool:
        """Whether this task, rather than this base, defines a method."""
        return getattr(type(self), method) is not getattr(Task, method)

    def check_outputs(self, outputs: Any) -> None:
        """Before a prediction: a UsageError if `scores` would not mean what it says for these outputs.

        A task that fits targets of TASK_FOR takes only (B, num_outputs); any other says itself what its scores are.
        """
        shape = getattr(outputs, "shape", (None,))
        if self.fits in TASK_FOR and tuple(shape[1:]) != (self.num_outputs,):
            given = f"the model gives {type(outputs).__name__} of shape {tuple(shape)}"
            raise UsageError(
                f"{type(self).__name__} is for outputs of shape (batch, {self.num_outputs}), but {given}: a task whose "
                "fits is a word of its own can say what they mean"
            )
