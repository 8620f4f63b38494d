"""Samples a second of `predict`, `validate` and `test` against a bare forward loop, and the memory they take.

Images of 28×28 pixels from an `.npz`, 256 a batch. The bare loop loads the array, normalises and runs the network;
`predict` also writes a CSV with a column for each class, and `validate` and `test` compute metrics and figures. A turn
is a whole command in a process that has done one before; of `validate` and `test` the loop alone is given too.
"""

import gc
import subprocess
import sys
from functools import partial
from time import perf_counter
from typing import Any

import lightning as L
import numpy as np
import torch

from benchmarks.machine import forget_peak, memory
from benchmarks.report import Case, Row, amounts, each
from benchmarks.turns import Turns, compete
from kindling.cli import main
from kindling.run.folder import find_checkpoint, find_run
from kindling.use import predictor

RESNET = ["--model", "ResNet", "--model.width", "16", "--model.depths", "[1, 1, 1]"]
PREDICT = ["predict", "--run", "latest", "--input", "images.npz", "--output", "predictions.csv"]
WHOLE = ["--trainer.limit_val_batches", "1.0", "--trainer.limit_test_batches", "1.0"]
WHOLE += ["--trainer.callbacks+=benchmarks.evaluation.Loop"]


class Loop(L.Callback):
    """Measures an evaluation from its first batch to its metrics."""

    seconds = 0.0

    def on_validation_start(self, *_: Any) -> None:
        self.start = perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        Loop.seconds = perf_counter() - self.start

    def on_test_start(self, *_: Any) -> None:
        self.on_validation_start()

    def on_test_end(self, *_: Any) -> None:
        self.on_validation_end()


def write(size: int) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (size, 28, 28), np.uint8), np.arange(size) % 10
    np.savez("images.npz", x=images)
    splits = {"train": 1000, "val": size, "test": size}
    arrays: dict[str, Any] = {f"x_{split}": images[:count] for split, count in splits.items()}
    arrays |= {f"y_{split}": labels[:count] for split, count in splits.items()}
    np.savez("data.npz", **arrays)


def train(model: list[str]) -> None:
    """One step, for a run with a checkpoint."""
    command = ["fit", *model, "--data", "Arrays", "--data.path", "data.npz", "--data.batch_size", "256"]
    command += ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.max_epochs", "1"]
    command += [f"--trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    subprocess.run([sys.executable, "-m", "kindling", *command], check=True, stdout=subprocess.DEVNULL)


def bare_pass() -> None:
    found = predictor.load(find_checkpoint(find_run("latest"), "best"))
    mean, std = found.preprocessing.plain["mean"][0], found.preprocessing.plain["std"][0]
    with np.load("images.npz") as file, torch.inference_mode():
        for batch in torch.from_numpy(file["x"]).split(256):
            found.model((batch[:, None].float() / 255 - mean) / std).softmax(dim=1)


def evaluate(command: list[str] | None, turns: Turns) -> None:
    megabytes, before = 0.0, memory()
    while True:
        gc.collect()  # what the command before has left, which a command of its own never meets
        turns.take(loop=Loop.seconds, megabytes=megabytes)
        forget_peak()
        if command:
            main(command)
        else:
            bare_pass()
        megabytes = memory("VmHWM") - before


def race(model: list[str], size: int, quick: bool) -> list[Row]:
    size = 600 if quick else size
    write(size)
    train(model)
    works: dict[str, Any] = {
        "bare forward loop": partial(evaluate, None),
        "kindling predict": partial(evaluate, PREDICT),
    }
    for command in ("validate", "test"):
        works[f"kindling {command}"] = partial(evaluate, [command, "--run", "latest", *WHOLE])
    found = compete(works, 2 if quick else 3)
    rates = each(found, lambda turn: size / turn["seconds"])
    for name in ("kindling validate", "kindling test"):
        rates[f"{name}, the loop alone"] = [size / turn["loop"] for turn in found[name]]
    peaks = each(found, lambda turn: turn["megabytes"])
    return amounts(rates, "samples/s") + amounts({f"{name}, memory": peak for name, peak in peaks.items()}, "MB")


CASES = {
    "resnet": Case("20,000 images, ResNet of width 16 and three blocks", partial(race, RESNET, 20_000)),
    "mlp": Case("100,000 images, MLP 784-256-128-10", partial(race, ["--model", "MLP"], 100_000)),
}
