"""What a command prints besides its progress: what is trained on what, the results, and what to type next."""

import shlex
from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console
from rich.table import Table

from kindling.data.base import Data
from kindling.models.base import Model


def print_header(model: Model, data: Data, trainer: L.Trainer, run: Path | None, seed: Any) -> None:
    """Two lines on what is trained on what and how, and one on where the run is."""
    sizes = ", ".join(f"{len(indices):,} {split}" for split, indices in data.splits.items())
    names = data.classes or data.targets or []
    kind = "classes" if data.classes else "target" if len(names) == 1 else "targets"
    shape = "×".join(map(str, data.input_shape))
    device = "cpu" if trainer.strategy.root_device.type == "cpu" else f"{trainer.num_devices} × {trainer.accelerator}"
    _print(
        f"{type(model).__name__} ({model.num_parameters:,} parameters, {type(model.task).__name__}) on "
        f"{type(data).__name__} ({shape} → {len(names)} {kind}; {sizes})",
        f"device {device}, precision {trainer.precision}, batch {data.batch_size}, seed {seed}",
        f"run    {run or 'none (nothing is written)'}",
    )


def print_metrics(title: str, metrics: dict[str, dict[str, float]]) -> None:
    """A table with a row a metric and a column a split."""
    _print(title)
    table = Table("metric")
    for split in metrics:
        table.add_column({"val": "validation"}.get(split, split), justify="right")
    for name in dict.fromkeys(name for values in metrics.values() for name in values):
        table.add_row(name, *(f"{values[name]:.4f}" if name in values else "" for values in metrics.values()))
    Console().print(table)


def print_next(run: Path) -> None:
    """Where everything is, and what to type next."""
    parts = ("checkpoints", "figures", "metrics.csv", "results.json", "config.yaml", "environment.json")
    _print(
        f"in {run}: {', '.join(part for part in parts if (run / part).exists())}",
        "next:",
        f"  tensorboard --logdir {run.parent.parent}    # curves and figures",
        f"  kindling test --run {shlex.quote(str(run))}",
        f"  kindling fit --resume {shlex.quote(str(run))} --trainer.max_epochs 100    # train on",
    )


def _print(*lines: str) -> None:
    # soft_wrap: a path or a command must stay one line, so that it can be copied.
    Console(soft_wrap=True, highlight=False).print("\n".join(lines), markup=False)
