"""Draws the figures that a module's task names, after a validation that improves and after the test."""

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from kindling.core.files import whole_file
from kindling.core.growing_file import going_on
from kindling.core.tables import printable
from kindling.figures import OF_THE_WORST, check_names, drawing
from kindling.figures.written_text import written_text
from kindling.run.shown import show_image, show_text
from kindling.tasks import Task

WORST = 24  # images kept
DRAWN_FROM = ("scores", "predictions", "targets")  # what a step has to return, each a tensor of the batch
OF_WORST = {"scores": "sureness", "predictions": "predictions", "targets": "targets"}  # used in place of a whole split


class Figures(L.Callback):
    """Draw how the model does on the validation and the test split, into `figures/` in the run and into its loggers.

    It draws what the module's task names in `figures`, from what its steps return; of several loaders, only the first.
    The best validation is the one by which the best checkpoint is chosen. A language model also writes some text.

    Args:
        enabled: false for no figures.
        every_seconds: least time between two drawings in a training, in seconds; the last improvement is always drawn.
    """

    def __init__(self, enabled: bool = True, every_seconds: float = 10.0) -> None:
        self.enabled, self.every_seconds = enabled, every_seconds
        self.task: Task | None = None  # the one whose figures are drawn
        self.best: dict[str, float] = {}  # metrics of the best validation
        self.outputs: list[dict[str, Tensor]] = []  # of the current validation or test
        self.worst: dict[str, Tensor] = {}  # the images that went worst so far
        self.pending: Any = None  # results of the best validation, not drawn yet
        self.drawn = -float("inf")
        self.folder: str | None = None  # of the run
        self.failed = set[str]()  # what could not be drawn

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        log_dir = trainer.log_dir  # asked here because all processes must ask at once
        if trainer.loggers and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.folder = log_dir
        task = getattr(pl_module, "task", None)
        self.task = task if self.enabled and isinstance(task, Task) and task.figures else None
        if self.task:
            check_names(self.task.figures, f"the task {type(self.task).__name__}")
        self.names = _names(pl_module.hparams, trainer.datamodule)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = state_dict["best"]
        self.best = best if isinstance(best, dict) else {}  # older runs keep a number, of an unknown metric

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.task is None or trainer.sanity_checking or dataloader_idx or not self._can_draw(outputs):
            return
        if not set(self.task.figures) <= {*OF_THE_WORST}:
            self._keep(self.task, outputs)
        if "worst_masks" in self.task.figures:
            self._keep_worst(self.task, batch, outputs)

    def _keep(self, task: Task, outputs: dict[str, Tensor]) -> None:
        """Keep what figures are drawn from: all of a split, or as many samples as the task says."""
        limit = task.samples_drawn
        left = None if limit is None else limit - sum(len(batch["targets"]) for batch in self.outputs)
        if left != 0:
            self.outputs.append({key: outputs[key][:left] for key in DRAWN_FROM})

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        if self.task and "worst_images" in self.task.figures and dataloader_idx == 0 and self._can_draw(outputs):
            self._keep_worst(self.task, batch, outputs)

    def _can_draw(self, outputs: Any) -> bool:
        """Whether anything can be drawn from what a step has returned."""
        if self.task is None or not isinstance(outputs, dict):
            return False
        return all(isinstance(outputs.get(key), Tensor) for key in DRAWN_FROM)

    def _keep_worst(self, task: Task, batch: Any, outputs: dict[str, Tensor]) -> None:
        """Keep the worst images (B, C, H, W), by the task's `sureness`, of a batch and of those before it."""
        scores, targets = outputs["scores"], outputs["targets"]
        images, sureness = _images(task, batch), task.sureness(scores, targets)
        if images is None or sureness is None:
            return
        worst = {"sureness": sureness, "images": images, "targets": targets, "predictions": outputs["predictions"]}
        if self.worst:
            if self.worst["images"].shape[1:] != images.shape[1:]:
                return  # images of several sizes don't fit into one tensor: only those of the first size are drawn
            worst = {key: torch.cat([self.worst[key], values]) for key, values in worst.items()}
        kept = worst["sureness"].argsort()[:WORST]
        self.worst = {key: values[kept] for key, values in worst.items()}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.outputs and not self.worst:
            return
        if trainer.state.fn != "fit":
            self._draw(trainer, "val", self._gather(trainer))
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if trainer.strategy.broadcast(self._is_best(checkpoint_callback(trainer), metrics)):  # all gather, or none
            self.best, self.pending = metrics, self._gather(trainer)
        self.outputs, self.worst = [], {}
        if time.monotonic() - self.drawn > self.every_seconds:
            self._draw_pending(trainer)

    def _is_best(self, checkpoint: Any, metrics: dict[str, float]) -> bool:
        """Whether a validation is the best so far by the checkpoints' metric; without a metric, the last one is.

        The first always is: the checkpoints may choose their metric only after it.
        """
        monitor = getattr(checkpoint, "monitor", None) or ""
        before, now = self.best.get(monitor, math.nan), metrics.get(monitor, math.nan)
        if math.isnan(before):
            return True
        return now < before if checkpoint.mode == "min" else now > before

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw_pending(trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.outputs or self.worst:
            self._draw(trainer, "test", self._gather(trainer))

    def _draw_pending(self, trainer: L.Trainer) -> None:
        if self.pending is not None:
            self._draw(trainer, "val", self.pending)
            self.pending, self.drawn = None, time.monotonic()

    def _gather(self, trainer: L.Trainer) -> Any:
        """The results of all batches and processes; None if the batches can't be joined."""
        from kindling.figures.results import Results, plain_text  # slow to import

        outputs, worst = self.outputs, self.worst
        self.outputs, self.worst, parts = [], {}, None
        try:
            parts = {key: torch.cat([batch[key] for batch in outputs]) for key in DRAWN_FROM if outputs}
        except Exception as error:  # such as masks of different sizes
            self._warn(trainer, "figures", error)
        if not trainer.strategy.reduce_boolean_decision(parts is not None, all=True):  # all gather, or none
            return None
        results, worst = _gathered(parts or {}), _gathered(worst)
        if worst:
            order = worst["sureness"].argsort()[:WORST]
            worst = {key: values[order] for key, values in worst.items()}
        images = tuple(worst[key] for key in ("images", "targets", "predictions")) if worst else None
        if not results:  # no figure is drawn from a whole split
            results = {key: worst[name] for key, name in OF_WORST.items()}
        return Results(names=list(map(plain_text, self.names)), worst=images, **results)  # type: ignore[arg-type]

    def _draw(self, trainer: L.Trainer, stage: str, results: Any) -> None:
        if not trainer.is_global_zero or results is None or not results.scores.isfinite().all():
            return  # a diverged model has no figures
        step = trainer.global_step - (trainer.state.fn == "fit")  # that of the metrics
        for path in self.task.figures if self.task else ():
            name = path.rpartition(".")[2]
            try:
                image = _pixels(drawing(path)(results))
            except Exception as error:  # a figure, which can be anybody's code, must not end a training
                self._warn(trainer, f"the figure {name}", error)
                continue
            if image is not None:
                self._write(trainer, stage, name, image, step)
        if trainer.world_size == 1:
            self._write_text(trainer, stage, step)

    def _write_text(self, trainer: L.Trainer, stage: str, step: int) -> None:
        """Save and show the text that a language model writes with its present weights."""
        text = written_text(trainer.lightning_module)
        if text is None:
            return
        if self.folder:
            file = Path(self.folder, "figures", f"{stage}_text.txt")
            with going_on(file), whole_file(file) as part:
                part.write_text(text, encoding="utf-8")
        for logger in trainer.loggers:
            show_text(logger, f"{stage}/text", text, step)

    def _write(self, trainer: L.Trainer, stage: str, name: str, image: np.ndarray, step: int) -> None:
        from matplotlib.image import imsave

        if self.folder:
            file = Path(self.folder, "figures", f"{stage}_{name}.png")
            with going_on(file), whole_file(file) as part:
                imsave(part, image)
        for logger in trainer.loggers:
            show_image(logger, f"{stage}/{name}", image, step)

    def _warn(self, trainer: L.Trainer, what: str, error: Exception) -> None:
        """Say once why something is not drawn."""
        if what not in self.failed and trainer.is_global_zero:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"warning: can't draw {what}, and goes on without it: {printable(reason)[:300]}", flush=True)
        self.failed.add(what)


