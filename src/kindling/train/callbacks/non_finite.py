"""Stops a training, or leaves the batch out, where the loss or a gradient is NaN or infinite."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.optim import Optimizer

from kindling.core.errors import Stopped
from kindling.run.checkpoint_files import WholeCheckpointIO
from kindling.train.gradients import Gradients, gradients_of, is_finite
from kindling.train.messages import note

IN_A_ROW = 10  # skipped steps after which nothing is learnt any more


class NonFinite(L.Callback):
    """Look at the loss and the gradients before every optimiser step, so that NaN and infinity reach no weight.

    The first such batch and the state go to `non_finite/` in the run: `batch.pt`, a list of batches (more than one if a
    step accumulates them and their losses don't tell which it was), and `state.ckpt`, with the weights from before the
    step. The check takes the gradient's length, by which the gradient is then clipped; on a GPU it waits for the
    backward pass. Gradients that overflow by the loss scaling of 16-mixed are left to the scaler. With manual
    optimisation it sees what goes through `self.manual_backward` and the optimisers of `self.optimizers()`.

    Args:
        action: stop the training; skip the step, as if its batch had never been there, and stop after ten in a row; or
            ignore it, and don't look. A module that optimises manually can't skip.

    Raises:
        Stopped: names the step, the cause and where the batch is.
    """

    keeps_gradients = True  # unchanged; where it drops them, it calls Gradients.forget

    def __init__(self, action: Literal["stop", "skip", "ignore"] = "stop") -> None:
        self.action = action
        self.batch: Any = None  # that is being trained on
        self.losses: list[tuple[Tensor, Any]] = []  # since the last optimiser step, with their batches

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit" and self.action == "skip" and not pl_module.automatic_optimization:
            name = type(pl_module).__name__
            raise MisconfigurationException(
                f"non_finite.action is skip, but {name} optimises manually, and nobody knows what belongs to a step: "
                "set it to stop or ignore"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.losses = []
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
        # With manual optimisation nobody knows which step a loss is for. Of several processes, which have a loss each,
        # all must stop alike, so they look at the gradients alone.
        if not pl_module.automatic_optimization and trainer.world_size == 1 and not is_finite(loss.detach()):
            self._stop(trainer, pl_module, None, self.losses[-1:])

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        if self.action == "ignore":
            return
        losses, self.losses = self.losses, []
        self.steps += 1
        gradients = gradients_of(trainer, optimizer)
        if self._is_fine(trainer, gradients, losses):
            self.in_a_row = 0
        elif getattr(trainer.precision_plugin, "scaler", None) and _is_finite_loss(trainer, losses):
            pass  # the scaler leaves the step out, and scales by less
        elif self.action == "stop":
            self._stop(trainer, pl_module, optimizer, losses)
        else:
            self._skip(trainer, pl_module, gradients, losses)

    def on_train_batch_end(self, *_: Any) -> None:
        self.batch = None  # or it would stay in memory beside the next

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.steps or self.action == "ignore" or trainer.current_epoch:
            return
        name = type(pl_module).__name__
        note(trainer, f"NonFinite saw no step of {name}'s optimisers: it sees those of self.optimizers()")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.skipped and trainer.is_global_zero:
            print(f"kindling: skipped steps in all: {self.skipped}", file=sys.stderr)

    def _is_fine(self, trainer: L.Trainer, gradients: Gradients, losses: list[tuple[Tensor, Any]]) -> bool:
        # Of several processes each has its own loss, but the gradients of all: on those they decide alike.
        alone = trainer.world_size == 1
        return gradients.are_finite and not (alone and any(not math.isfinite(loss.item()) for loss, _ in losses))

    def _suspects(self, losses: list[tuple[Tensor, Any]]) -> list[Any]:
        """The batches whose losses are not finite; all of a step if that tells nothing, and this one without losses."""
        bad = [batch for loss, batch in losses if not loss.isfinite()]
        return bad or [batch for _, batch in losses] or [self.batch]

    def _stop(self, trainer: L.Trainer, module: L.LightningModule, optimizer: Any, losses: list[Any]) -> None:
        batches = self._suspects(losses)
        fault = _explain(trainer, module, optimizer, losses, batches)
        saved = _save(trainer, batches)
        other = ", or --non_finite.action skip" if module.automatic_optimization else ""
        run = trainer.default_root_dir if saved else None
        raise Stopped(f"{fault}{other}{saved}", int(trainer.is_global_zero), run)

    def _skip(self, trainer: L.Trainer, module: L.LightningModule, gradients: Gradients, losses: list[Any]) -> None:
        _copy(self.before, self.buffers)
        batches = self._suspects(losses)
        fault = _explain(trainer, module, gradients.optimizer, losses, batches)
        if not self.skipped:
            self.saved = _save(trainer, batches)
            if trainer.is_global_zero:
                print(f"kindling: skipped {fault}{self.saved}", file=sys.stderr)
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == IN_A_ROW:
            run = trainer.default_root_dir if self.saved else None
            reason = f"{fault}; that makes {IN_A_ROW} steps in a row{self.saved}"
            raise Stopped(reason, int(trainer.is_global_zero), run)
        for group in gradients.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # an optimiser leaves alone what has none, and its momentum too
        gradients.forget()


def _copy(tensors: list[Tensor], to: list[Tensor]) -> None:
    for source, target in zip(tensors, to, strict=True):
        target.copy_(source)


def _is_finite_loss(trainer: L.Trainer, losses: list[tuple[Tensor, Any]]) -> bool:
    """Whether the loss of a step is finite, in the mean over all processes."""
    return math.isfinite(_loss_of(trainer, losses))


def _loss_of(trainer: L.Trainer, losses: list[tuple[Tensor, Any]]) -> float:
    return float(trainer.strategy.reduce(sum(loss for loss, _ in losses), reduce_op="mean"))


def _explain(
    trainer: L.Trainer,
    module: L.LightningModule,
    optimizer: Any,
    losses: list[tuple[Tensor, Any]],
    batches: list[Any],
) -> str:
    """Which step, what is NaN or infinite, and what to try."""
    where = f"step {trainer.global_step + 1} (epoch {trainer.current_epoch + 1})"
    what = [f"the loss is {_loss_of(trainer, losses):.4g}"] if losses else []
    if _is_finite_loss(trainer, losses):
        what.append(_odd_gradients(module, optimizer))
    if bad := _not_finite_in(trainer, batches):
        why = f"since the batch's {' and '.join(bad)} hold NaN or infinity: check the data"
    else:
        why = f"though inputs and targets are finite: {_advice(trainer, module, optimizer)}"
    return f"{where}: {' but '.join(what)}, {why}"


def _odd_gradients(module: L.LightningModule, optimizer: Optimizer) -> str:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    parameters = [each for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
    odd = [names.get(id(each), "a parameter of another module") for each in parameters if not is_finite(each.grad)]
    return f"{len(odd)} of {len(parameters)} gradients are NaN or infinite, the first that of {odd[0]}"


def _not_finite_in(trainer: L.Trainer, batches: list[Any]) -> list[str]:
    """The parts of batches that hold NaN or infinity, on any of several processes."""
    fine: dict[str, bool] = {}
    for batch in batches:
        for name, part in _parts_of(batch).items():
            fine[name] = fine.get(name, True) and all(map(is_finite, _tensors_in(part)))
    return [name for name, is_fine in fine.items() if not trainer.strategy.reduce_boolean_decision(is_fine)]


def _parts_of(batch: Any) -> dict[str, Any]:
    """The parts of a batch by what they may be called."""
    if isinstance(batch, Mapping):
        return {str(key): part for key, part in batch.items()}
    if isinstance(batch, tuple | list) and len(batch) > 1:
        return {"inputs": batch[:-1], "targets": batch[-1]}
    return {"values": batch}


def _tensors_in(part: Any) -> list[Tensor]:
    tensors: list[Tensor] = []
    apply_to_collection(part, Tensor, tensors.append)
    return tensors


def _advice(trainer: L.Trainer, module: L.LightningModule, optimizer: Any) -> str:
    group = (optimizer or trainer.optimizers[0]).param_groups[0]
    setting = "--model.optimizer.lr" if "optimizer" in module.hparams else "learning rate"
    rate = f"try a lower {setting} (it is {group['lr']:.2g})" if "lr" in group else "try smaller steps"
    precision = "" if trainer.precision in ("32-true", "64-true") else ", --trainer.precision 32-true"
    return f"{rate}{precision}, --trainer.detect_anomaly true (names the operation)"


def _save(trainer: L.Trainer, batches: list[Any]) -> str:
    """Save batches and state if there is a run, in all processes at once, and say where."""
    run = Path(trainer.default_root_dir)
    if trainer.fast_dev_run or not (run / "config.yaml").is_file():  # type: ignore[attr-defined]
        return ""
    folder, rank, verb = run / "non_finite", trainer.global_rank, "are"
    try:
        folder.mkdir(exist_ok=True)
        plain = apply_to_collection(batches, Tensor, lambda part: part.detach().cpu().clone())
        torch.save(plain, folder / (f"batch-{rank}.pt" if rank else "batch.pt"))
        _save_state(trainer, folder / "state.ckpt")
    except Exception as error:  # of a full disk torch makes a RuntimeError
        verb = f"could not be saved ({error})"
    trainer.strategy.barrier()
    kept = ", and the last good checkpoint is kept" if (run / "checkpoints" / "last.ckpt").is_file() else ""
    return f"; batch and state {verb} in {folder}{kept}"


def _save_state(trainer: L.Trainer, path: Path) -> None:
    """Save a checkpoint now: the trainer's own way to files may write later, and not say that it failed."""
    files, usual = WholeCheckpointIO(), trainer.strategy.checkpoint_io
    trainer.strategy.checkpoint_io = files
    try:
        trainer.save_checkpoint(path)
    finally:
        trainer.strategy.checkpoint_io = usual
    if files.failure:
        raise files.failure[1]
