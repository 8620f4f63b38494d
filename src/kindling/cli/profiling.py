"""Where a profiler's reports go: to the terminal, or into the run's folder `profile/`."""

import logging
from pathlib import Path

import lightning as L
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler

FOLDER = "profile"


def prepare_profiler(trainer: L.Trainer, run: Path | None) -> None:
    """Show a profiler's tables, which Lightning only logs, and let its files go into the run."""
    profiler = trainer.profiler  # type: ignore[attr-defined]
    if isinstance(profiler, PassThroughProfiler):
        return
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)
    if run and isinstance(profiler, AdvancedProfiler | PyTorchProfiler):
        profiler.dirpath = profiler.dirpath or run / FOLDER
        profiler.filename = profiler.filename or "profile"


def end_profiler(trainer: L.Trainer) -> None:
    """Stop profiling, since what is measured after a training is not part of it, and say where the files are."""
    profiler = trainer.profiler  # type: ignore[attr-defined]
    trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined]
    if profiler.dirpath and profiler.filename and trainer.is_global_zero:
        print(f"profile {profiler.dirpath}")
