"""A confusion-matrix heatmap after each validation that improves and after the test."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor


class ConfusionMatrix(L.Callback):
    """Draw which classes are taken for which: to TensorBoard, and to `figures/` in the run. Only for data with classes.

    Args:
        monitor: the metric that says whether a validation has improved.
        mode: whether lower (min) or higher (max) is better.
        max_classes: data with more classes than this gets no heatmap.
    """

    def __init__(self, monitor: str = "val/loss", mode: str = "min", max_classes: int = 50) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}: expected min or max")
        self.monitor, self.mode, self.max_classes = monitor, mode, max_classes
        self.best = float("inf")  # of the monitored metric, its sign flipped in mode max
        self.outputs: list[dict[str, Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_batch_end(self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, *_: Any) -> None:
        if not trainer.sanity_checking and len(_classes(trainer)) in range(2, self.max_classes + 1):
            self.outputs.append(outputs)

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if score is not None and self.outputs:
            score = float(score) if self.mode == "min" else -float(score)
            if score < self.best or not trainer.training:
                self.best = min(score, self.best)
                self._draw(trainer, "val")
        self.outputs.clear()

    def on_test_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if self.outputs:
            self._draw(trainer, "test")
        self.outputs.clear()

    def _draw(self, trainer: L.Trainer, stage: str) -> None:
        predictions, targets = (
            torch.cat([batch[key] for batch in self.outputs]).cpu().numpy() for key in ("predictions", "targets")
        )
        figure = confusion_matrix_figure(targets, predictions, _classes(trainer))
        if trainer.is_global_zero and trainer.log_dir:
            folder = Path(trainer.log_dir, "figures")
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / f"{stage}_confusion_matrix.png", dpi=100)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(f"{stage}/confusion_matrix", figure, trainer.global_step)


def confusion_matrix_figure(targets: Any, predictions: Any, classes: list[str]) -> Figure:
    """Heatmap of counts: a row a true class, a column a predicted class.

    Args:
        targets: class indices (N,).
        predictions: class indices (N,).
        classes: names of the K classes.
    """
    import seaborn as sns  # slow to import, and only needed here
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(targets, predictions, labels=range(len(classes)))
    side = 3 + 0.4 * len(classes)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    sns.heatmap(
        counts, annot=len(classes) <= 20, fmt="d", cmap="Blues", xticklabels=classes, yticklabels=classes, ax=axes
    )
    accuracy = counts.trace() / max(1, counts.sum())
    axes.set(xlabel="predicted class", ylabel="true class", title=f"{counts.sum():,} samples, accuracy {accuracy:.4f}")
    return figure


def _classes(trainer: L.Trainer) -> list[str]:
    return getattr(trainer.datamodule, "classes", None) or []  # type: ignore[attr-defined]
