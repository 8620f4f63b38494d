"""Draws the figures of `figures/` after a validation that improves and after the test."""

import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from kindling.core.files import whole_file
from kindling.core.growing_file import going_on
from kindling.run.monitor import monitored

WORST = 24  # images kept


class Figures(L.Callback):
    """Draw how the model does on the validation and the test split: to TensorBoard, and to `figures/` in the run.

    Args:
        enabled: false for no figures.
        monitor: the metric that says whether a validation has improved; null for the module's `monitor`, or else its
            validation's loss.
        mode: whether lower (min) or higher (max) is better; null to tell by the metric's name.
        every_seconds: least time between two drawings in a training, in seconds; the last improvement is always drawn.
    """

    def __init__(
        self,
        enabled: bool = True,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        every_seconds: float = 10.0,
    ) -> None:
        self.monitor, self.mode, self.every_seconds = monitor, mode, every_seconds
        self.best = float("inf")  # of the monitored metric, its sign flipped in mode max
        self.outputs: list[dict[str, Tensor]] = []  # of the validation or test under way
        self.worst: dict[str, Tensor] = {}  # the images with the least probability so far
        self.pending: Any = None  # results of the best validation, not drawn yet
        self.drawn = -float("inf")
        self.folder: str | None = None  # of the run

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        log_dir = trainer.log_dir  # asked here because all processes must ask at once
        if trainer.loggers and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.folder = log_dir
        data = trainer.datamodule  # type: ignore[attr-defined]
        self.names = getattr(data, "classes", None) or getattr(data, "targets", None) or []

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        if not self.names or trainer.sanity_checking:
            return
        self.outputs.append(outputs)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        self.on_validation_batch_end(trainer, pl_module, outputs, batch)
        scores, targets = outputs["scores"], outputs["targets"]
        if targets.dim() > 1 or batch[0].dim() != 4:  # one class each, images
            return
        both = torch.stack([1 - scores, scores], dim=1) if scores.dim() == 1 else scores
        sureness = both.gather(1, targets[:, None])[:, 0]
        found = {"sureness": sureness, "images": batch[0], "targets": targets, "predictions": outputs["predictions"]}
        if self.worst:
            found = {key: torch.cat([self.worst[key], values]) for key, values in found.items()}
        kept = found["sureness"].argsort()[:WORST]
        self.worst = {key: values[kept] for key, values in found.items()}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.outputs:
            return
        if trainer.state.fn != "fit":
            self._draw(trainer, "val", self._gather(pl_module))
            return
        monitor = monitored(trainer, self.monitor, self.mode)
        score = -float("inf")  # with no metric to go by, the last is the best
        if monitor:
            value = float(trainer.callback_metrics.get(monitor.metric, float("inf")))
            score = value if monitor.mode == "min" else -value
        if score < self.best or not monitor:
            self.best, self.pending = score, self._gather(pl_module)
        self.outputs = []
        if time.monotonic() - self.drawn > self.every_seconds:
            self._draw_pending(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw_pending(trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.outputs:
            self._draw(trainer, "test", self._gather(pl_module))

    def _draw_pending(self, trainer: L.Trainer) -> None:
        if self.pending is not None:
            self._draw(trainer, "val", self.pending)
            self.pending, self.drawn = None, time.monotonic()

    def _gather(self, model: Any) -> Any:
        """The results of all batches and processes."""
        from kindling.figures.results import Results  # slow to import

        outputs, worst = self.outputs, self.worst
        self.outputs, self.worst = [], {}
        parts = {key: torch.cat([batch[key] for batch in outputs]) for key in ("targets", "predictions", "scores")}
        parts, worst = _gathered(parts), _gathered(worst)
        order = worst["sureness"].argsort()[:WORST] if worst else None
        images = tuple(worst[key][order] for key in ("images", "targets", "predictions")) if worst else None
        return Results(kind=model.task.fits, names=self.names, worst=images, **parts)  # type: ignore[arg-type]

    def _draw(self, trainer: L.Trainer, stage: str, results: Any) -> None:
        if not trainer.is_global_zero or not results.scores.isfinite().all():  # of a diverged model there is no figure
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.image import imsave

        from kindling.figures import FIGURES

        step = trainer.global_step - (trainer.state.fn == "fit")  # that of the metrics
        for name, draw in FIGURES.items():
            figure = draw(results)
            if figure is None:
                continue
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            image = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # (H, W, 3) uint8
            if self.folder:
                path = Path(self.folder, "figures", f"{stage}_{name}.png")
                with going_on(path), whole_file(path) as part:
                    imsave(part, image)
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(f"{stage}/{name}", image, step, dataformats="HWC")


def _gathered(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return {key: torch.cat(gather_all_tensors(part) if distributed else [part]).cpu() for key, part in parts.items()}
