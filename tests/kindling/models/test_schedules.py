"""Every schedule's curve through a training equals torch's stepped by hand."""

import csv
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Result
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop, lr_scheduler

from kindling.models.schedules import Constant, CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, WarmupCosine
from my_project.data.synthetic import SyntheticClassification
from my_project.models.mlp import MLP

STEPS, EPOCHS = 12, 4  # 12 batches of 16 an epoch


def optimizer(lr: float = 0.1) -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def warmup_cosine(total: int, optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    """From torch's own parts: `total` steps, of which a fifth warms up."""
    warm = round(0.2 * total)
    up = lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / (warm + 1))
    down = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warm)
    return lr_scheduler.SequentialLR(optimizer, [up, down], milestones=[warm])


# ours; torch's by the number of optimiser steps in the run; whether it steps every epoch
SCHEDULES: dict[str, tuple[Any, Callable[[int, Optimizer], Any], bool]] = {
    "none": (Constant, lambda total, o: lr_scheduler.ConstantLR(o, factor=1.0), True),
    "step": (
        partial(lr_scheduler.StepLR, step_size=2, gamma=0.5),
        lambda total, o: lr_scheduler.StepLR(o, 2, 0.5),
        True,
    ),
    "multistep": (
        partial(lr_scheduler.MultiStepLR, milestones=[1, 3]),
        lambda total, o: lr_scheduler.MultiStepLR(o, [1, 3]),
        True,
    ),
    "exponential": (
        partial(lr_scheduler.ExponentialLR, gamma=0.9),
        lambda total, o: lr_scheduler.ExponentialLR(o, 0.9),
        True,
    ),
    "cosine in epochs": (
        partial(CosineAnnealingLR, T_max=4, eta_min=0.01),
        lambda total, o: lr_scheduler.CosineAnnealingLR(o, 4, 0.01),
        True,
    ),
    "cosine": (
        partial(CosineAnnealingLR, eta_min=0.01),
        lambda total, o: lr_scheduler.CosineAnnealingLR(o, total, 0.01),
        False,
    ),
    "one cycle": (
        partial(OneCycleLR, max_lr=0.5, pct_start=0.4),
        lambda total, o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=total, pct_start=0.4),
        False,
    ),
    "one cycle in three phases": (
        partial(OneCycleLR, three_phase=True, anneal_strategy="linear"),
        lambda total, o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=total, three_phase=True, anneal_strategy="linear"),
        False,
    ),
    "warm-up and cosine": (partial(WarmupCosine, warmup=0.2), warmup_cosine, False),
}


def train(
    schedule: Any, folder: Path, name: str, ckpt: str | None = None, **settings: Any
) -> tuple[list[float], L.Trainer]:
    """Train, and return the learning rate of every optimiser step."""
    model = MLP(
        input_shape=(10,),
        classes=["a", "b", "c"],
        hidden_sizes=[8],
        optimizer=partial(SGD, lr=0.1, momentum=0.9),
        schedule=schedule,
    )
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    quiet["enable_checkpointing"] = "callbacks" in settings
    logger = CSVLogger(folder, name=name)
    trainer = L.Trainer(accelerator="cpu", logger=logger, log_every_n_steps=1, **quiet, **settings)
    trainer.fit(model, datamodule=SyntheticClassification(size=300, batch_size=16), ckpt_path=ckpt, weights_only=True)
    with open(Path(logger.log_dir, "metrics.csv"), encoding="utf-8") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file) if row["learning_rate"]]
    return rates, trainer


def by_hand(make: Callable[[int, Optimizer], Any], steps: int, per_epoch: bool, total: int) -> list[float]:
    stepped = SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    schedule = make(total, stepped)
    rates = []
    for step in range(total):
        rates.append(float(stepped.param_groups[0]["lr"]))
        stepped.step()
        if not per_epoch or (step + 1) % steps == 0:
            schedule.step()
    return rates


