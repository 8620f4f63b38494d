"""How much of a training goes into saving checkpoints: `python scripts/benchmark_checkpoints.py`.

Trains with the defaults (a checkpoint after each epoch and every 10 minutes, and one whenever a validation improves)
and measures the time inside the saves against that of the training, validations included. The small data set is the
worst case: epochs of a twentieth of a second, or of seconds with a network of 130 MB. Measured on 2 cores:

  MLP, 58,500 rows, 3 epochs                6 saves of 13.2 ms in 10.0 s: 0.79 %
  the same, in the background               6 saves of 13.1 ms in 10.7 s: 0.73 %
  ResNet-18, 1,167 digits, 20 epochs        40 saves of 241.4 ms in 53.5 s: 18.06 %
  MLP, 1,167 digits, 20 epochs              34 saves of 3.7 ms in 0.9 s: 13.97 %
"""

import contextlib
import io
import os
import tempfile
import time
from typing import Any

from kindling.callbacks.checkpoint import Checkpoint
from kindling.cli import main
from kindling.record import Record

IMAGES = ["--data", "SyntheticClassification", "--data.size", "90000", "--data.features", "784"]
CASES = {
    "MLP, 58,500 rows, 3 epochs": ["--model", "MLP", *IMAGES, "--trainer.max_epochs", "3"],
    "the same, in the background": ["--model", "MLP", *IMAGES, "--trainer.max_epochs", "3"]
    + ["--checkpoint.in_background", "true"],
    "ResNet-18, 1,167 digits, 20 epochs": ["--model", "ResNet", "--data", "Digits", "--trainer.max_epochs", "20"],
    "MLP, 1,167 digits, 20 epochs": ["--model", "MLP", "--data", "Digits", "--trainer.max_epochs", "20"],
}
spent: list[float] = []


def timed(name: str) -> None:
    """Keep the time that each call of a method of the callback takes."""
    method = getattr(Checkpoint, name)

    def call(self: Checkpoint, *args: Any, **kwargs: Any) -> None:
        start = time.perf_counter()
        method(self, *args, **kwargs)
        spent.append(time.perf_counter() - start)

    setattr(Checkpoint, name, call)


def measure(flags: list[str]) -> str:
    """Train once in an empty folder."""
    trained: list[float] = []
    results = Record.results

    def keep(self: Record, *args: Any) -> dict[str, Any]:
        found = results(self, *args)
        trained.append(self.seconds)
        return found

    spent.clear()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        Record.results = keep  # type: ignore
        main(["fit", *flags, "--figures.enabled", "false"])
        Record.results = results  # type: ignore
        os.chdir("/")
    share = 100 * sum(spent) / trained[0]
    return f"{len(spent)} saves of {1000 * sum(spent) / len(spent):.1f} ms in {trained[0]:.1f} s: {share:.2f} %"


if __name__ == "__main__":
    timed("_save_last")
    timed("_save_topk_checkpoint")
    for name, flags in CASES.items():
        print(f"  {name:<40} {measure(flags)}", flush=True)
