"""Averages the weights over the steps of a training: `--weight_averaging.enabled true`."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn


class WeightAveraging(callbacks.WeightAveraging):
    """Validate, keep and test averaged weights: Lightning's WeightAveraging, for both of its kinds.

    Args:
        enabled: true to average.
        decay: of an exponential moving average (EMA; Polyak & Juditsky, 1992); null for an average in which all steps
            count equally, stochastic weight averaging (SWA; Izmailov et al., 2018).
        start: where the averaging starts, as a fraction of the run; until then the average is the weights themselves.

    Raises:
        ValueError: if a fraction is out of range.
    """

    def __init__(self, enabled: bool = False, decay: float | None = 0.999, start: float = 0.0) -> None:
        for name, fraction in {"decay": decay or 0.0, "start": start}.items():
            if not 0 <= fraction < 1:
                raise ValueError(f"{name} is {fraction}: expected a fraction in [0, 1)")
        super().__init__(multi_avg_fn=self._average)
        self.decay, self.start = decay, start

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Behind the recipe stands the command line with trainer and data: it stays out of the copy that is made here.
        recipe = {name: vars(pl_module).pop(name, None) for name in ("optimizer", "schedule")}
        super().setup(trainer, pl_module, stage)
        vars(pl_module).update(recipe)

    def _average(self, averages: Any, weights: Any, count: Any) -> None:
        if not averages[0].is_floating_point():  # the counters of batch norms
            torch._foreach_copy_(averages, weights)
        elif self.decay is None:
            get_swa_multi_avg_fn()(averages, weights, count)
        else:  # the first steps count more, or the average would long stay where the training began
            get_ema_multi_avg_fn(min(self.decay, float((1 + count) / (10 + count))))(averages, weights, count)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        assert self._average_model is not None
        if trainer.global_step - 1 <= self.start * trainer.estimated_stepping_batches:
            self._average_model.n_averaged.zero_()  # with none averaged, the next are copied
        super().on_train_batch_end(trainer, *args)
