"""Schedules that span the run, and logging once an epoch, in modules that know nothing of Kindling."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Result
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from simple_modules import QUIET, Gan, Plain, Points, Stream, loader
from torch import nn
from torch.optim import SGD, lr_scheduler

from kindling.models.run_length import steps_of
from kindling.models.schedules import CosineAnnealingLR, OneCycleLR, WarmupCosine
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.metrics_table import MetricsTable
from kindling.train.callbacks import Checkpoint
from kindling.train.trainer import Trainer


class Scheduled(Plain):
    """Returns a schedule as Lightning's examples do, and keeps the rate of each step."""

    def __init__(self, schedule: Any = WarmupCosine, in_dict: bool = True) -> None:
        super().__init__()
        self.schedule, self.in_dict = schedule, in_dict
        self.rates: list[float] = []

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1, momentum=0.9)
        schedule = self.schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": schedule} if self.in_dict else ([optimizer], [schedule])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        (group,) = self.trainer.optimizers[0].param_groups
        self.rates.append(float(group["lr"]))


def fit(module: Any, data: Any = None, **settings: Any) -> Trainer:
    settings = {"logger": False, "enable_checkpointing": False, **QUIET, **settings}
    trainer = Trainer(**settings)
    trainer.fit(module, loader() if data is None else data)
    return trainer


def by_hand(make: Callable[..., Any], steps: int) -> list[float]:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    schedule = make(optimizer)
    if hasattr(schedule, "start"):
        schedule.start(steps)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


TORCHS = {
    "warm-up and cosine": (WarmupCosine, WarmupCosine),
    "cosine": (CosineAnnealingLR, lambda o: lr_scheduler.CosineAnnealingLR(o, 30)),
    "one cycle": (OneCycleLR, lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30)),
}


@pytest.mark.parametrize("in_dict", [True, False])
@pytest.mark.parametrize(("schedule", "reference"), TORCHS.values(), ids=TORCHS)
def test_a_plain_module_has_schedules_that_span_its_run(schedule: Any, reference: Any, in_dict: bool) -> None:
    module = Scheduled(schedule, in_dict)
    trainer = fit(module, max_epochs=3)
    assert module.rates == pytest.approx(by_hand(reference, 30), rel=1e-5, abs=1e-9)
    assert trainer.lr_scheduler_configs[0].interval == "step"


def test_one_in_epochs_steps_by_epochs() -> None:
    module = Scheduled(partial(CosineAnnealingLR, T_max=3))
    fit(module, max_epochs=3)
    assert module.rates == pytest.approx([rate for rate in (0.1, 0.075, 0.025) for _ in range(10)])


def test_torchs_are_left_to_the_module() -> None:
    module = Scheduled(partial(lr_scheduler.StepLR, step_size=1, gamma=0.1))
    fit(module, max_epochs=2)
    assert module.rates == pytest.approx([0.1] * 10 + [0.01] * 10)


def test_a_second_training_has_a_length_of_its_own() -> None:
    module = Scheduled()
    trainer = fit(module, max_epochs=1)
    module.rates.clear()
    trainer.fit_loop.max_epochs = 3  # of which one is over
    trainer.fit(module, loader())
    assert module.rates == pytest.approx(by_hand(WarmupCosine, 30)[:20])


