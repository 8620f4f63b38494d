"""Stops a training that no longer improves."""

import sys
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Stop when a metric has not improved for a while, or is no longer finite. Lightning's, with fewer arguments.

    Args:
        monitor: the metric to watch, as it is logged.
        mode: whether lower (min) or higher (max) is better.
        patience: validations without improvement before the training stops, not negative; null to go on whatever comes.
        min_delta: the least change that counts as an improvement.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        patience: int | None = 10,
        min_delta: float = 0.0,
    ) -> None:
        if patience is not None and patience < 0:
            raise ValueError(f"patience is {patience}: expected a number of validations, or null")
        patience = sys.maxsize if patience is None else patience
        # Not strict: a training without validation, or that ends before the first, is none of its business.
        super().__init__(monitor, mode=mode, patience=patience, min_delta=min_delta, strict=False)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.finished = Path(trainer.default_root_dir, "results.json").exists()  # what a run ends with

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the count where it was, with the patience of now; a run that had finished starts to count anew."""
        stopped = bool(state_dict["stopping_reason_message"])
        anew = {"wait_count": 0, "stopping_reason_message": None} if stopped and self.finished else {}
        super().load_state_dict(state_dict | {"patience": self.patience} | anew)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop |= bool(self.stopping_reason_message)  # it had stopped, and was killed before its end
