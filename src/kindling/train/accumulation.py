"""A batch's share of a step that accumulates several: a step cut short by an epoch's end is the mean of what it has."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.loops.optimization.automatic import ClosureResult

from kindling.train.gradients import Gradients


class SharesOfSteps:
    """Replaces Lightning's ClosureResult, which always divides by `accumulate_grad_batches` (its issue 19987).

    Args:
        trainer: the training's trainer.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self.trainer = trainer

    def from_training_step_output(self, output: Any, batches: int) -> ClosureResult:
        """The loss of a batch as its share of a step.

        Args:
            output: what the module's `training_step` returned.
            batches: the number that Lightning would divide by.
        """
        return ClosureResult.from_training_step_output(output, self.batches_of_step if batches > 1 else batches)

    @property
    def batches_of_step(self) -> int:
        """How many batches the current step has; the full number where the end of the epoch is not known."""
        window = self.trainer.accumulate_grad_batches
        batch = self.trainer.fit_loop.epoch_loop.batch_idx
        return int(min(window, self.trainer.num_training_batches - (batch - batch % window)))

    def make_up(self, gradients: Gradients) -> None:
        """Divide by the batches that a step really has, if the epoch ended unexpectedly."""
        window, batches = self.trainer.accumulate_grad_batches, self.trainer.fit_loop.epoch_loop.batch_idx + 1
        if batches % window and self.batches_of_step == window:
            torch._foreach_mul_(gradients.tensors, window / (batches % window))
            gradients.forget()
