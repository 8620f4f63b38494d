"""Averages the weights over the steps of a training: `--weight_averaging.enabled true`."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from kindling.models.run_length import steps_of


class WeightAveraging(callbacks.WeightAveraging):
    """Validate, keep and test averaged weights: Lightning's WeightAveraging, for both kinds of average.

    Args:
        enabled: true to average.
        decay: the decay of an exponential moving average (EMA; Polyak & Juditsky, 1992); null for an average in which
            all steps count equally, stochastic weight averaging (SWA; Izmailov et al., 2018).
        start: where averaging starts, as a fraction of the run; until then the average equals the weights themselves.

    Raises:
        ValueError: if a fraction is out of range.
    """

    def __init__(self, enabled: bool = False, decay: float | None = 0.999, start: float = 0.0) -> None:
        for name, fraction in {"decay": decay or 0.0, "start": start}.items():
            if not 0 <= fraction < 1:
                raise ValueError(f"{name} is {fraction}: expected a fraction in [0, 1)")
        super().__init__(multi_avg_fn=self._average)
        self.enabled, self.decay, self.start = enabled, decay, start
        self.count: int | None = None  # of averaged steps; None before it is known
        self.first: float | None = None  # the step that the average starts after, once the length of the run is known

    def _update(self, model: nn.Module) -> None:
        """Update the average: what AveragedModel.update_parameters does, which looks for all tensors in every step.

        That takes longer than a small network's step on a GPU, and also waits for the GPU.
        """
        averaged = self._average_model
        assert averaged is not None
        if self.count is None:
            self.count = int(averaged.n_averaged)
            self.places = [_places(averaged.module), _places(model)]
        groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
        for average, weight in zip(*map(_tensors, self.places), strict=True):
            averages, weights = groups.setdefault((average.device, average.dtype), ([], []))
            averages.append(average)
            weights.append(weight.to(average.device))
        for averages, weights in groups.values():
            if self.count:
                self._average(averages, weights, self.count)
            else:
                _copy(averages, weights)
        self.count += 1
        averaged.n_averaged.fill_(self.count)

    def _average(self, averages: list[Tensor], weights: list[Tensor], count: int) -> None:
        if not averages[0].is_floating_point():  # the counters of batch norms
            _copy(averages, weights)
        elif self.decay is None:
            get_swa_multi_avg_fn()(averages, weights, torch.tensor(count))
        else:  # the first steps count more, or the average would stay near the initial weights for long
            get_ema_multi_avg_fn(min(self.decay, (1 + count) / (10 + count)))(averages, weights, count)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not self.enabled:
            return
        if pl_module.device_mesh is not None:
            copies = "weight_averaging.enabled is true, which needs a second copy of a model"
            raise MisconfigurationException(
                f"{copies} that {type(trainer.strategy).__name__} shares out: set it to false, or train with "
                "--trainer.strategy ddp"
            )
        # A recipe from the command line refers to everything that was built there: what is callable, and not a module,
        # stays out of the copy that is made here.
        attributes = vars(pl_module)
        recipe = {name: value for name, value in attributes.items() if callable(value) and not name.startswith("_")}
        for name in recipe:
            del attributes[name]
        super().setup(trainer, pl_module, stage)
        attributes.update(recipe)
        if self._average_model is not None:
            self._average_model.update_parameters = self._update  # type: ignore[method-assign]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.first = self.count = None

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if not self.enabled or self.first is not None:
            return
        self.first = self.start * steps_of(trainer) if self.start else 0.0
        if math.isinf(self.first):
            fraction = f"weight_averaging.start is {self.start}, a fraction of a run whose length is not known yet"
            raise MisconfigurationException(f"{fraction}: set trainer.max_steps, or set start to 0")

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if not self.enabled:
            return
        assert self._average_model is not None
        assert self.first is not None
        by_itself = trainer.lightning_module.automatic_optimization
        steps = (
            trainer.global_step - 1 if by_itself else trainer.fit_loop.total_batch_idx
        )  # not the sum over all optimisers
        if steps <= self.first:
            self.count = None
            self._average_model.n_averaged.zero_()  # with none averaged, the next are copied
        super().on_train_batch_end(trainer, *args)

    def on_train_end(self, *args: Any) -> None:
        if self.enabled:
            super().on_train_end(*args)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() if self.enabled else {}

    def on_save_checkpoint(self, *args: Any) -> None:
        if self.enabled:
            super().on_save_checkpoint(*args)

    def on_load_checkpoint(self, trainer: L.Trainer, *args: Any) -> None:
        if self.enabled and trainer.state.fn == "fit":  # a checkpoint's weights are the averaged ones already
            super().on_load_checkpoint(trainer, *args)

    def on_validation_epoch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.state.fn == "fit":  # after it, checkpoints are measured, which are averaged already
            super().on_validation_epoch_start(trainer, *args)

    def on_validation_epoch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, *args)


def _places(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where all parameters and buffers are, in the order in which torch averages them."""
    names = [name for name, _ in [*module.named_parameters(), *module.named_buffers()]]
    parts = [name.rpartition(".") for name in names]
    return [(module.get_submodule(owner), name) for owner, _, name in parts]


def _tensors(places: list[tuple[nn.Module, str]]) -> list[Tensor]:
    return [getattr(owner, name).detach() for owner, name in places]


def _copy(averages: list[Tensor], weights: list[Tensor]) -> None:
    for average, weight in zip(averages, weights, strict=True):
        average.copy_(weight)
