"""Lightning's logged values, made lighter for values that are logged for their step alone.

Most modules log their loss in each step; with Lightning's class this takes a good part of a small network's step.
"""

import math
from typing import Any

import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

BUILT_IN: dict[Any, Any] = {max: torch.max, min: torch.min, sum: torch.sum}  # reductions that Lightning treats alike


class LoggedValues(_ResultCollection):
    """What model and callbacks log. A value for its step alone is kept as it is, not in a torchmetrics.Metric."""

    def __init__(self) -> None:
        super().__init__(training=True)
        self.changed = False  # whether there is a new one
        self.of_step: dict[str, tuple[Tensor, bool, bool]] = {}  # value, and whether it is for progress bar and loggers
        self.names: dict[str, None] = {}  # of all values, in the order in which they were first logged
        self.uses: dict[tuple[str, str], tuple[bool, ...]] = {}  # the arguments with which a hook first logged a name

    def __bool__(self) -> bool:  # Lightning looks for values only if this is true
        return bool(len(self) or self.of_step)

    @torch.compiler.disable
    def log(
        self, fx: str, name: str, value: Any, prog_bar: bool = False, logger: bool = True, on_step: bool = False,
        on_epoch: bool = True, sync_dist: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        self.changed = True
        self.names.setdefault(name)
        plain = isinstance(value, Tensor) and value.dtype in (torch.float32, torch.float64)  # Lightning converts others
        usual = not sync_dist and more.get("reduce_fx", "mean") == "mean"
        of_step = plain and usual and on_step and not on_epoch and f"{fx}.{name}" not in self
        use = prog_bar, logger, on_step, on_epoch
        if plain and usual and self.uses.setdefault((fx, name), use) != use:
            twice = f"You called `self.log({name}, ...)` twice in `{fx}` with different arguments"
            raise MisconfigurationException(twice)
        if of_step:
            self.of_step[name] = value, prog_bar, logger
        else:
            if (fx, name) in self.uses:
                self.of_step.pop(name, None)  # an older value, of another type
            if more.get("reduce_fx") in BUILT_IN:  # a checkpoint could not tell it from torch's
                more["reduce_fx"] = BUILT_IN[more["reduce_fx"]]
            super().log(fx, name, value, prog_bar, logger, on_step, on_epoch, sync_dist=sync_dist, **more)

    def metrics(self, on_step: bool) -> dict[str, Any]:  # type: ignore[override]
        metrics: dict[str, Any] = super().metrics(on_step)  # type: ignore[assignment]
        if not on_step or not self.of_step:
            return metrics
        for name, (value, prog_bar, logger) in self.of_step.items():
            metrics["callback"][name] = value
            if logger:
                metrics["log"][name] = value
            if prog_bar:
                metrics["pbar"][name] = value.item()
        return {group: self._in_order(values) for group, values in metrics.items()} if len(self) else metrics

    def _in_order(self, values: dict[str, Any]) -> dict[str, Any]:
        places = {name: place for place, name in enumerate(self.names)}
        return dict(sorted(values.items(), key=lambda item: places.get(item[0], len(places))))

    def reset(self, metrics: bool | None = None, fx: str | None = None) -> None:
        super().reset(metrics, fx)
        if not metrics and fx is None:
            self.of_step.clear()


def reach_loggers(trainer: Any) -> bool:
    """Whether values logged in this optimiser step reach the loggers."""
    by_itself = trainer.lightning_module.automatic_optimization
    steps = (
        trainer.global_step if by_itself else trainer.fit_loop.total_batch_idx
    )  # of all optimisers, so batches count
    return (steps + 1) % (trainer.log_every_n_steps or math.inf) == 0
