"""How much of a training goes into saving checkpoints, against its time, validations included.

With the defaults: a checkpoint after each epoch and every 10 minutes, and one whenever a validation improves. The small
data set is the worst case: epochs of a twentieth of a second, or of seconds with a network of 130 MB.
"""

from functools import partial
from time import perf_counter
from typing import Any

import lightning as L

from benchmarks.report import Case, Row, each
from benchmarks.turns import Measured, Turns, afresh
from kindling.cli import main
from kindling.train.callbacks.checkpoint import Checkpoint

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
SAVES = ("_save_best_and_last", "_save_last")  # at the end of an epoch, which may call the other, and within one
WAITS = ("_finish_files",)  # for what is written in the background
ROUNDS = 3


class ReportAtTheEnd(L.Callback):
    turns: Turns
    is_saving = False
    spent: dict[str, list[float]] = {name: [] for name in SAVES + WAITS}

    def on_train_start(self, *_: Any) -> None:
        self.start = perf_counter()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # the last hook
        trained, saves = perf_counter() - self.start, sum(len(self.spent[name]) for name in SAVES)
        self.turns.take(trained=trained, saved=sum(map(sum, self.spent.values())), saves=saves)


def timed(name: str) -> None:
    """Keep the time that each call of a method of the callback takes, but those from another such method."""
    method = getattr(Checkpoint, name)

    def call(self: Checkpoint, *args: Any, **kwargs: Any) -> None:
        if ReportAtTheEnd.is_saving:
            return method(self, *args, **kwargs)
        ReportAtTheEnd.is_saving, start = True, perf_counter()
        method(self, *args, **kwargs)
        ReportAtTheEnd.is_saving = False
        ReportAtTheEnd.spent[name].append(perf_counter() - start)

    setattr(Checkpoint, name, call)


def train(flags: list[str], turns: Turns) -> None:
    turns.take()
    ReportAtTheEnd.turns = turns
    for name in SAVES + WAITS:
        timed(name)
    callback = "--trainer.callbacks+=benchmarks.checkpoints.ReportAtTheEnd"
    main(["fit", *flags, "--figures.enabled", "false", "--trainer.accelerator", "cpu", callback])


def measure(quick: bool) -> list[Row]:
    works = {name: partial(train, QUICK if quick else flags) for name, flags in TRAININGS.items()}
    found = afresh(works, 1 if quick else ROUNDS)
    shares = each(found, lambda turn: 100 * turn["saved"] / turn["trained"])
    return [Row(name, shares[name], "% of the training", note=told(turns[-1])) for name, turns in found.items()]


def told(turn: Measured) -> str:
    return f"{turn['saves']:.0f} saves of {1000 * turn['saved'] / turn['saves']:.1f} ms in {turn['trained']:.1f} s"


CASES = {"share": Case("share of a training that goes into saving", measure)}
