"""What a command shows in the terminal: what it trains on what, its progress, the results, and what to type next."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelSummary, ProgressBar, RichProgressBar
from lightning.pytorch.utilities.model_helpers import is_overridden
from rich.table import Column, Table

from kindling.cli.build import Parts
from kindling.cli.summary import in_a_line
from kindling.core.consoles import typed
from kindling.core.tables import console, print_plain, printable, shown
from kindling.data.base import Data
from kindling.data.text import Text
from kindling.run.folder import ROOT


def print_header(parts: Parts, summary: dict[str, Any], run: Path | None, notes: list[str]) -> None:
    """What is trained on what and how, where the run is, and what a user should know."""
    data = parts.datamodule
    batch = f"batch {summary['batch_size']}, " if summary["batch_size"] else ""
    print_plain(
        f"{in_a_line(summary)}\n"
        f"device {summary['device']}, precision {summary['precision']}, {batch}seed {parts.seed}\n"
        f"run    {run or 'none (nothing is written)'}"
    )
    if isinstance(data, Data) and data.class_counts:
        print_plain(f"train  {balance(data.class_counts['train'])}")
    for note in notes:
        print_plain(f"note   {note}")


def balance(counts: dict[str, int]) -> str:
    """Class counts in a line; for more than ten classes, only the smallest and the largest."""
    if len(counts) <= 10:
        return ", ".join(f"{name}: {count:,}" for name, count in counts.items())
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    return f"{len(counts)} classes, from {counts[least]:,} ({least}) to {counts[most]:,} ({most})"


def print_metrics(title: str, metrics: dict[str, dict[str, float]], notes: dict[str, str]) -> None:
    """Print a table with a row per metric and a column per split, and notes on single values by their names."""
    print(title)
    table = Table("metric", *(Column("validation" if split == "val" else split, justify="right") for split in metrics))
    for name in dict.fromkeys(name for values in metrics.values() for name in values):
        cells = (
            _cell(values[name], f"{split}/{name}" in notes) if name in values else ""
            for split, values in metrics.items()
        )
        table.add_row(printable(name), *cells)
    if table.row_count:  # a module without a validation and a test measures nothing
        console().print(table)
    for name, note in notes.items():
        print_plain(f"note   {name} is {note}")


def _cell(value: float, has_note: bool) -> str:
    return "undefined" if math.isnan(value) and has_note else shown(value)


def metric_notes(model: L.LightningModule) -> dict[str, str]:
    """What a module's task says of its metrics: why one is undefined, or what its mean leaves out."""
    return getattr(getattr(model, "task", None), "notes", {})


def print_next(parts: Parts, run: Path, metrics: dict[str, Any]) -> None:
    """Where everything is, and what to type next."""
    files = ("report.html", "checkpoints", "figures", "metrics.csv", "results.json", "config.yaml", "environment.json")
    print(f"in {run}: {', '.join(file for file in files if (run / file).exists())}\nnext:")
    for command, what in next_commands(parts, run, "test" in metrics):
        print(f"  {command}" + (f"    # {what}" if what else ""))


def next_commands(parts: Parts, run: Path, is_tested: bool) -> list[tuple[str, str]]:
    """What to type next and what for, with the import paths that a run of foreign modules needs again.

    Of a run that is not finished: how to go on with it.
    """
    named, again = typed(run), _flags(parts.foreign)
    to_predict = _flags({key: path for key, path in parts.foreign.items() if key in ("model", "data")})
    runs = run.parent.parent
    elsewhere = "" if runs == ROOT else f" {typed(runs)}"
    commands = [(f"kindling board{elsewhere}", "curves and figures, in the browser")]
    if not (run / "results.json").exists():
        return [*commands, (f"kindling fit --resume {named}{again}", "go on")]
    if is_tested or (not parts.arguments.test and is_overridden("test_step", parts.model)):
        commands.append((f"kindling test --run {named}{again}", ""))
    if isinstance(parts.datamodule, Text):
        commands.append((f"kindling predict --run {named}{to_predict} --prompt TEXT", "continues a text"))
    elif isinstance(parts.datamodule, Data):
        commands.append((f"kindling predict --run {named}{to_predict} --input PATH", "new images, a table or arrays"))
    elif is_overridden("predict_step", parts.model):
        commands.append((f"kindling predict --run {named}{to_predict}", ""))
    longer = _longer(parts.config_init["trainer"])
    return [*commands, (f"kindling fit --resume {named}{again}{longer}", "train on")]


def _flags(values: dict[str, str]) -> str:
    return "".join(f" --{key} {value}" for key, value in values.items())


def _longer(trainer: Any) -> str:
    """The flag for a training twice as long."""
    limits = {key: trainer[key] for key in ("max_epochs", "max_steps") if (trainer[key] or -1) > 0}
    if not limits and not trainer["max_time"]:
        limits = {"max_epochs": 1000}  # Lightning's
    return "".join(f" --trainer.{key} {2 * limit}" for key, limit in limits.items())


def terminal_callbacks(trainer: Any) -> list[L.Callback]:
    """The progress bar and the summary, unless the trainer's settings switch them off or bring a bar of their own."""
    own = trainer["callbacks"] if isinstance(trainer["callbacks"], list) else [trainer["callbacks"]]
    bar = trainer["enable_progress_bar"] is not False and not any(isinstance(each, ProgressBar) for each in own)
    summary = trainer["enable_model_summary"] is not False
    return [Progress(10 if sys.stdout.isatty() else 0)] * bar + [Summary()] * summary


class Progress(RichProgressBar):
    """Lightning's rich progress bar, updated ten times a second; where there is no terminal, a line per epoch."""

    drawn = 0.0  # when, in seconds: drawing at every step would cost more than a small network's step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if self.is_enabled and (trainer.is_last_batch or time.monotonic() - self.drawn > 0.1):
            super().on_train_batch_end(trainer, *args)
            self.drawn = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, model)
        if self.is_disabled and trainer.is_global_zero:
            metrics = "  ".join(f"{name} {shown(float(value))}" for name, value in trainer.progress_bar_metrics.items())
            print(f"{_epoch(trainer)}  {metrics}", flush=True)

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer)


def _epoch(trainer: L.Trainer) -> str:
    """The number of the epoch, counted from 1, and the number of epochs, if the run has an end."""
    ends = trainer.max_epochs is not None and trainer.max_epochs > 0
    return f"epoch {trainer.current_epoch + 1}" + (f"/{trainer.max_epochs}" if ends else "")


class Summary(ModelSummary):
    """The model's parts: name, type, parameters, and the shape of one output (without the batch), if that is known."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with torch.compiler.set_stance("force_eager"):  # torch 2.11 would never compile what it has seen counted
            super().on_fit_start(trainer, pl_module)

    @staticmethod
    def summarize(summary_data: list[tuple[str, list[str]]], *_: Any, **__: Any) -> None:
        columns = {name.strip(): values for name, values in summary_data}
        shapes = columns.get("Out sizes")
        table = Table("part", "type", "parameters", *(["output"] if shapes else []))
        for row, name in enumerate(columns["Name"]):
            if name == "task" and columns["Params"][row].strip() == "0":
                continue
            cells = [printable(name), columns["Type"][row], columns["Params"][row].strip()]
            if shapes:
                cells.append("×".join(shapes[row].strip("[]").split(", ")[1:]))
            table.add_row(*cells)
        console().print(table)
