"""How long a command takes to answer, and a training to its first step, as new processes in alternating rounds."""

import os
import subprocess
import sys
from time import perf_counter

import lightning as L

from benchmarks.report import Case, Row, amounts

KINDLING = ["-m", "kindling"]
FIRST_STEP = ["fit", "--model", "MLP", "--data", "Digits", "--trainer.accelerator", "cpu"]
FIRST_STEP += ["--trainer.callbacks+=benchmarks.startup.EndAfterAStep"]
COMMANDS = {
    "import lightning": ["-c", "import lightning"],
    "import torch": ["-c", "import torch"],
    "an empty program": ["-c", "pass"],
    "kindling --help": [*KINDLING, "--help"],
    "kindling fit --help": [*KINDLING, "fit", "--help"],
    "kindling fit, to the end of the first step": [*KINDLING, *FIRST_STEP],
}


class EndAfterAStep(L.Callback):
    def on_train_batch_end(self, *_: object) -> None:
        os._exit(0)


def run(arguments: list[str]) -> float:
    """Seconds that a new process takes."""
    start = perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def race(quick: bool) -> list[Row]:
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for index in range(1 if quick else 8):
        for name in reversed(COMMANDS) if index % 2 else COMMANDS:
            found[name].append(run(COMMANDS[name]))
    samples = {name: values[0 if quick else 1 :] for name, values in found.items()}  # the first fills the disk's cache
    return amounts(samples, "s")


CASES = {"commands": Case("start-up; the ratio is of the time, to `import lightning`", race)}
