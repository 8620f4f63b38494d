"""Logs the norm of the gradient."""

from typing import Any

import lightning as L

from kindling.train.gradients import gradients_of
from kindling.train.logged_values import reach_loggers


class GradientNorm(L.Callback):
    """Log `gradient_norm`, the norm of the gradient before it is clipped, as often as the training loss.

    Several optimisers have one each: `gradient_norm_1`, `gradient_norm_2` …

    Args:
        enabled: false to log none.
    """

    keeps_gradients = True  # it doesn't change them: see Gradients

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        if self.enabled and reach_loggers(trainer):
            pl_module.log(_name(trainer, optimizer), gradients_of(trainer, optimizer).norm)


def _name(trainer: L.Trainer, optimizer: Any) -> str:
    if len(trainer.optimizers) == 1:
        return "gradient_norm"
    numbers = [number for number, each in enumerate(trainer.optimizers, start=1) if each is optimizer]
    return f"gradient_norm_{numbers[0]}" if numbers else "gradient_norm"
