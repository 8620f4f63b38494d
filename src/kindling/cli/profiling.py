"""Where a profiler's reports go: on the terminal, or into the run's folder `profile/`."""

import logging
from pathlib import Path

import lightning as L
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler

FOLDER = "profile"


def prepare_profiler(trainer: L.Trainer, run: Path | None) -> None:
    """Have a profiler's tables shown, which Lightning logs, and its files written into the run."""
    profiler = trainer.profiler  # type: ignore[attr-defined]
    if isinstance(profiler, PassThroughProfiler):
        return
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)
    if run and isinstance(profiler, AdvancedProfiler | PyTorchProfiler):
        profiler.dirpath = profiler.dirpath or run / FOLDER
        profiler.filename = profiler.filename or "profile"


def end_profiler(trainer: L.Trainer) -> None:
    """Profile no more: what is measured after a training is no part of it. Say where the files are."""
    profiler = trainer.profiler  # type: ignore[attr-defined]
    trainer.profiler = PassThroughProfiler()  # type: ignore[attr-defined]
    if profiler.dirpath and profiler.filename and trainer.is_global_zero:
        print(f"profile {profiler.dirpath}")
