"""What a command shows in the terminal: what is trained on what, the progress, the results, and what to type next."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelSummary, ProgressBar, RichProgressBar
from rich.console import Console
from rich.table import Column, Table

from kindling.data.base import Data
from kindling.models.base import Model


def print_header(model: Model, data: Data, trainer: Any, run: Path | None, seed: Any) -> None:
    """Two lines on what is trained on what and how, and one on where the run is."""
    sizes = ", ".join(f"{len(indices):,} {split}" for split, indices in data.splits.items())
    names = data.classes or data.targets or []
    kind = "classes" if data.classes else "target" if len(names) == 1 else "targets"
    shape = "×".join(map(str, data.input_shape))
    precision = trainer.precision + " (auto)" * trainer.chose_precision
    device = "cpu" if trainer.strategy.root_device.type == "cpu" else f"{trainer.num_devices} × {trainer.accelerator}"
    print(
        f"{type(model).__name__} ({model.num_parameters:,} parameters, {type(model.task).__name__}) on "
        f"{type(data).__name__} ({shape} → {len(names)} {kind}; {sizes})\n"
        f"device {device}, precision {precision}, batch {data.batch_size}, seed {seed}\n"
        f"run    {run or 'none (nothing is written)'}"
    )
    if data.classes:
        print(f"train  {balance(data.class_counts['train'])}")
    for note in data.notes:
        print(f"note   {note}")


def balance(counts: dict[str, int]) -> str:
    """Class counts in a line; of more than ten classes the smallest and the largest."""
    if len(counts) <= 10:
        return ", ".join(f"{name}: {count:,}" for name, count in counts.items())
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    return f"{len(counts)} classes, from {counts[least]:,} ({least}) to {counts[most]:,} ({most})"


def print_metrics(title: str, metrics: dict[str, dict[str, float]]) -> None:
    """A table with a row a metric and a column a split."""
    print(title)
    table = Table("metric", *(Column("validation" if split == "val" else split, justify="right") for split in metrics))
    for name in dict.fromkeys(name for values in metrics.values() for name in values):
        table.add_row(name, *(f"{values[name]:.4f}" if name in values else "" for values in metrics.values()))
    Console().print(table)


def print_next(run: Path) -> None:
    """Where everything is, and what to type next."""
    parts = ("checkpoints", "figures", "metrics.csv", "results.json", "config.yaml", "environment.json")
    print(
        f"in {run}: {', '.join(part for part in parts if (run / part).exists())}\n"
        "next:\n"
        f"  tensorboard --logdir {run.parent.parent}    # curves and figures\n"
        f"  kindling test --run {shlex.quote(str(run))}\n"
        f"  kindling predict --run {shlex.quote(str(run))} --input PATH    # new images, a table or arrays\n"
        f"  kindling fit --resume {shlex.quote(str(run))} --trainer.max_epochs 100    # train on"
    )


def terminal_callbacks(trainer: Any) -> list[L.Callback]:
    """The progress bar and the summary, unless the trainer's settings switch them off or bring a bar of their own."""
    own = trainer["callbacks"] if isinstance(trainer["callbacks"], list) else [trainer["callbacks"]]
    bar = trainer["enable_progress_bar"] is not False and not any(isinstance(each, ProgressBar) for each in own)
    summary = trainer["enable_model_summary"] is not False
    return [Progress(10 if sys.stdout.isatty() else 0)] * bar + [Summary()] * summary


class Progress(RichProgressBar):
    """Lightning's rich progress bar, updated ten times a second; where there is no terminal, a line an epoch."""

    drawn = 0.0  # when, in seconds: drawing at every step would cost more than a small network's step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
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


class Summary(ModelSummary):
    """The model's parts: name, type, parameters, and the shape of one output (without the batch)."""

    @staticmethod
    def summarize(summary_data: list[tuple[str, list[str]]], *_: Any, **__: Any) -> None:
        table = Table("part", "type", "parameters", "output")
        for _index, name, kind, count, *_others, shape in zip(*dict(summary_data).values(), strict=True):
            if name != "task":
                table.add_row(name, kind, count.strip(), "×".join(shape.strip("[]").split(", ")[1:]))
        Console().print(table)