def test_a_run_that_goes_on_has_the_length_of_now(tmp_path: Path) -> None:
    fit(Scheduled(), max_epochs=1).save_checkpoint(tmp_path / "first.ckpt")
    module = Scheduled()
    trainer = Trainer(max_epochs=3, logger=False, enable_checkpointing=False, **QUIET)
    trainer.fit(module, loader(), ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert module.rates == pytest.approx(by_hand(WarmupCosine, 30)[10:])


@pytest.mark.parametrize("schedule", [WarmupCosine, CosineAnnealingLR, OneCycleLR])
@pytest.mark.parametrize(
    ("data", "settings"), [(Stream(), {"max_epochs": 2}), (Stream(), {}), (Points(), {"max_epochs": -1})]
)
def test_a_run_whose_end_nobody_knows_is_refused_before_the_first_step(
    schedule: Any, data: Any, settings: dict[str, Any]
) -> None:
    module = Scheduled(schedule)
    before = module.net.weight.detach().clone()
    message = f"{schedule.__name__} needs a run with an end that is known when it starts: set trainer.max_steps"
    with pytest.raises(MisconfigurationException, match=message):
        fit(module, loader(data), **settings)
    assert torch.equal(module.net.weight, before)
    assert module.rates == []


class AsksItself(Plain):
    """Asks for the length of the run as Lightning's documentation does."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1)
        steps = self.trainer.estimated_stepping_batches
        return [optimizer], [lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("data", "settings"), [(Stream(), {"max_epochs": 2}), (Points(), {"max_epochs": -1})])
def test_a_module_that_asks_for_a_length_that_nobody_knows_is_told(data: Any, settings: dict[str, Any]) -> None:
    """Torch takes a length of -1, and the rate goes up and down at each step."""
    message = "AsksItself.configure_optimizers asks for trainer.estimated_stepping_batches, .*: set trainer.max_steps"
    with pytest.raises(MisconfigurationException, match=message):
        fit(AsksItself(), loader(data), **settings)
    trainer = fit(AsksItself(), loader(data), **settings, max_steps=6)
    (schedule,) = (config.scheduler for config in trainer.lr_scheduler_configs)
    assert schedule.T_max == 6  # type: ignore[union-attr]


def test_with_max_steps_it_has_an_end() -> None:
    module = Scheduled()
    fit(module, loader(Stream()), max_steps=25, max_epochs=-1)
    assert module.rates == pytest.approx(by_hand(WarmupCosine, 25))


def test_one_that_does_not_span_the_run_needs_no_end() -> None:
    module = Scheduled(partial(lr_scheduler.StepLR, step_size=1, gamma=0.1))
    fit(module, loader(Stream()), max_epochs=2)
    assert module.rates == pytest.approx([0.1] * 10 + [0.01] * 10)


class ScheduledGan(Gan):
    """Steps a schedule a batch for each of its optimisers."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = self.lr_schedulers()  # type: ignore[misc]
        self.rates.append(float(self.trainer.optimizers[0].param_groups[0]["lr"]))
        super().training_step(batch, batch_idx)
        first.step()
        second.step()

    def configure_optimizers(self) -> Any:
        optimizers = [SGD(part.parameters(), lr=0.1) for part in (self.generator, self.discriminator)]
        return optimizers, [WarmupCosine(each) for each in optimizers]


@pytest.mark.parametrize(
    ("data", "settings", "steps"),
    [
        (Points(), {"max_epochs": 3}, 30),
        (Points(), {"max_epochs": 3, "max_steps": 40}, 20),  # of both optimisers
        (Points(), {"max_epochs": -1, "max_steps": 40}, 20),
        (Points(), {"max_epochs": 1, "max_steps": 400}, 10),
        (Stream(), {"max_steps": 30}, 15),
    ],
)
def test_two_optimisers_have_half_the_steps_each(data: Any, settings: dict[str, Any], steps: int) -> None:
    module = ScheduledGan()
    trainer = fit(module, loader(data), **settings)
    assert module.rates == pytest.approx(by_hand(WarmupCosine, steps))
    assert steps_of(trainer) == steps


def test_nobody_knows_the_end_of_a_stream() -> None:
    assert math.isinf(steps_of(fit(Plain(), loader(Stream()), max_epochs=1)))


# Logging


def logged_steps(folder: Path, name: str) -> list[int]:
    if not (folder / "metrics.csv").exists():
        return []
    header, *rows = (line.split(",") for line in (folder / "metrics.csv").read_text().splitlines())
    return [int(row[header.index("step")]) for row in rows if row[header.index(name)]]


def logs(module: Any, data: Any, folder: Path, trainer: Any = Trainer, **settings: Any) -> list[int]:
    table = MetricsTable(folder / "metrics.csv")
    made = trainer(logger=table, enable_checkpointing=False, **QUIET, **settings)
    made.fit(module, data)
    table.save()
    assert made.log_every_n_steps <= settings.get("log_every_n_steps", 50)
    return logged_steps(folder, "train_loss")


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_epochs": 3}, [9, 19, 29]),
        ({"max_epochs": 3, "log_every_n_steps": 4}, [3, 7, 11, 15, 19, 23, 27]),
        ({"max_epochs": 3, "log_every_n_steps": 0}, []),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, [2, 5]),
        ({"max_steps": 7}, [6]),
        ({"limit_train_batches": 3, "max_epochs": 2}, [2, 5]),
    ],
)
def test_each_epoch_of_a_plain_module_is_logged(settings: dict[str, Any], steps: list[int], tmp_path: Path) -> None:
    assert logs(Plain(), loader(), tmp_path, **settings) == steps


