"""Stops a training that no longer improves."""

import sys
from typing import Any, Literal

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the count where it was, with the patience of now; a run that had stopped starts to count anew."""
        stopped = state_dict["wait_count"] >= state_dict["patience"]
        anew = {"patience": self.patience, "stopping_reason_message": None} | ({"wait_count": 0} if stopped else {})
        super().load_state_dict(state_dict | anew)
