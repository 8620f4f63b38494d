"""How time and memory grow: with the data, the width, the batch, the loader's workers, and the number of steps.

Each sample is a fit, watched from inside: the median time between two steps, which leaves out what comes between
epochs, the memory of the process (at its peak, but over steps: at that step), and the seconds to the first step.
"""

from array import array
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import lightning as L

from benchmarks.machine import forget_peak, memory
from benchmarks.report import Case, Row, amounts, each, times
from benchmarks.turns import Measured, Turns, afresh
from kindling.cli import main

FIT = ["--model", "MLP", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.max_epochs", "-1"]
FIT += ["--trainer.limit_val_batches", "1", "--early_stopping.patience", "null"]
FIT += ["--trainer.callbacks+=benchmarks.growth.Watch"]
ROWS = ["--data", "SyntheticClassification", "--data.val_fraction", "0.05", "--data.test_fraction", "0.05"]
ROWS += ["--data.features"]
WIDE = [*ROWS, "784", "--data.size", "20000"]
ROUNDS = 3


class Watch(L.Callback):
    """Keeps when each step ended, and how much memory there was early and at the end; then the turn is over."""

    turns: Turns
    steps = early = 0

    def __init__(self) -> None:
        self.ends, self.memory = array("d", bytes(8 * self.steps)), 0.0  # of full length: it must not grow itself

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        step = trainer.global_step
        self.ends[step - 1] = perf_counter()
        if step == self.early:
            self.memory = memory()
        if step == self.steps:
            self.turns.take(**self.measured())

    def measured(self) -> Measured:
        gaps = [later - sooner for sooner, later in zip(self.ends, self.ends[1:], strict=False)]
        found = {"first": self.ends[0] - self.turns.start, "step": median(gaps), "peak": memory("VmHWM")}
        found |= {"early_step": median(gaps[: self.early]), "late_step": median(gaps[-self.early :])}
        return found | {"early_memory": self.memory, "late_memory": memory()}


def fit(flags: list[str], steps: int, early: int, turns: Turns) -> None:
    turns.take()
    Watch.turns, Watch.steps, Watch.early = turns, steps, early
    forget_peak()
    main(["fit", *FIT, *flags, "--trainer.max_steps", str(steps)])


def curve(fits: dict[str, list[str]], quick: bool) -> list[Row]:
    """Three rows for each of some fits, which differ in their flags."""
    steps = 20 if quick else 1000
    works = {name: partial(fit, flags, steps, steps // 4) for name, flags in fits.items()}
    found = afresh(works, 1 if quick else ROUNDS)
    rows = times(each(found, lambda fit: 1000 * fit["step"]), "ms a step")
    rows += amounts({f"{name}, peak": values for name, values in each(found, lambda fit: fit["peak"]).items()}, "MB")
    first = each(found, lambda fit: fit["first"])
    return rows + amounts({f"{name}, to the first step": values for name, values in first.items()}, "s")


def over_rows(quick: bool) -> list[Row]:
    sizes = [10**power for power in range(3, 5 if quick else 8)]
    return curve({f"{size:,} rows": [*ROWS, "8", "--data.size", str(size)] for size in sizes}, quick)


def over_width(quick: bool) -> list[Row]:
    widths = (16, 64) if quick else (64, 256, 1024, 2048)
    return curve({f"width {width}": [*WIDE, "--model.hidden_sizes", f"[{width}, {width}]"] for width in widths}, quick)


def over_batches(quick: bool) -> list[Row]:
    sizes = (16, 64) if quick else (16, 64, 256, 1024, 4096)
    return curve({f"batch {size:,}": [*WIDE, "--data.batch_size", str(size)] for size in sizes}, quick)


def over_workers(quick: bool) -> list[Row]:
    counts = (0, 1) if quick else (0, 1, 2)
    return curve({f"{count} workers": [*WIDE, "--data.workers", str(count)] for count in counts}, quick)


def over_steps(quick: bool) -> list[Row]:
    steps, early = (60, 20) if quick else (20_000, 1000)
    flags = [*ROWS, "784", "--data.size", "1000" if quick else "60000"]
    found = afresh({"fit": partial(fit, flags, steps, early)}, 1 if quick else ROUNDS)["fit"]
    spans = {f"the first {early:,} steps": "early", f"the last {early:,} of {steps:,}": "late"}
    rows = times({name: [1000 * fit[f"{when}_step"] for fit in found] for name, when in spans.items()}, "ms a step")
    ends = {f"memory at step {early:,}": "early", f"memory at step {steps:,}": "late"}
    return rows + amounts({name: [fit[f"{when}_memory"] for fit in found] for name, when in ends.items()}, "MB")


CASES = {
    "rows": Case("over rows of data with 8 features, batch 64", over_rows),
    "width": Case("over the MLP's width (two hidden layers, 784 features, batch 64)", over_width),
    "batch": Case("over the batch size, 784 features", over_batches),
    "workers": Case(
        "over the loader's workers, 784 features, batch 64; the memory is the main process's", over_workers
    ),
    "steps": Case("over the steps of one training, 843 an epoch", over_steps),
}
