"""Stops a training, or leaves the batch out, where the loss or a gradient is NaN or infinite."""

import math
import sys
from typing import Any, Literal

import lightning as L
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer

from kindling.core.errors import Stopped
from kindling.train.bad_step import Step, explain, is_finite_loss, save, suspects
from kindling.train.gradients import Gradients, gradients_of, is_finite
from kindling.train.late_answer import LateAnswer, can_leave_out
from kindling.train.messages import note

IN_A_ROW = 10  # as many skipped steps mean that nothing is learnt any more


class NonFinite(L.Callback):
    """Check the loss and the gradients before every optimiser step, so that NaN and infinity reach no weight.

    The first such batch and the state go to `non_finite/` in the run: `batch.pt`, a list of batches (more than one if a
    step accumulates them and their losses don't show which it was), and `state.ckpt`, with the weights from before the
    step. The check computes the gradient's norm, which then also serves for clipping. If the optimiser is fused, a GPU
    skips the step by itself, and what it found is reported a step later: see LateAnswer. Gradients that overflow from
    the loss scaling of 16-mixed are left to the scaler. With manual optimisation it sees what goes through
    `self.manual_backward` and the optimisers of `self.optimizers()`.

    Args:
        action: stop the training; skip the step, as if its batch had never been there, and stop after ten in a row; or
            ignore, to check nothing. A module that optimises manually can't skip.

    Raises:
        Stopped: says which step it was, the cause, and where the batch is.
    """

    keeps_gradients = True  # unchanged; where it drops them, it calls Gradients.forget

    def __init__(self, action: Literal["stop", "skip", "ignore"] = "stop") -> None:
        self.action = action
        self.batch: Any = None  # the one being trained on
        self.losses: list[tuple[Tensor, Any]] = []  # since the last optimiser step, with their batches
        self.late: tuple[Step, LateAnswer] | None = None  # a step that a GPU has been asked about

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit" and self.action == "skip" and not pl_module.automatic_optimization:
            name = type(pl_module).__name__
            raise MisconfigurationException(
                f"non_finite.action is skip, but {name} optimises manually, so it is not known what belongs to a step: "
                "set it to stop or ignore"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.losses, self.late = [], None
        self.steps = self.skipped = self.in_a_row = 0
        self.buffers = list(pl_module.buffers()) if self.action == "skip" else []  # of norms, which a batch changes
        self.before = [buffer.clone() for buffer in self.buffers]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.batch = batch
        if not pl_module.automatic_optimization:
            self.losses = []  # each was looked at
        if not self.losses:
            _copy(self.buffers, self.before)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        if self.action == "ignore":
            return
        self.losses.append((loss.detach(), self.batch))
        # With manual optimisation it is not known which step a loss is for. Several processes have a loss each but must
        # all stop alike, so they look only at the gradients.
        if not pl_module.automatic_optimization and trainer.world_size == 1 and not is_finite(loss.detach()):
            self._stop(trainer, pl_module, Step(trainer, self.losses[-1:]))

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        if self.action == "ignore":
            return
        losses, self.losses = self.losses, []
        self.steps += 1
        self._take_late_answer(trainer, pl_module)
        gradients = gradients_of(trainer, optimizer)
        if gradients.are_of_the_loop and can_leave_out(optimizer, gradients.norm.device):
            answer = LateAnswer(optimizer, gradients.norm, [loss for loss, _ in losses])
            answer.restore_unless_fine(self.buffers, self.before)
            self.late = Step(trainer, losses, gradients), answer
        elif self._is_fine(trainer, gradients, losses):
            self.in_a_row = 0
        else:
            self._leave_out(trainer, pl_module, Step(trainer, losses, gradients), gradients)

    def _leave_out(self, trainer: L.Trainer, module: L.LightningModule, step: Step, gradients: Gradients) -> None:
        if getattr(trainer.precision_plugin, "scaler", None) and is_finite_loss(trainer, step):
            return  # the scaler skips the step, and lowers its scale
        if self.action == "stop":
            self._stop(trainer, module, step)
        _copy(self.before, self.buffers)
        self._skip(trainer, module, step)
        for parameter in gradients.parameters:
            parameter.grad = None  # an optimiser leaves parameters without one alone, and their momentum too
        gradients.forget()

    def _take_late_answer(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Act on what a GPU has found in the previous step."""
        if not self.late:
            return
        (step, answer), self.late = self.late, None
        if answer.take():
            self.in_a_row = 0
        elif self.action == "stop":
            self._stop(trainer, pl_module, step)
        else:
            self._skip(trainer, pl_module, step)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take_late_answer(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._take_late_answer(trainer, pl_module)

    def on_train_batch_end(self, *_: Any) -> None:
        self.batch = None  # or it would stay in memory beside the next

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take_late_answer(trainer, pl_module)
        if self.steps or self.action == "ignore" or trainer.current_epoch:
            return
        name = type(pl_module).__name__
        note(trainer, f"NonFinite saw no step of {name}'s optimisers: it sees those of self.optimizers()")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.skipped and trainer.is_global_zero:
            print(f"kindling: steps skipped in all: {self.skipped}", file=sys.stderr)

    def _is_fine(self, trainer: L.Trainer, gradients: Gradients, losses: list[tuple[Tensor, Any]]) -> bool:
        # Each of several processes has its own loss, but the gradients of all: by those, all decide alike.
        alone = trainer.world_size == 1
        return gradients.are_finite and not (alone and any(not math.isfinite(loss.item()) for loss, _ in losses))

    def _stop(self, trainer: L.Trainer, module: L.LightningModule, step: Step) -> None:
        batches = suspects(step, self.batch)
        fault = explain(trainer, module, step, batches)
        saved = save(trainer, batches)
        other = ", or --non_finite.action skip" if module.automatic_optimization else ""
        run = trainer.default_root_dir if saved else None
        raise Stopped(f"{fault}{other}{saved}", int(trainer.is_global_zero), run)

    def _skip(self, trainer: L.Trainer, module: L.LightningModule, step: Step) -> None:
        """Report the first skipped step, and count all."""
        batches = suspects(step, self.batch)
        fault = explain(trainer, module, step, batches)
        if not self.skipped:
            self.saved = save(trainer, batches)
            if trainer.is_global_zero:
                print(f"kindling: skipped {fault}{self.saved}", file=sys.stderr)
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == IN_A_ROW:
            run = trainer.default_root_dir if self.saved else None
            reason = f"{fault}; that makes {IN_A_ROW} steps in a row{self.saved}"
            raise Stopped(reason, int(trainer.is_global_zero), run)


def _copy(tensors: list[Tensor], to: list[Tensor]) -> None:
    for source, target in zip(tensors, to, strict=True):
        target.copy_(source)
