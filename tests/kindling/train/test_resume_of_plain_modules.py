"""Resumes of modules that know nothing of Kindling: what they log at an epoch's end, and Lightning's own checkpoints."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from simple_modules import QUIET, Plain, loader
from torch import Tensor

from kindling.train.callbacks import Checkpoint
from kindling.train.trainer import Trainer

REDUCTIONS: dict[str, Any] = {
    "max": max,
    "min": min,
    "sum": sum,
    "torch.max": torch.max,
    "by name": "max",
    "mean": "mean",
}


class Reduces(Plain):
    """Logs its loss for the epoch in every way that Lightning takes."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        for name, reduction in REDUCTIONS.items():
            self.log(f"epoch/{name}", loss.detach(), on_step=False, on_epoch=True, reduce_fx=reduction)
        return loss


class Counts(Plain):
    """Counts the batches of each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0
        self.validations: list[int] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.batches += 1
        self.log("val_loss", torch.tensor(1.0))

    def on_validation_epoch_end(self) -> None:
        self.validations.append(self.batches)
        self.batches = 0


class Fall(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 15:
            raise InterruptedError


def fit(folder: Path, *callbacks: L.Callback, ckpt: Path | None = None) -> dict[str, Tensor]:
    checkpoint = Checkpoint(every_steps=3)
    checkpoint.dirpath = str(folder)
    trainer = Trainer(max_epochs=2, callbacks=[checkpoint, *callbacks], default_root_dir=folder, logger=False, **QUIET)
    trainer.fit(Reduces(), loader(), ckpt_path=ckpt, weights_only=True)
    return dict(trainer.callback_metrics)


def test_what_an_epoch_gathers_by_any_reduction_goes_on(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    assert whole["epoch/max"] == whole["epoch/torch.max"] == whole["epoch/by name"] > whole["epoch/mean"]
    with pytest.raises(InterruptedError):
        fit(tmp_path / "cut", Fall())
    assert fit(tmp_path / "cut", ckpt=tmp_path / "cut" / "last.ckpt") == whole


@pytest.mark.parametrize("when", [{"val_check_interval": 4}, {"check_val_every_n_epoch": 2}], ids=str)
def test_after_a_checkpoint_of_a_validations_end_all_batches_are_validated(when: Any, tmp_path: Path) -> None:
    keeper = ModelCheckpoint(tmp_path, filename="kept", monitor="val_loss")
    common: dict[str, Any] = {"logger": False, "default_root_dir": tmp_path, "num_sanity_val_steps": 0, **QUIET, **when}
    Trainer(max_epochs=2, callbacks=[keeper], **common).fit(Counts(), loader(), loader())
    module = Counts()
    trainer = Trainer(max_epochs=6, enable_checkpointing=False, **common)
    trainer.fit(module, loader(), loader(), ckpt_path=tmp_path / "kept.ckpt", weights_only=True)
    assert len(module.validations) >= 2
    assert set(module.validations) == {10}
