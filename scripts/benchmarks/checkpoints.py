"""How much of a training goes into saving checkpoints, against its time, validations included.

With the defaults: a checkpoint after each epoch and every 10 minutes, and one whenever a validation improves. The small
data set is the worst case: epochs of a twentieth of a second, or of seconds with a network of 130 MB.
"""

from functools import partial
from time import perf_counter
from typing import Any

import lightning as L

from benchmarks.report import Case, Row
from benchmarks.turns import Turns, once
from kindling.callbacks.checkpoint import Checkpoint
from kindling.cli import main

ROWS = ["--model", "MLP", "--data", "SyntheticClassification", "--data.features", "784", "--data.size"]
BACKGROUND = ["--checkpoint.in_background", "true"]
DIGITS = ["--data", "Digits", "--trainer.max_epochs", "20"]
QUICK = ["--model", "MLP", "--data", "Digits", "--trainer.max_epochs", "2"]
TRAININGS = {
    "MLP, 58,500 rows, 3 epochs": [*ROWS, "90000", "--trainer.max_epochs", "3"],
    "the same, in the background": [*ROWS, "90000", "--trainer.max_epochs", "3", *BACKGROUND],
    "ResNet-18, 1,167 digits, 20 epochs": ["--model", "ResNet", *DIGITS],
    "MLP, 1,167 digits, 20 epochs": ["--model", "MLP", *DIGITS],
}
SAVES = ("_save_last", "_save_topk_checkpoint")


class ReportAtTheEnd(L.Callback):
    turns: Turns
    saves: list[float] = []

    def on_train_start(self, *_: Any) -> None:
        self.start = perf_counter()

    def on_train_end(self, *_: Any) -> None:
        self.turns.take(trained=perf_counter() - self.start, saved=sum(self.saves), saves=len(self.saves))


def timed(name: str) -> None:
    """Keep the time that each call of a method of the callback takes."""
    method = getattr(Checkpoint, name)

    def call(self: Checkpoint, *args: Any, **kwargs: Any) -> None:
        start = perf_counter()
        method(self, *args, **kwargs)
        ReportAtTheEnd.saves.append(perf_counter() - start)

    setattr(Checkpoint, name, call)


def train(flags: list[str], turns: Turns) -> None:
    turns.take()
    ReportAtTheEnd.turns = turns
    for name in SAVES:
        timed(name)
    callback = "--trainer.callbacks+=benchmarks.checkpoints.ReportAtTheEnd"
    main(["fit", *flags, "--figures.enabled", "false", "--trainer.accelerator", "cpu", callback])


def measure(quick: bool) -> list[Row]:
    rows = []
    for name, flags in TRAININGS.items():
        found = once(name, partial(train, QUICK if quick else flags))
        each = 1000 * found["saved"] / found["saves"]
        note = f"{found['saves']:.0f} saves of {each:.1f} ms in {found['trained']:.1f} s"
        rows.append(Row(name, [100 * found["saved"] / found["trained"]], "% of the training", note=note))
    return rows


CASES = {"share": Case("share of a training that goes into saving", measure)}
