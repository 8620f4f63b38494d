"""Stops a training, or leaves the batch out, where the loss or a gradient is NaN or infinite."""

import math
import sys
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from kindling.core.errors import Stopped
from kindling.train.gradients import gradient_norm, gradients_of

IN_A_ROW = 10  # skipped steps after which nothing is learnt any more


class NonFinite(L.Callback):
    """Look at the loss and the gradients before every optimiser step, so that NaN and infinity reach no weight.

    The first such batch and the state go to `non_finite/` in the run: `batch.pt`, a list of batches (more than one if a
    step accumulates them and their losses don't tell which it was), and `state.ckpt`, with the weights from before the
    step. The check takes the gradient's length, by which the gradient is then clipped; on a GPU it waits for the
    backward pass. Gradients that overflow by the loss scaling of 16-mixed are left to the scaler.

    Args:
        action: stop the training; skip the step, as if its batch had never been there, and stop after ten in a row; or
            ignore it, and don't look.

    Raises:
        Stopped: names the step, the cause and where the batch is.
    """

    keeps_gradients = True  # or drops them: the loop may clip by the norm

    def __init__(self, action: Literal["stop", "skip", "ignore"] = "stop") -> None:
        self.action = action
        self.norm: Tensor | None = None  # of the gradient of this step

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen: list[tuple[Tensor, Any]] = []  # loss and batch, of the optimiser step to come
        self.skipped = self.in_a_row = 0
        self.buffers = list(pl_module.buffers()) if self.action == "skip" else []  # of norms, which a batch changes
        self.before = [buffer.clone() for buffer in self.buffers]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.batch = batch
        if self.buffers and not self.seen:
            torch._foreach_copy_(self.before, self.buffers)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self.seen.append((loss.detach(), self.batch))

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        seen, self.seen = self.seen, []
        if self.action == "ignore" or self._is_fine(trainer, optimizer, seen):
            self.in_a_row = 0
            trainer.fit_loop.epoch_loop.gradient_norm = self.norm  # type: ignore[attr-defined]  # to clip by
            return
        loss = float(trainer.strategy.reduce(sum(loss for loss, _ in seen), reduce_op="mean"))
        if math.isfinite(loss) and getattr(trainer.precision_plugin, "scaler", None):
            return
        if self.buffers:
            torch._foreach_copy_(self.buffers, self.before)
        batches = [batch for loss, batch in seen if not loss.isfinite()] or [batch for _, batch in seen]
        fault = _explain(trainer, pl_module, loss, batches)
        if not self.skipped:
            self.saved = _save(trainer, batches)
        self.in_a_row += 1
        stop = self.action == "stop"
        if stop or self.in_a_row == IN_A_ROW:
            more = ", or --non_finite.action skip" if stop else f"; that makes {IN_A_ROW} steps in a row"
            run = trainer.default_root_dir if self.saved else None
            raise Stopped(f"{fault}{more}{self.saved}", int(trainer.is_global_zero), run)
        if not self.skipped and trainer.is_global_zero:
            print(f"kindling: skipped {fault}{self.saved}", file=sys.stderr)
        self.skipped += 1
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # an optimiser leaves alone what has none, and its momentum too
        trainer.fit_loop.epoch_loop.gradient_norm = torch.zeros(())  # type: ignore[attr-defined]  # nothing to clip

    def on_train_batch_end(self, *_: Any) -> None:
        self.batch = None  # or it would stay in memory beside the next

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.skipped and trainer.is_global_zero:
            print(f"kindling: skipped steps in all: {self.skipped}", file=sys.stderr)

    def _is_fine(self, trainer: L.Trainer, optimizer: Any, seen: list[tuple[Tensor, Any]]) -> bool:
        grads, self.norm = gradients_of(optimizer), None
        try:
            self.norm = gradient_norm(grads)
            fine = math.isfinite(self.norm.item()) or all(map(_is_finite, grads))  # a norm can overflow
        except (RuntimeError, NotImplementedError):  # gradients of several devices or types, or sparse ones
            fine = all(map(_is_finite, grads))
        # Of several processes each has its own loss, but the gradients of all: on those they decide alike.
        return fine and (trainer.world_size > 1 or all(math.isfinite(loss.item()) for loss, _ in seen))


def _is_finite(values: Tensor) -> bool:
    return bool((values * 0).sum() == 0)  # isfinite takes no sparse ones


def _explain(trainer: L.Trainer, model: L.LightningModule, loss: float, batches: list[Any]) -> str:
    """Which step, what was found, and what to try."""
    what = f"step {trainer.global_step + 1} (epoch {trainer.current_epoch + 1}): the loss is {loss:.4g}"
    if math.isfinite(loss):
        grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        odd = [name for name, grad in grads.items() if not _is_finite(grad)]
        what += f" but {len(odd)} of {len(grads)} gradients are NaN or infinite, the first that of {odd[0]}"
    fine = {part: all(_is_finite(batch[i]) for batch in batches) for part, i in (("inputs", 0), ("targets", -1))}
    if bad := [part for part in fine if not trainer.strategy.reduce_boolean_decision(fine[part])]:
        return f"{what}, since the batch's {' and '.join(bad)} hold NaN or infinity: check the data"
    lr = trainer.optimizers[0].param_groups[0]["lr"]
    precision = "" if trainer.precision in ("32-true", "64-true") else ", --trainer.precision 32-true"
    more = f"{precision}, --trainer.detect_anomaly true (names the operation)"
    return f"{what}, though inputs and targets are finite: try a lower --model.optimizer.lr (it is {lr:.2g}){more}"


def _save(trainer: L.Trainer, batches: list[Any]) -> str:
    """Save batches and state if there is a run, in all processes at once, and say where."""
    run = Path(trainer.default_root_dir)
    if trainer.fast_dev_run or not (run / "config.yaml").is_file():  # type: ignore[attr-defined]
        return ""
    folder, rank, told = run / "non_finite", trainer.global_rank, "are"
    try:
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        plain = [tuple(part.detach().cpu().clone() for part in batch) for batch in batches]
        folder.mkdir(exist_ok=True)
        torch.save(plain, folder / (f"batch-{rank}.pt" if rank else "batch.pt"))
        if not rank:  # not by trainer.save_checkpoint: it may write later, and not say that it failed
            torch.save(state, folder / "state.ckpt")
    except Exception as error:  # of a full disk torch makes a RuntimeError
        told = f"could not be saved ({error})"
    trainer.strategy.barrier()
    kept = ", and the last good checkpoint is kept" if (run / "checkpoints" / "last.ckpt").is_file() else ""
    return f"; batch and state {told} in {folder}{kept}"
