"""Logs how long the gradient is."""

from typing import Any

import lightning as L
from torch.nn.utils import get_total_norm

from kindling.train.gradients import gradients_of


class GradientNorm(L.Callback):
    """Log `gradient_norm`, the length of the gradient before it is clipped, as often as the training loss.

    Args:
        enabled: false for none.
    """

    keeps_gradients = True  # so the loop may clip by a norm that was taken before

    def __init__(self, enabled: bool = True) -> None: ...

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        if pl_module.is_logged(trainer.fit_loop.batch_idx):  # type: ignore[operator]
            pl_module.log("gradient_norm", get_total_norm(gradients_of(optimizer)))