class RareHook(Plain):
    """Is trained by Lightning's own loop."""

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        optimizer.zero_grad()


class Manual(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizer.step()


@pytest.mark.parametrize("module", [Plain, RareHook, Manual])
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_epochs": 3}, [9, 19, 29]),  # none is due in any
        ({"max_epochs": 3, "log_every_n_steps": 15}, [9, 14, 29]),
        ({"max_epochs": 3, "log_every_n_steps": 10}, [9, 19, 29]),
        ({"max_epochs": 2, "log_every_n_steps": 8}, [7, 15]),
        ({"max_epochs": 1, "log_every_n_steps": 0}, []),
        ({"max_steps": 7, "max_epochs": -1}, [6]),
    ],
)
def test_each_epoch_of_a_stream_is_logged(
    module: Any, settings: dict[str, Any], steps: list[int], tmp_path: Path
) -> None:
    assert logs(module(), loader(Stream()), tmp_path, **settings) == steps


def test_a_stream_is_logged_by_optimiser_steps(tmp_path: Path) -> None:
    assert logs(Plain(), loader(Stream()), tmp_path, max_epochs=3, accumulate_grad_batches=4) == [2, 5, 8]


def test_the_interval_is_the_users_again_afterwards() -> None:
    trainer = fit(Plain(), loader(Stream()), max_epochs=2, log_every_n_steps=15)
    assert trainer.log_every_n_steps == 15  # type: ignore[attr-defined]


def test_a_part_of_an_epoch_logs_as_the_whole_would(tmp_path: Path) -> None:
    """Of the second epoch the step 15 was due, before the accident: so its end is not."""

    class Fall(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 8 and trainer.current_epoch:
                raise KeyError

    def train(ckpt: Any, *callbacks: Any) -> None:
        logger, kept = MetricsTable(tmp_path / "metrics.csv", 17 if ckpt else 0), Checkpoint(every_steps=17)
        kept.dirpath = str(tmp_path)
        settings = {"max_epochs": 2, "log_every_n_steps": 15, "default_root_dir": tmp_path}
        trainer = Trainer(callbacks=[*callbacks, kept], logger=logger, **QUIET, **settings)
        trainer.fit(Plain(), loader(Stream()), ckpt_path=ckpt, weights_only=True)

    with pytest.raises(KeyError):
        train(None, Fall())
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 17
    assert logged_steps(tmp_path, "train_loss") == [9, 14]
    train(tmp_path / "last.ckpt")
    assert logged_steps(tmp_path, "train_loss") == [9, 14]


def test_the_command_line_says_so_in_a_sentence(kindling: Callable[..., Result], project: Path) -> None:
    flags = ["--trainer.max_epochs", -1, "--trainer.accelerator", "cpu"]
    told = kindling("fit", "--config", "configs/digits_mlp.yaml", *flags)
    assert told.code == 2
    assert told.err.startswith(
        "kindling: WarmupCosine needs a run with an end that is known when it starts: set trainer.max_"
    )
    assert told.err.count("\n") == 1
    assert not Path("lightning_logs").exists()
