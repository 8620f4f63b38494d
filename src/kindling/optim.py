"""Learning-rate schedules. Any optimiser of `torch.optim` and any schedule of `torch.optim.lr_scheduler` works by name.

A schedule that depends on the run's length has no length argument: the model tells it through `start`.
"""

import math
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Constant(LRScheduler):
    """The optimiser's learning rate, unchanged."""

    def get_lr(self) -> list[float | Tensor]:
        return list(self.base_lrs)


class WarmupCosine(LRScheduler):
    """Linear warm-up to the optimiser's learning rate, then half a cosine down (Loshchilov & Hutter, 2017).

    Args:
        optimizer: the optimiser whose learning rate is the peak.
        warmup: length of the warm-up, as a fraction of the run.
        final: last learning rate, as a fraction of the peak.

    Raises:
        ValueError: if a fraction is outside [0, 1].
    """

    interval = "step"

    def __init__(self, optimizer: Optimizer, warmup: float = 0.1, final: float = 0.0) -> None:
        for name, fraction in {"warmup": warmup, "final": final}.items():
            if not 0 <= fraction <= 1:
                raise ValueError(f"{name} is {fraction}: expected a fraction in [0, 1]")
        self.warmup, self.final = warmup, final
        self.total_steps = 1
        super().__init__(optimizer)

    def start(self, total_steps: float) -> None:
        """Take the length of the run, in optimiser steps, and set the learning rate for the step to come."""
        if math.isinf(total_steps):
            raise MisconfigurationException(
                "WarmupCosine needs a run with an end: set trainer.max_epochs or trainer.max_steps"
            )
        self.total_steps = int(total_steps)
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """The position alone: the shape and the length are the resumed run's own."""
        return {key: value for key, value in super().state_dict().items() if key in ("last_epoch", "base_lrs")}

    def get_lr(self) -> list[float | Tensor]:
        warmup_steps = round(self.warmup * self.total_steps)
        if self.last_epoch < warmup_steps:
            factor = (self.last_epoch + 1) / (warmup_steps + 1)
        else:
            decay = min(1.0, (self.last_epoch - warmup_steps) / max(1, self.total_steps - warmup_steps))
            factor = self.final + (1 - self.final) * (1 + math.cos(math.pi * decay)) / 2
        return [lr * factor for lr in self.base_lrs]
