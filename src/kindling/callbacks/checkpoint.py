"""Keeps the weights that were best on the validation split, and the last ones."""

from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


class Checkpoint(ModelCheckpoint):
    """Keep `checkpoints/best.ckpt`, and `last.ckpt` after every epoch. Lightning's, with fewer arguments.

    Args:
        monitor: the metric that says what is best, as it is logged.
        mode: whether lower (min) or higher (max) is better.
    """

    def __init__(self, monitor: str = "val/loss", mode: Literal["min", "max"] = "min") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(self.dirpath or "", "last.ckpt"))  # what `--resume` goes on from

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was best so far, also in a run that has been moved: Lightning forgets it there."""
        super().load_state_dict(state_dict | {"dirpath": self.dirpath})
