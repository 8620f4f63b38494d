"""Learning-rate schedules. Any optimiser of `torch.optim` and any schedule of `torch.optim.lr_scheduler` works by name.

Those here replace torch's of the same name or add to them. One that spans the run needs no length: it gets that from
`start` before the first step. `interval` says whether a schedule steps at every optimiser step or every epoch.
Both work in any LightningModule whose `configure_optimizers` returns such a schedule.
"""

import math
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from kindling.models.shares import is_shared_out


class Constant(LRScheduler):
    """The optimiser's learning rate, unchanged."""

    def get_lr(self) -> list[float | Tensor]:
        return list(self.base_lrs)


class OverTheRun(LRScheduler):
    """Base of schedules that span the run: `get_lr` computes the rates from `last_epoch` and `total_steps` alone."""

    interval = "step"
    total_steps = 1

    def start(self, total_steps: float) -> None:
        """Take the length of the run, in optimiser steps, and set the learning rate for the step to come.

        Raises:
            MisconfigurationException: if the run has no end, or none that is known in advance.
        """
        if math.isinf(total_steps):
            name = type(self).__name__
            ends = "set trainer.max_steps (trainer.max_epochs is enough if the data has a known length)"
            raise MisconfigurationException(f"{name} needs a run with an end that is known when it starts: {ends}")
        self.total_steps = int(total_steps)
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=False):  # groups can be added later
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Only the position: the shape and the length are the resumed run's own."""
        return {key: value for key, value in super().state_dict().items() if key in ("last_epoch", "base_lrs")}


class WarmupCosine(OverTheRun):
    """Linear warm-up to the optimiser's learning rate, then half a cosine down (Loshchilov & Hutter, 2017).

    Args:
        optimizer: the optimiser whose learning rate is the peak.
        warmup: length of the warm-up, as a fraction of the run.
        final: last learning rate, as a fraction of the peak.

    Raises:
        ValueError: if a fraction is outside [0, 1].
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.1, final: float = 0.0) -> None:
        for name, fraction in {"warmup": warmup, "final": final}.items():
            if not 0 <= fraction <= 1:
                raise ValueError(f"{name} is {fraction}: expected a fraction in [0, 1]")
        self.warmup, self.final = warmup, final
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        warmup_steps = round(self.warmup * self.total_steps)
        if self.last_epoch < warmup_steps:
            factor = (self.last_epoch + 1) / (warmup_steps + 1)
        else:
            decay = min(1.0, (self.last_epoch - warmup_steps) / max(1, self.total_steps - warmup_steps))
            factor = self.final + (1 - self.final) * (1 + math.cos(math.pi * decay)) / 2
        return [lr * factor for lr in self.base_lrs]


class CosineAnnealingLR(OverTheRun):
    """Half a cosine from the optimiser's learning rate down to `eta_min`: torch's, over the run by default.

    Args:
        optimizer: the optimiser.
        T_max: length in epochs, as in torch; null for the whole run, step by step.
        eta_min: last learning rate.
    """

    def __init__(self, optimizer: Optimizer, T_max: int | None = None, eta_min: float = 0.0) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        self.interval = "epoch" if T_max else "step"
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        wave = (1 + math.cos(math.pi * self.last_epoch / (self.T_max or self.total_steps))) / 2
        return [self.eta_min + (lr - self.eta_min) * wave for lr in self.base_lrs]


class OneCycleLR(OverTheRun, lr_scheduler.OneCycleLR):
    """Up to `max_lr` and far down again, the momentum inversely (Smith & Topin, 2018): torch's, over the run.

    Args:
        optimizer: the optimiser.
        max_lr: peak; null for the optimiser's learning rate. A group with its own rate has its peak in proportion.
        **one_cycle: pct_start, anneal_strategy, cycle_momentum, div_factor …: see torch.
    """

    def __init__(self, optimizer: Optimizer, max_lr: float | None = None, **one_cycle: Any) -> None:
        self.peak = self._peaks(optimizer, max_lr)
        self.arguments = dict(one_cycle)
        super().__init__(optimizer, self.peak, total_steps=2, **one_cycle)

    @staticmethod
    def _peaks(optimizer: Optimizer, max_lr: float | None) -> float | list[float]:
        """One for all groups, or one each where their learning rates differ."""
        rates, usual = [group["lr"] for group in optimizer.param_groups], optimizer.defaults["lr"]
        if not max_lr:
            return rates
        return max_lr if set(rates) == {usual} else [max_lr * rate / usual for rate in rates]

    def start(self, total_steps: float) -> None:
        position = self.last_epoch
        if not math.isinf(total_steps):  # torch's class lays out its phases when it is built
            super().__init__(self.optimizer, self.peak, total_steps=int(total_steps), **self.arguments)
        self.last_epoch = position
        super().start(total_steps)


class ReduceLROnPlateau(lr_scheduler.ReduceLROnPlateau):
    """Torch's: multiply the learning rate by `factor` when a metric has not improved for `patience` validations.

    Args:
        optimizer: the optimiser.
        monitor: the metric to watch, as it is logged.
        **plateau: mode, factor, patience, threshold …: see torch.
    """

    def __init__(self, optimizer: Optimizer, monitor: str = "val/loss", **plateau: Any) -> None:
        super().__init__(optimizer, **plateau)
        self.monitor = monitor


def fuse(optimizer: Optimizer) -> Optimizer:
    """Let torch update all weights in one kernel, if it can do so on every device and the user chose nothing else."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if isinstance(optimizer, Adam | AdamW) or (isinstance(optimizer, SGD) and not any(map(is_shared_out, weights))):
        for group in optimizer.param_groups:
            if group["fused"] is None and not (group["foreach"] or group["differentiable"]):
                group["fused"] = True
    return optimizer


def try_recipe(optimizer: Any, schedule: Any) -> None:
    """Build a recipe once on a dummy weight, so that a bad learning rate is refused when the model is built."""
    try:
        schedule(optimizer([nn.Parameter(torch.zeros(1, 1))]))
    except ValueError as error:
        raise ValueError(f"the recipe (optimizer, schedule) is refused: {error}") from None
