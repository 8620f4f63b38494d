"""Freezes parts of a network, for a whole training or for its beginning: `--freezing.parts "{stages: 0.5}"`."""

from __future__ import annotations

import math
from typing import Any, Literal

import lightning as L
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from kindling.core.errors import UsageError
from kindling.models.groups import fits, names_by_pattern
from kindling.models.run_length import steps_of
from kindling.train.messages import note

Until = int | float | Literal["all"]  # such as 3 epochs, 0.5 of the run


class Freezing(L.Callback):
    """Leave parts of a network as they are until some point of the training; from then on they train with the rest.

    Frozen parts get no gradient, so that the optimiser neither moves nor decays them nor keeps a state for them. They
    are in evaluation mode: batch norms keep their statistics, and there is no dropout. A module can ask for this
    itself by an attribute `frozen` of the same form as `parts`. Unlike with Lightning's BaseFinetuning, all parameters
    are in the optimiser from the start, so that schedules and a resume know them.

    Args:
        parts: until when parts are frozen, by a pattern for their names as in a model's `groups`: all (of the run), a
            share of it such as 0.5, or a number of epochs such as 3; null for what the module asks for.

    Raises:
        ValueError: if a share or a number is out of range.
    """

    def __init__(self, parts: dict[str, Until] | None = None) -> None:
        self.parts = parts
        self.held: list[_Part] = []
        self.thawed: list[str] = []
        for until in (parts or {}).values():
            check_until(until, "parts")

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Freeze the parts, before several processes agree on which gradients they exchange."""
        parts: dict[str, Until] = (getattr(pl_module, "frozen", None) or {}) if self.parts is None else self.parts
        if stage != "fit" or not parts:
            return
        setting = "freezing.parts" if self.parts is not None else f"{type(pl_module).__name__}.frozen"
        try:
            for until in parts.values():
                check_until(until, setting)
            names = names_by_pattern(pl_module, parts, setting)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if not names.pop(None):
            raise UsageError(f"{setting} is {parts}: nothing is left to train")
        self.thawed = []
        self.held = [
            _Part(pl_module, pattern, of_part, parts[pattern]) for pattern, of_part in names.items() if pattern
        ]
        for part in self.held:
            part.freeze()
        if trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy) and self._thaws:
            name = type(trainer.strategy).__name__
            raise UsageError(f"{setting} is {parts}: {name} can't thaw a part, so choose all, or strategy ddp")

    @property
    def _thaws(self) -> bool:
        return any(part.until != "all" for part in self.held)

    def state_dict(self) -> dict[str, Any]:
        return {"thawed": self.thawed} if self.thawed else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What had thawed thaws again before the next batch, even if the run is longer now."""
        self.thawed = list(state_dict["thawed"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        shares = [part for part in self.held if isinstance(part.until, float)]
        steps = steps_of(trainer) * len(trainer.optimizers) if shares else 0.0  # Lightning counts the steps of all
        if math.isinf(steps):
            share = "freezing ends at a share of a run whose length is not known yet"
            raise MisconfigurationException(f"{share}: set trainer.max_steps, or give a number of epochs")
        for part in shares:
            part.last_step = float(part.until) * steps
        for part in self.held:
            if part.pattern not in self.thawed:
                note(trainer, f"{part.described} until {part.end}")

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        over = [part for part in self.held if part.pattern in self.thawed or part.is_over(trainer)]
        for part in over:
            part.thaw()
            self.held.remove(part)
            if part.pattern not in self.thawed:
                self.thawed.append(part.pattern)
                note(trainer, f"{part.pattern} trains from here on: epoch {trainer.current_epoch + 1}")
        if over:
            _exchange_gradients_of_all(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave a module that can be trained on."""
        for part in self.held:
            part.thaw()
        self.held = []


class _Part:
    """The parameters and modules that a pattern is the first to match, and how they were before they were frozen."""

    def __init__(self, module: nn.Module, pattern: str, names: list[str], until: Until) -> None:
        self.pattern, self.until = pattern, until
        self.last_step = math.inf  # the last step that is taken without it
        self.parameters = [(each, each.requires_grad) for each in map(module.get_parameter, names)]
        own = {id(parameter) for parameter, _ in self.parameters}
        meant = [each for name, each in module.named_modules() if name and fits(pattern, name)]
        alone = [each for each in meant if all(id(parameter) in own for parameter in each.parameters())]
        self.modules = [(each, each.training) for each in alone]

    @property
    def described(self) -> str:
        return f"{self.pattern} is frozen ({sum(each.numel() for each, _ in self.parameters):,} parameters)"

    @property
    def end(self) -> str:
        if isinstance(self.until, float):
            return f"{self.until:.0%} of the run"
        return "the end of the run" if self.until == "all" else f"the end of epoch {self.until}"

    def is_over(self, trainer: L.Trainer) -> bool:
        """Whether it trains on the next batch: by the training's counters, which a resume restores."""
        if isinstance(self.until, int):
            return trainer.current_epoch >= self.until
        return trainer.global_step >= self.last_step

    def freeze(self) -> None:
        for parameter, _ in self.parameters:
            parameter.requires_grad_(False)
        for module, _ in self.modules:
            module.training = False

    def thaw(self) -> None:
        for parameter, trained in self.parameters:
            parameter.requires_grad_(trained)
        for module, was_training in self.modules:
            module.training = was_training


def check_until(until: Until, setting: str) -> None:
    """Raise a ValueError unless it is all, a share of a run, or a number of epochs."""
    is_share = isinstance(until, float) and 0 < until <= 1
    is_number = type(until) is int and until >= 1
    if not (is_share or is_number or until == "all"):
        wanted = "all, a share of the run in (0, 1.0], or a number of epochs"
        raise ValueError(f"{setting} is wrong: {until!r} is not {wanted}")


def _exchange_gradients_of_all(trainer: L.Trainer) -> None:
    """Remake DDP's wrapper, which only exchanges the gradients of parameters that trained when it was made."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        strategy.model = trainer.lightning_module
        strategy.configure_ddp()
