"""What only a GPU can show: nothing waits for it within a step, its data lie there, and a run goes on exactly."""

import os
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from kindling.train.callbacks import Checkpoint, GradientNorm, NonFinite
from kindling.train.trainer import Trainer
from my_project.data.shapes import Shapes
from my_project.models.cnn import CNN

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for exact results
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
EVERY = 10  # steps between two that are logged


class NoWaiting(L.Callback):
    """Makes every wait for the GPU an error, but in steps that are logged; from a step's start to the next one's."""

    steps = 0

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        due = trainer.global_step % EVERY == EVERY - 1
        self.steps += not due
        torch.cuda.set_sync_debug_mode("default" if due else "error")

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.is_last_batch or trainer.global_step % EVERY == 0:
            torch.cuda.set_sync_debug_mode("default")

    on_exception = on_train_epoch_end = lambda *_: torch.cuda.set_sync_debug_mode("default")


class Interrupt(L.Callback):
    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.current_epoch == 2:
            raise InterruptedError


def fit(run: Path, *callbacks: L.Callback, epochs: int = 2, ckpt: str | None = None, **settings: Any) -> L.Trainer:
    L.seed_everything(0, verbose=False)
    data = Shapes(size=400, batch_size=16, **settings.pop("data", {}))
    model = CNN(input_shape=data.input_shape, classes=data.classes, channels=[8, 16], **settings.pop("model", {}))
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(
        accelerator="gpu", devices=1, max_epochs=epochs, default_root_dir=run, gradient_clip_val=1.0,
        log_every_n_steps=EVERY, callbacks=[NonFinite(), GradientNorm(), *callbacks], **quiet, **settings,
    )  # fmt: skip
    trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return trainer


def kept_in(folder: Path) -> Checkpoint:
    checkpoint = Checkpoint()
    checkpoint.dirpath = str(folder)
    return checkpoint


def weights(trainer: L.Trainer) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in trainer.lightning_module.state_dict().items()}


def test_nothing_waits_for_the_gpu_within_a_step(tmp_path: Path) -> None:
    watcher = NoWaiting()
    fit(tmp_path, watcher, enable_checkpointing=False)
    assert watcher.steps == 29  # of 32


def test_cuda_graphs_train_and_validate(tmp_path: Path) -> None:
    trainer = fit(tmp_path, epochs=8, model={"compile": "reduce-overhead"}, enable_checkpointing=False)
    assert trainer.callback_metrics["val/accuracy"] > 0.6  # a guess: 0.2


def test_batches_from_the_gpu_are_those_from_elsewhere(tmp_path: Path) -> None:
    exact: dict[str, Any] = {"epochs": 1, "deterministic": True, "enable_checkpointing": False}
    trainer, other = fit(tmp_path, **exact), fit(tmp_path, data={"workers": 2}, **exact)
    on_gpu, elsewhere = (each.datamodule.sets["train"].tensors for each in (trainer, other))  # type: ignore[attr-defined]
    assert all(tensor.is_cuda for tensor in on_gpu)
    assert not any(tensor.is_cuda for tensor in elsewhere)
    torch.testing.assert_close(weights(trainer), weights(other), rtol=0, atol=0)


def test_a_resume_on_a_gpu_is_exact(tmp_path: Path) -> None:
    whole = fit(tmp_path, kept_in(tmp_path / "whole"), epochs=3, deterministic=True)
    with pytest.raises(InterruptedError):
        fit(tmp_path, kept_in(tmp_path / "first"), Interrupt(), epochs=3, deterministic=True)
    ckpt = str(tmp_path / "first" / "last.ckpt")
    again = fit(tmp_path, kept_in(tmp_path / "again"), epochs=3, ckpt=ckpt, deterministic=True)
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=0)


def test_float32_is_multiplied_by_tf32_unless_it_is_switched_off(tmp_path: Path) -> None:
    for tf32, precision in ((True, "high"), (False, "highest")):
        trainer = Trainer(accelerator="gpu", devices=1, tf32=tf32, logger=False)
        assert torch.get_float32_matmul_precision() == precision
        assert trainer.described_precision == "32-true" + ", float32 by TF32" * tf32
