"""Seeds what a module changes at random on a batch's way to its device: by the batch's place, as Data's own is."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden

from kindling.data.base import Data
from kindling.data.position import Position, Seeded, seed_of

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def seed_transfers(trainer: L.Trainer) -> None:
    """Seed the hooks of a trainer's module and datamodule that bring a training batch to its device.

    They run before the checkpoint that is taken before the batch. So a resume runs them again, and without a seed it
    would draw other numbers, then and ever after.
    """
    for owner in (trainer.lightning_module, trainer.datamodule):  # type: ignore[attr-defined]
        for name in HOOKS:
            if owner is None or not is_overridden(name, owner):
                continue
            hook = getattr(owner, name)
            if getattr(hook, "is_seeded", False):  # by an earlier trainer
                hook = hook.__wrapped__
            if getattr(hook, "__func__", None) is not Data.on_after_batch_transfer:
                setattr(owner, name, _seeded(hook, name, trainer))


def _seeded(hook: Callable[..., Any], name: str, trainer: L.Trainer) -> Callable[..., Any]:
    position = Position(trainer)

    @wraps(hook)
    def seeded(*args: Any) -> Any:
        if not trainer.training:
            return hook(*args)
        with Seeded(seed_of(name, *position.place), trainer.strategy.root_device):
            return hook(*args)

    seeded.is_seeded = True  # type: ignore[attr-defined]
    return seeded
