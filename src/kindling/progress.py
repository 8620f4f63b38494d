"""What the terminal shows while a model trains."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelSummary, ProgressBar, RichProgressBar
from rich.console import Console
from rich.table import Table


def terminal_callbacks(trainer: Mapping[str, Any]) -> list[L.Callback]:
    """The progress bar and the summary, unless the trainer's settings switch them off or bring a bar of their own."""
    own = trainer["callbacks"] if isinstance(trainer["callbacks"], list) else [trainer["callbacks"]]
    bar = trainer["enable_progress_bar"] is not False and not any(isinstance(each, ProgressBar) for each in own)
    summary = trainer["enable_model_summary"] is not False
    return [Progress()] * bar + [Summary()] * summary


class Progress(RichProgressBar):
    """Lightning's rich progress bar, updated ten times a second; where there is no terminal, a line an epoch."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)  # per second
        self.drawn = 0.0
        if not sys.stdout.isatty():
            self.disable()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        # Drawing at every step costs more than a small network's step.
        if self.is_enabled and (trainer.is_last_batch or time.monotonic() - self.drawn > 0.1):
            super().on_train_batch_end(trainer, *args)
            self.drawn = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, model)
        if self.is_disabled and trainer.is_global_zero:
            metrics = "  ".join(f"{name} {float(value):.4f}" for name, value in trainer.progress_bar_metrics.items())
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {metrics}", flush=True)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"  # Lightning counts from 0

    def get_metrics(self, trainer: L.Trainer, model: L.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, model)
        metrics.pop("v_num", None)
        return metrics


class Summary(ModelSummary):
    """The model's parts: name, type, parameters, and the shape of one output (without the batch)."""

    @staticmethod
    def summarize(summary_data: list[tuple[str, list[str]]], *_: Any, **__: Any) -> None:
        columns = dict(summary_data)
        table = Table("part", "type", "parameters", "output")
        for name, kind, count, shape in zip(
            columns["Name"], columns["Type"], columns["Params"], columns["Out sizes"], strict=True
        ):
            if name != "task":
                table.add_row(name, kind, count.strip(), "×".join(shape.strip("[]").split(", ")[1:]))
        Console().print(table)
