"""A confusion-matrix heatmap after a validation that improves and after the test."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor


class ConfusionMatrix(L.Callback):
    """Draw which classes are taken for which: to TensorBoard, and to `figures/` in the run. Only for data with classes.

    Args:
        monitor: the metric that says whether a validation has improved.
        mode: whether lower (min) or higher (max) is better.
        max_classes: data with more classes than this gets no heatmap.
        every_seconds: least time between two drawings in a training, in seconds; the last improvement is always drawn.
    """

    def __init__(
        self, monitor: str = "val/loss", mode: str = "min", max_classes: int = 50, every_seconds: float = 10.0
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}: expected min or max")
        self.monitor, self.mode, self.max_classes, self.every_seconds = monitor, mode, max_classes, every_seconds
        self.best = float("inf")  # of the monitored metric, its sign flipped in mode max
        self.outputs: list[dict[str, Tensor]] = []  # of the validation or test under way
        self.pending: np.ndarray | None = None  # counts of the best validation, not drawn yet
        self.drawn = -float("inf")

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        log_dir = trainer.log_dir  # asked here because all processes must ask at once
        self.folder = log_dir if trainer.loggers and not trainer.fast_dev_run else None  # type: ignore[attr-defined]
        self.classes = getattr(trainer.datamodule, "classes", None) or []  # type: ignore[attr-defined]
        self.active = 2 <= len(self.classes) <= self.max_classes

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        if self.active and not trainer.sanity_checking:
            self.outputs.append(outputs)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        self.on_validation_batch_end(trainer, pl_module, outputs)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.active or trainer.sanity_checking:
            return
        counts = self._count(trainer)
        if trainer.state.fn != "fit":
            self._draw(trainer, "val", counts)
            return
        value = float(trainer.callback_metrics.get(self.monitor, float("inf")))
        score = value if self.mode == "min" else -value
        if score < self.best:
            self.best, self.pending = score, counts
        if time.monotonic() - self.drawn > self.every_seconds:
            self._draw_pending(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw_pending(trainer)

    def _draw_pending(self, trainer: L.Trainer) -> None:
        if self.pending is not None:
            self._draw(trainer, "val", self.pending)
            self.pending, self.drawn = None, time.monotonic()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.active:
            self._draw(trainer, "test", self._count(trainer))

    def _count(self, trainer: L.Trainer) -> np.ndarray:
        """Counts (K, K) of the samples of each true class (row) by predicted class (column), of all processes."""
        from sklearn.metrics import confusion_matrix  # slow to import

        outputs, self.outputs = self.outputs, []
        targets, predictions = (
            torch.cat([batch[key] for batch in outputs]).cpu() for key in ("targets", "predictions")
        )
        counts = torch.from_numpy(confusion_matrix(targets, predictions, labels=range(len(self.classes))))
        return trainer.strategy.reduce(counts.to(trainer.strategy.root_device), reduce_op="sum").cpu().numpy()

    def _draw(self, trainer: L.Trainer, stage: str, counts: np.ndarray) -> None:
        if not trainer.is_global_zero:
            return
        image = draw_confusion_matrix(counts, self.classes)
        if self.folder:
            from matplotlib.image import imsave

            folder = Path(self.folder, "figures")
            folder.mkdir(parents=True, exist_ok=True)
            imsave(folder / f"{stage}_confusion_matrix.png", image)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"{stage}/confusion_matrix", image, trainer.global_step, dataformats="HWC")


def draw_confusion_matrix(counts: np.ndarray, classes: list[str]) -> np.ndarray:
    """Draw a heatmap: counts (K, K), a row a true class → image (H, W, 3) uint8."""
    import seaborn as sns  # slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = 3 + 0.4 * len(classes)  # inches
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    sns.heatmap(
        counts, annot=len(classes) <= 20, fmt="d", cmap="Blues", xticklabels=classes, yticklabels=classes, ax=axes
    )
    axes.tick_params(axis="y", rotation=0)
    accuracy = counts.trace() / max(1, counts.sum())
    axes.set(xlabel="predicted class", ylabel="true class", title=f"{counts.sum():,} samples, accuracy {accuracy:.4f}")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