@pytest.mark.parametrize("accumulate", [1, 5])  # 12 batches: the third step of an epoch has two
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_curve_is_that_of_torch_stepped_by_hand(name: str, accumulate: int, tmp_path: Path) -> None:
    schedule, make, per_epoch = SCHEDULES[name]
    rates, _ = train(schedule, tmp_path, "run", max_epochs=EPOCHS, accumulate_grad_batches=accumulate)
    steps = -(-STEPS // accumulate)
    assert rates == pytest.approx(by_hand(make, steps, per_epoch, EPOCHS * steps), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    schedule, make, per_epoch = SCHEDULES[name]
    whole = by_hand(make, STEPS, per_epoch, EPOCHS * STEPS)
    schedule_of_whole_run = {"max_epochs": EPOCHS}
    train(schedule, tmp_path, "first", **schedule_of_whole_run, callbacks=[StopAfter(2, tmp_path)])
    rates, _ = train(schedule, tmp_path, "second", ckpt=str(tmp_path / "stopped.ckpt"), **schedule_of_whole_run)
    assert rates == pytest.approx(whole[2 * STEPS :], rel=1e-6, abs=1e-12)


class StopAfter(Checkpoint):
    """Stops a training as an accident would, in the middle of its plan, and leaves a checkpoint."""

    def __init__(self, epochs: int, folder: Path) -> None:
        self.epochs, self.folder = epochs, folder

    def on_train_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.epochs:
            trainer.save_checkpoint(self.folder / "stopped.ckpt")
            trainer.should_stop = True


def test_the_plateau_follows_its_metric(tmp_path: Path) -> None:
    # val/accuracy can't rise above 2: every second epoch without improvement divides the rate by ten
    schedule = partial(ReduceLROnPlateau, monitor="val/loss", mode="max", threshold=1e9, patience=1)
    rates, _ = train(schedule, tmp_path, "run", max_epochs=6)
    reference = optimizer()
    plateau = lr_scheduler.ReduceLROnPlateau(reference, mode="max", threshold=1e9, patience=1)
    expected = []
    for _ in range(6):
        expected += [reference.param_groups[0]["lr"]] * STEPS
        plateau.step(1.0)
    assert rates == pytest.approx(expected)
    assert rates[-1] < 0.1


def test_the_patience_of_a_plateau_counts_validations(tmp_path: Path) -> None:
    # Two validations an epoch: the first is the best, and every second one after it divides the rate by ten.
    schedule = partial(ReduceLROnPlateau, mode="max", threshold=1e9, patience=1)
    rates, _ = train(schedule, tmp_path, "run", max_epochs=3, val_check_interval=0.5, num_sanity_val_steps=2)
    drops = [step for step in range(1, len(rates)) if rates[step] < rates[step - 1]]
    half = STEPS // 2
    assert drops == [STEPS + half, 2 * STEPS + half]


def test_a_plateau_does_not_step_where_nothing_was_validated(tmp_path: Path) -> None:
    schedule = partial(ReduceLROnPlateau, mode="max", threshold=1e9, patience=1)
    rates, _ = train(schedule, tmp_path, "run", max_epochs=6, check_val_every_n_epoch=2)
    assert len(set(rates)) == 1  # three validations: the best, and two before the rate falls, at the end


def test_a_resumed_plateau_goes_on_where_it_was(tmp_path: Path) -> None:
    schedule = partial(ReduceLROnPlateau, mode="max", threshold=1e9, patience=1)
    whole, _ = train(schedule, tmp_path, "whole", max_epochs=6)
    train(schedule, tmp_path, "first", max_epochs=6, callbacks=[StopAfter(3, tmp_path)])
    rates, _ = train(schedule, tmp_path, "second", ckpt=str(tmp_path / "stopped.ckpt"), max_epochs=6)
    assert rates == pytest.approx(whole[3 * STEPS :])
    assert len(set(rates)) > 1


def test_the_momentum_cycles_with_the_rate() -> None:
    stepped = SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    schedule = OneCycleLR(stepped)
    schedule.start(10)
    assert stepped.param_groups[0]["momentum"] == 0.95
    for _ in range(3):
        stepped.step()
        schedule.step()
    assert stepped.param_groups[0]["momentum"] < 0.9


def test_past_its_end_it_stays_at_the_final_rate() -> None:
    schedule = WarmupCosine(optimizer(2.0), warmup=0, final=0.5)
    schedule.start(4)
    rates = []
    for _ in range(8):
        rates.append(float(schedule.optimizer.param_groups[0]["lr"]))
        schedule.optimizer.step()
        schedule.step()
    assert rates[4:] == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("schedule", [WarmupCosine, CosineAnnealingLR, OneCycleLR])
def test_a_run_without_end_has_no_length(schedule: Any) -> None:
    with pytest.raises(
        MisconfigurationException, match=f"{schedule.__name__} needs a run with an end .*: set trainer.max_steps"
    ):
        schedule(optimizer()).start(math.inf)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="warmup is 1.5: expected a fraction"):
        WarmupCosine(optimizer(), warmup=1.5)
    with pytest.raises(ValueError, match="final is -1: expected a fraction"):
        WarmupCosine(optimizer(), final=-1)


NAMES: dict[str, list[str]] = {
    "SGD": [
        "--model.optimizer.lr=0.1",
        "--model.optimizer.momentum=0.9",
        "--model.optimizer.nesterov=true",
        "--model.optimizer.weight_decay=1e-4",
    ],
    "Adam": ["--model.optimizer.betas=[0.8,0.99]", "--model.optimizer.eps=1e-7"],
    "AdamW": ["--model.optimizer.lr=1e-3"],
    "RMSprop": ["--model.optimizer.alpha=0.9", "--model.optimizer.momentum=0.5"],
    "NAdam": [],
}
BY_NAME: dict[str, list[str]] = {
    "StepLR": ["--model.schedule.step_size=30", "--model.schedule.gamma=0.1"],
    "MultiStepLR": ["--model.schedule.milestones=[1,2]"],
    "ExponentialLR": ["--model.schedule.gamma=0.95"],
    "CosineAnnealingLR": ["--model.schedule.T_max=100"],
    "OneCycleLR": ["--model.schedule.max_lr=0.01", "--model.schedule.pct_start=0.2"],
    "ReduceLROnPlateau": [
        "--model.schedule.monitor=val/f1",
        "--model.schedule.mode=max",
        "--model.schedule.patience=3",
    ],
    "WarmupCosine": ["--model.schedule.warmup=0.3"],
    "null": [],
}
QUICK = ["--trainer.fast_dev_run", 3, "--trainer.accelerator", "cpu"]


@pytest.mark.parametrize("name", NAMES)
def test_an_optimiser_by_name(name: str, kindling: Callable[..., Result]) -> None:
    told = kindling("fit", "--config", "configs/digits_mlp.yaml", "--model.optimizer", name, *NAMES[name], *QUICK)
    assert (told.code, told.err) == (0, "")


@pytest.mark.parametrize("name", BY_NAME)
def test_a_schedule_by_name(name: str, kindling: Callable[..., Result]) -> None:
    told = kindling("fit", "--config", "configs/digits_mlp.yaml", "--model.schedule", name, *BY_NAME[name], *QUICK)
    assert (told.code, told.err) == (0, "")


def test_all_arguments_reach_the_optimiser() -> None:
    for built in (partial(RMSprop, alpha=0.9, centered=True), partial(Adam, betas=(0.8, 0.99), amsgrad=True)):
        model = MLP(input_shape=(4,), classes=["a", "b"], optimizer=built)
        group = model.configure_optimizers()["optimizer"].param_groups[0]
        assert {key: group[key] for key in built.keywords} == built.keywords