def _pixels(figure: Any) -> np.ndarray | None:
    """A figure as (H, W, 3) uint8; None for None."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if figure is None:
        return None
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def checkpoint_callback(trainer: L.Trainer) -> Any:
    """The callback that keeps `best.ckpt`; a module may bring others."""
    callbacks: list[Any] = trainer.checkpoint_callbacks
    return next((each for each in callbacks if getattr(each, "filename", None) == "best"), trainer.checkpoint_callback)


def _names(hparams: Any, data: Any) -> list[str]:
    """The names of the classes or the targets, as the module or its data has them."""
    for key in ("classes", "targets"):
        for names in (hparams.get(key), getattr(data, key, None)):
            if isinstance(names, list | tuple) and names:  # a foreign module's classes can be their number
                return [str(name) for name in names]
    return []


def _images(task: Task, batch: Any) -> Tensor | None:
    """The images (B, C, H, W) among a batch's inputs: the first of them, if it has that shape."""
    inputs = task.inputs_of(batch)
    first = inputs[0] if isinstance(inputs, list | tuple) and inputs else inputs
    return first if isinstance(first, Tensor) and first.dim() == 4 else None


def _gathered(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return {key: torch.cat(gather_all_tensors(part) if distributed else [part]).cpu() for key, part in parts.items()}
