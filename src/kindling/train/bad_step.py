"""What is said and saved about a step whose loss or gradients are NaN or infinite."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.optim import Optimizer

from kindling.run.checkpoint_files import WholeCheckpointIO
from kindling.train.gradients import Gradients, is_finite


class Step:
    """An optimiser's step, just before it is taken.

    Args:
        trainer: the training's trainer.
        losses: those that the gradients come from, with their batches.
        gradients: those that the optimiser is about to step by; None where only a loss was looked at.
    """

    def __init__(
        self, trainer: L.Trainer, losses: list[tuple[Tensor, Any]], gradients: Gradients | None = None
    ) -> None:
        self.number, self.epoch = trainer.global_step + 1, trainer.current_epoch + 1
        self.losses = losses
        self.optimizer: Optimizer | None = None
        if gradients:
            self.optimizer = gradients.optimizer
            self.parameters, self.norms = gradients.parameters, gradients.norms


def suspects(step: Step, otherwise: Any) -> list[Any]:
    """The batches whose losses are not finite; all of a step's if none is; `otherwise` if the step has no losses."""
    bad = [batch for loss, batch in step.losses if not loss.isfinite()]
    return bad or [batch for _, batch in step.losses] or [otherwise]


def is_finite_loss(trainer: L.Trainer, step: Step) -> bool:
    """Whether the loss of a step, averaged over all processes, is finite."""
    return math.isfinite(_loss_of(trainer, step))


def _loss_of(trainer: L.Trainer, step: Step) -> float:
    return float(trainer.strategy.reduce(sum(loss for loss, _ in step.losses), reduce_op="mean"))


def explain(trainer: L.Trainer, module: L.LightningModule, step: Step, batches: list[Any]) -> str:
    """Say which step it is, what is NaN or infinite, and what to try."""
    where = f"step {step.number} (epoch {step.epoch})"
    what = [f"the loss is {_loss_of(trainer, step):.4g}"] if step.losses else []
    if is_finite_loss(trainer, step):
        what.append(_odd_gradients(module, step))
    if bad := _not_finite_in(trainer, batches):
        why = f"since there is NaN or infinity in the batch's {' and '.join(bad)}: check the data"
    else:
        why = f"though inputs and targets are finite: {_advice(trainer, module, step)}"
    return f"{where}: {' but '.join(what)}, {why}"


def _odd_gradients(module: L.LightningModule, step: Step) -> str:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    lengths = zip(step.parameters, step.norms.tolist(), strict=True)
    odd = [names.get(id(each), "a parameter of another module") for each, norm in lengths if not math.isfinite(norm)]
    return f"{len(odd)} of {len(step.parameters)} gradients are NaN or infinite, the first that of {odd[0]}"


def _not_finite_in(trainer: L.Trainer, batches: list[Any]) -> list[str]:
    """The parts of batches that contain NaN or infinity, in any of several processes."""
    fine: dict[str, bool] = {}
    for batch in batches:
        for name, part in _parts_of(batch).items():
            fine[name] = fine.get(name, True) and all(map(is_finite, _tensors_in(part)))
    return [name for name, is_fine in fine.items() if not trainer.strategy.reduce_boolean_decision(is_fine)]


def _parts_of(batch: Any) -> dict[str, Any]:
    """The parts of a batch, each by a name that suits it."""
    if isinstance(batch, Mapping):
        return {str(key): part for key, part in batch.items()}
    if isinstance(batch, tuple | list) and len(batch) > 1:
        return {"inputs": batch[:-1], "targets": batch[-1]}
    return {"values": batch}


def _tensors_in(part: Any) -> list[Tensor]:
    tensors: list[Tensor] = []
    apply_to_collection(part, Tensor, tensors.append)
    return tensors


def _advice(trainer: L.Trainer, module: L.LightningModule, step: Step) -> str:
    group = (step.optimizer or trainer.optimizers[0]).param_groups[0]
    setting = "--model.optimizer.lr" if "optimizer" in module.hparams else "learning rate"
    rate = f"try a lower {setting} (it is {group['lr']:.2g})" if "lr" in group else "try smaller steps"
    precision = "" if trainer.precision in ("32-true", "64-true") else ", --trainer.precision 32-true"
    return f"{rate}{precision}, --trainer.detect_anomaly true (names the operation)"


def save(trainer: L.Trainer, batches: list[Any]) -> str:
    """Save batches and state if there is a run, in all processes at once; returns where they are, as a clause."""
    run = Path(trainer.default_root_dir)
    if trainer.fast_dev_run or not (run / "config.yaml").is_file():  # type: ignore[attr-defined]
        return ""
    folder, rank, verb = run / "non_finite", trainer.global_rank, "are"
    try:
        folder.mkdir(exist_ok=True)
        plain = apply_to_collection(batches, Tensor, lambda part: part.detach().cpu().clone())
        torch.save(plain, folder / (f"batch-{rank}.pt" if rank else "batch.pt"))
        _save_state(trainer, folder / "state.ckpt")
    except Exception as error:  # torch turns a full disk into a RuntimeError
        verb = f"could not be saved ({error})"
    trainer.strategy.barrier()
    kept = ", and the last good checkpoint is kept" if (run / "checkpoints" / "last.ckpt").is_file() else ""
    return f"; batch and state {verb} in {folder}{kept}"


def _save_state(trainer: L.Trainer, path: Path) -> None:
    """Save a checkpoint now: the trainer's own checkpoint_io may write later, and not say that it failed."""
    files, usual = WholeCheckpointIO(), trainer.strategy.checkpoint_io
    trainer.strategy.checkpoint_io = files
    try:
        trainer.save_checkpoint(path)
    finally:
        trainer.strategy.checkpoint_io = usual
    if files.failure:
        raise files.failure[1]
