"""Keeps the weights that were best on the validation split."""

from pathlib import Path
from typing import Literal

from lightning.pytorch.callbacks import ModelCheckpoint


class Checkpoint(ModelCheckpoint):
    """Keep `checkpoints/best.ckpt`: Lightning's ModelCheckpoint with fewer arguments. `last.ckpt` is kept besides.

    Args:
        monitor: the metric that says what is best, as it is logged.
        mode: whether lower (min) or higher (max) is better.
    """

    def __init__(self, monitor: str = "val/loss", mode: Literal["min", "max"] = "min") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)


def last_checkpoint(run: Path) -> ModelCheckpoint:
    """Keep `checkpoints/last.ckpt` in the run at the end of every epoch: what `--resume` goes on from."""
    return ModelCheckpoint(
        run.resolve() / "checkpoints", filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
