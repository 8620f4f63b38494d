"""A training that met with an accident goes on, and ends as one that nobody disturbed."""

import csv
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import lightning as L
import numpy as np
import pytest
import torch
from conftest import QUICK, ROOT, Result
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score, MulticlassPrecision

from kindling.cli import main
from kindling.core.errors import UsageError
from kindling.run import checkpoint_files as checkpoints
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.folder import begun_run, new_run
from kindling.run.record import Record
from kindling.train import resume
from kindling.train.learning_rates import change_learning_rate
from my_project.models.mlp import MLP

SLOW = pytest.mark.slow
# Two epochs of eight steps; `last.ckpt` is saved before the batches 3 and 6, and at the end of the epoch.
FIT = ["fit", "--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", "--model.dropout", "0.3", *QUICK]
FIT += ["--trainer.limit_train_batches", "8", "--trainer.log_every_n_steps", "3", "--checkpoint.every_steps", "3"]
FIT += ["--figures.enabled", "false"]
RUN = Path("lightning_logs/digits_mlp/version_0")
LAST, PREVIOUS, BEST = (RUN / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous", "best"))
# Times, counters that Lightning keeps and that nothing depends on, and how the batches were loaded.
MAY_DIFFER = re.compile(
    r"\.(seconds|total\.started|scheduler_progress\.\w+\.\w+|val_loop\.batch_progress\.total\.\w+|current_score|workers)$"
)
Run = Callable[..., Result]


class Accident(Exception):
    """Nothing is prepared for it, and nothing is saved."""


def fall() -> None:
    raise Accident


def press(number: signal.Signals, times: int = 1) -> Callable[[], None]:
    """Sends a signal to this process."""

    def send() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return send


@contextmanager
def at(hook: str, call: int, happens: Callable[[], Any]) -> Iterator[None]:
    """Let something happen at the n-th call of a callback's hook."""
    before, calls = getattr(Record, hook), itertools.count(1)

    def hooked(*args: Any) -> None:
        if next(calls) == call:
            happens()
        before(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, hook, hooked)
        yield


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor):
        yield name, (value.dtype, value.shape, value.numpy().tobytes())
    elif isinstance(value, dict | list | tuple):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, f"{name}.{key}")
    else:
        yield name, str(value)


def contents(run: Path = RUN) -> dict[str, Any]:
    """All that a training leaves and that no accident may change, by name."""
    files = [path for path in (run / "checkpoints").glob("*.ckpt") if path.stem != "previous"]
    here = str(run.resolve())
    values = leaves({path.name: load_checkpoint(path) for path in files}, "")
    found = {
        name.replace(here, ""): value.replace(here, "") if isinstance(value, str) else value for name, value in values
    }
    found |= {f"results.{key}": value for key, value in json.loads((run / "results.json").read_text()).items()}
    found |= {"metrics.csv": (run / "metrics.csv").read_bytes(), "results.samples_per_second": None}
    found["curves"] = re.findall("<svg.*?</svg>", (run / "report.html").read_text(encoding="utf-8"), re.DOTALL)
    return {name: value for name, value in found.items() if not MAY_DIFFER.search(name)}


def assert_same(expected: dict[str, Any], run: Path = RUN) -> None:
    found = contents(run)
    assert [name for name in expected | found if expected.get(name) != found.get(name)] == []


def assert_refused(finished: Result, message: str) -> None:
    assert (finished.code, finished.err.count("\n")) == (2, 1), finished
    assert re.search(message, finished.err)
    assert "Traceback" not in finished.out + finished.err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """What a training leaves that meets with no accident."""

    @cache
    def train(*flags: str) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("undisturbed"))
            shutil.copytree(ROOT / "configs", "configs")
            assert main([*FIT, *flags]) == 0
            return contents()

    return train


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give the signals back that a training which was stopped has left ignored."""
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in watched}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def broken(kindling: Run) -> Run:
    """Starts a training that meets with an accident before a batch, by default the eleventh, after step 10."""

    def train(*flags: object, batch: int = 11) -> None:
        with at("on_train_batch_start", batch, fall), pytest.raises(Accident):
            kindling(*FIT, *flags)

    return train


@pytest.mark.parametrize(
    ("hook", "call"),
    [
        ("on_train_epoch_start", 1),  # before the first checkpoint
        ("on_train_batch_start", 6),  # in the middle of an epoch
        ("on_train_batch_end", 15),
        ("on_validation_batch_end", 5),  # in a validation: two batches are for the sanity check
        ("on_validation_batch_end", 10),
        ("on_train_epoch_end", 1),  # before the end of an epoch is saved
        ("on_train_epoch_start", 2),  # after it
    ],
)
def test_a_training_goes_on_exactly(hook: str, call: int, undisturbed: Any, kindling: Run) -> None:
    with at(hook, call, fall), pytest.raises(Accident):
        kindling(*FIT)
    finished = kindling("fit", "--resume", RUN)
    assert (finished.code, finished.err) == (0, "")
    assert_same(undisturbed())


def test_a_second_accident_before_a_validation_does_not_make_it_forget_what_was_best(
    undisturbed: Any, broken: Run, kindling: Run
) -> None:
    """The first epoch is the best, with a maximum of the loss; the checkpoint in between is of a resumed training."""
    flags = ["--checkpoint.mode", "max", "--early_stopping.mode", "max", "--checkpoint.every_steps", "1"]
    broken(*flags)
    with at("on_train_batch_start", 3, fall), pytest.raises(Accident):
        kindling("fit", "--resume", RUN)
    assert load_checkpoint(LAST)["global_step"] == 10
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(undisturbed(*flags))


@pytest.mark.parametrize(
    "flags",
    [
        ["--checkpoint.monitor", "val/accuracy", "--early_stopping.monitor", "val/f1"],
        ["--weight_averaging.enabled", "true", "--freezing.parts", "{net.1: 0.6}"],
        ["--model.schedule", "ReduceLROnPlateau", "--model.schedule.monitor", "val/loss"],
        ["--non_finite.action", "skip", "--trainer.val_check_interval", "3"],
    ],
    ids=lambda flags: flags[0],
)
def test_what_a_resumed_training_saves_is_what_it_would_have_saved(
    flags: list[str], broken: Run, kindling: Run
) -> None:
    flags = [*flags, "--checkpoint.every_steps", "1"]
    broken(*flags, batch=12)
    expected = dict(leaves(load_checkpoint(LAST), ""))
    shutil.rmtree(RUN)
    broken(*flags)
    with at("on_train_batch_start", 3, fall), pytest.raises(Accident):
        kindling("fit", "--resume", RUN)
    found = dict(leaves(load_checkpoint(LAST), ""))
    different = [name for name in expected | found if expected.get(name) != found.get(name)]
    assert [name for name in different if not MAY_DIFFER.search(name)] == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--trainer.max_epochs", "-1", "--trainer.max_steps", "13"],
        ["--trainer.val_check_interval", "3"],
        ["--trainer.accumulate_grad_batches", "3", "--trainer.val_check_interval", "2", "--checkpoint.every_steps", "1"],
        ["--weight_averaging.enabled", "true", "--trainer.check_val_every_n_epoch", "2"],
        ["--model.schedule", "OneCycleLR", "--checkpoint.mode", "max"],
        ["--checkpoint.in_background", "true"],
        ["--trainer.num_sanity_val_steps", "0", "--trainer.limit_val_batches", "0"],
        ["--model.groups", "{net.1: {lr: 1e-2}, '.*bias': {weight_decay: 0}}", "--model.decay", "weights"],
    ],
    ids=lambda flags: flags[0],
)  # fmt: skip
def test_it_does_with_other_settings(flags: list[str], undisturbed: Any, broken: Run, kindling: Run) -> None:
    expected = undisturbed(*flags)
    broken(*flags)
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(expected)


@pytest.mark.parametrize("batch", [7, 10, 11, 12, 15])  # thaws before the eleventh: 60% of 16 steps are 9.6
@pytest.mark.parametrize("flags", [(), ("--weight_averaging.enabled", "true", "--model.groups", "{net.1: {lr: 1e-4}}")])
def test_what_is_frozen_thaws_at_the_same_step(
    flags: tuple[str, ...], batch: int, undisturbed: Any, broken: Run, kindling: Run
) -> None:
    frozen = ["--freezing.parts", "{net.1: 0.6, net.2: 0.6}", "--checkpoint.every_steps", "1", *flags]
    expected = undisturbed(*frozen)
    broken(*frozen, batch=batch)
    finished = kindling("fit", "--resume", RUN)
    assert (finished.code, finished.err) == (0, "")
    assert_same(expected)


def test_what_has_thawed_stays_so_in_a_longer_run(broken: Run, kindling: Run) -> None:
    broken("--freezing.parts", "{net.1: 0.6, net.2: 0.6}", "--checkpoint.every_steps", "1", batch=14)
    before = load_checkpoint(LAST)["state_dict"]["net.1.weight"]
    finished = kindling("fit", "--resume", RUN, "--trainer.max_epochs", 4)  # of which 60% are after the accident
    assert "trains from here on" not in finished.out
    assert "is frozen" not in finished.out
    assert not torch.equal(load_checkpoint(BEST)["state_dict"]["net.1.weight"], before)


def test_of_two_validations_at_a_step_the_first_counts(undisturbed: Any, broken: Run, kindling: Run) -> None:
    flags = ["--trainer.limit_train_batches", "7", "--trainer.max_epochs", "1", "--checkpoint.every_steps", "1"]
    flags += ["--trainer.accumulate_grad_batches", "4", "--trainer.val_check_interval", "2"]
    expected = undisturbed(*flags)
    broken(*flags, batch=7)  # after both, while the checkpoint is from before the second
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(expected)


def test_it_does_after_a_second_accident(undisturbed: Any, broken: Run, kindling: Run) -> None:
    broken(batch=6)
    for batch in (2, 7):  # of what is left
        with at("on_train_batch_start", batch, fall), pytest.raises(Accident):
            kindling("fit", "--resume", RUN)
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(undisturbed())


def test_without_a_checkpoint_it_starts_over_in_its_folder(undisturbed: Any, broken: Run, kindling: Run) -> None:
    broken(batch=3)
    assert not LAST.exists()
    assert "resume after step 0; changed: nothing" in kindling("fit", "--resume", RUN).out
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    assert_same(undisturbed())


def test_a_checkpoint_is_saved_after_some_minutes(broken: Run) -> None:
    broken("--checkpoint.every_steps", "null", "--checkpoint.every_minutes", "1e-9", batch=6)
    assert load_checkpoint(LAST)["global_step"] == 4  # before the fifth batch
    assert load_checkpoint(PREVIOUS)["global_step"] == 3


@pytest.mark.parametrize(
    ("hook", "flags"),
    [
        ("on_train_end", []),
        ("on_test_batch_end", []),
        ("on_train_end", ["--trainer.max_epochs", "-1", "--trainer.max_steps", "13"]),
    ],
)
def test_a_training_that_is_over_is_measured(
    hook: str, flags: list[str], undisturbed: Any, kindling: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(*flags)
    with at(hook, 1, fall), pytest.raises(Accident):
        kindling(*FIT, *flags)
    monkeypatch.setattr(MLP, "training_step", lambda *_: fall())
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(expected)


def test_a_training_that_had_stopped_early_does_not_train_on(
    undisturbed: Any, kindling: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--early_stopping.min_delta", "100", "--early_stopping.patience", "1", "--trainer.max_epochs", "9"]
    expected = undisturbed(*flags)
    with at("on_train_end", 1, fall), pytest.raises(Accident):
        kindling(*FIT, *flags)
    with monkeypatch.context() as patch:
        patch.setattr(MLP, "training_step", lambda *_: fall())
        assert "stopped early: " in kindling("fit", "--resume", RUN).out
    assert_same(expected)
    kindling("fit", "--resume", RUN, "--early_stopping.patience", 2)  # a finished run counts anew
    assert json.loads((RUN / "results.json").read_text())["epochs"] == 4


class Watchful(MLP):
    """Logs parts of an epoch in every way, and draws random numbers of every kind."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.accuracy, self.auroc = MulticlassAccuracy(10), MulticlassAUROC(10)  # which keeps a list
        self.group = MetricCollection([MulticlassPrecision(10), MulticlassF1Score(10)], prefix="train/")  # one state

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss, scores = super().training_step(batch, batch_idx), self(batch[0]).detach().softmax(dim=1)
        drawn = random.random() + np.random.rand() + torch.rand(()).item()
        self.log("train/mean", loss, on_step=False, on_epoch=True)
        self.log("train/both", loss, on_step=True, on_epoch=True)
        self.log("train/worst", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("train/drawn", drawn, on_step=False, on_epoch=True, reduce_fx="sum")
        for metric in (self.accuracy, self.auroc, self.group):
            metric.update(scores, batch[-1])
        self.log("train/own", self.accuracy, on_step=False, on_epoch=True)
        self.log("train/area", self.auroc, on_step=False, on_epoch=True)
        self.log_dict(self.group, on_step=False, on_epoch=True)
        return loss * drawn


@pytest.mark.parametrize("batch", [6, 13])
def test_what_an_epoch_has_logged_and_random_numbers_go_on(
    batch: int, undisturbed: Any, broken: Run, kindling: Run
) -> None:
    model = ["--model", f"{__name__}.Watchful"]
    expected = undisturbed(*model)
    header = expected["metrics.csv"].decode().partition("\r\n")[0]
    assert {"train/mean", "train/own", "train/MulticlassF1Score", "train/both_epoch"} <= set(header.split(","))
    broken(*model, batch=batch)
    assert kindling("fit", "--resume", RUN, *model).code == 0
    assert_same(expected)


def column(name: str, run: Path) -> list[float]:
    with open(run / "metrics.csv", encoding="utf-8", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


@pytest.mark.parametrize("schedule", ["WarmupCosine", "OneCycleLR", "StepLR", "ReduceLROnPlateau"])
def test_another_learning_rate_scales_the_schedule(schedule: str, broken: Run, kindling: Run) -> None:
    broken("--model.schedule", schedule, *["--model.schedule.step_size", 1] * (schedule == "StepLR"), batch=14)
    rates = []
    for factor in (1, 3):
        run = RUN.with_name(f"times_{factor}")
        shutil.copytree(RUN, run)
        assert kindling("fit", "--resume", run, "--model.optimizer.lr", factor * 0.002).code == 0
        rates.append(column("learning_rate", run))
        (group,) = load_checkpoint(run / "checkpoints" / "last.ckpt")["optimizer_states"][0]["param_groups"]
        rates[-1].append(group["lr"])
    assert len(rates[0]) > 4
    assert rates[0][:4] == rates[1][:4]
    assert rates[1][4:] == pytest.approx([3 * rate for rate in rates[0][4:]], rel=1e-6)


HEAD = "net.5"


@pytest.mark.parametrize(
    "schedule", ["WarmupCosine", *(pytest.param(each, marks=SLOW) for each in ("OneCycleLR", "StepLR"))]
)
def test_the_rate_of_a_group_changes_alone(schedule: str, broken: Run, kindling: Run) -> None:
    steps = ["--model.schedule.step_size", 1] * (schedule == "StepLR")
    broken("--model.schedule", schedule, *steps, "--model.groups", f"{{{HEAD}: {{lr: 0.01}}}}", batch=14)
    rates = []
    for own, usual in ((0.01, 0.002), (0.03, 0.002), (0.01, 0.006)):
        run = RUN.with_name(f"own_{own}_usual_{usual}")
        shutil.copytree(RUN, run)
        flags = ["--model.groups", f"{{{HEAD}: {{lr: {own}}}}}", "--model.optimizer.lr", usual]
        assert kindling("fit", "--resume", run, *flags, "--trainer.max_epochs", 3).code == 0
        optimizer = load_checkpoint(run / "checkpoints" / "previous.ckpt")["optimizer_states"][0]
        rates.append([group["lr"] for group in optimizer["param_groups"]])
    assert rates[0][1] == pytest.approx(5 * rates[0][0])
    assert rates[1] == pytest.approx([rates[0][0], 3 * rates[0][1]])
    assert rates[2] == pytest.approx([3 * rates[0][0], rates[0][1]])


def test_the_config_says_what_a_resume_changes(kindling: Run) -> None:
    kindling(*FIT)
    before = (RUN / "config.yaml").read_bytes()
    flags = ["--model.optimizer.lr", "0.004", "--trainer.max_epochs", "3", "--trainer.precision", "bf16-mixed"]
    finished = kindling("fit", "--resume", RUN, *flags)
    assert (finished.code, finished.err) == (0, "")
    changed = "model.optimizer.lr: 0.002 → 0.004; trainer.max_epochs: 2 → 3; trainer.precision: null → bf16-mixed"
    first, _, _ = (RUN / "config.yaml").read_text().partition("\n")
    head, _, tail = first.partition("; changed: ")
    assert head == "# resumed after step 16; before it: config.0.yaml"
    assert sorted(tail.split("; ")) == sorted(changed.split("; "))
    assert f"resume after step 16; changed: {tail}\n" in finished.out
    assert (RUN / "config.0.yaml").read_bytes() == before
    optimizer = load_checkpoint(LAST)["optimizer_states"][0]["param_groups"][0]
    assert optimizer["initial_lr"] == pytest.approx(0.004)
    assert load_checkpoint(LAST)["lr_schedulers"][0]["base_lrs"] == pytest.approx([0.004])


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--model.optimizer", "SGD"], "optimizer except for its lr"),
        (["--model.optimizer.weight_decay", "0.5"], "optimizer except for its lr"),
        (["--model.schedule", "null"], "schedule"),
        (["--model.schedule.warmup", "0.5"], "schedule"),
        (["--model.groups", "{net: {weight_decay: 0}}"], "groups except for their lr"),
    ],
)
def test_nothing_else_of_the_recipe_changes(flags: list[str], part: str, broken: Run, kindling: Run) -> None:
    broken()
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file() and path.name != "lock"}
    assert_refused(kindling("fit", "--resume", RUN, *flags), f"a resumed run keeps its {part}: leave out --model.")
    assert {path: path.read_bytes() for path in before} == before


def test_smaller_batches_start_the_epoch_over(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [*FIT, "--trainer.limit_train_batches", "null"]  # 18 batches
    with at("on_train_batch_start", 29, fall), pytest.raises(Accident):
        kindling(*flags)
    assert load_checkpoint(LAST)["global_step"] == 27
    seen: list[tuple[int, int]] = []
    record = Record.on_train_batch_start
    monkeypatch.setattr(
        Record, "on_train_batch_start", lambda *args: seen.append((args[4], len(args[3][-1]))) or record(*args)
    )
    assert kindling("fit", "--resume", RUN, "--data.batch_size", 32).code == 0
    assert seen == [(index, 32) for index in range(36)]
    assert load_checkpoint(LAST)["global_step"] == 27 + 36
    assert json.loads((RUN / "results.json").read_text())["epochs"] == 2
    assert column("step", RUN) == sorted(column("step", RUN))


@pytest.mark.parametrize(
    ("number", "code", "hook", "call", "step"),
    [
        (signal.SIGINT, 130, "on_train_batch_start", 1, 0),
        (signal.SIGINT, 130, "on_train_batch_end", 5, 5),
        (signal.SIGTERM, 143, "on_train_batch_end", 5, 5),
        (signal.SIGINT, 130, "on_validation_batch_end", 5, 8),
        (signal.SIGTERM, 143, "on_train_epoch_start", 2, 8),
        (signal.SIGINT, 130, "on_train_batch_end", 16, 16),
    ],
)
def test_a_signal_stops_after_the_step(
    number: signal.Signals, code: int, hook: str, call: int, step: int, undisturbed: Any, kindling: Run
) -> None:
    with at(hook, call, press(number)):
        stopped = kindling(*FIT)
    assert stopped.code == code
    assert stopped.err.endswith(f"\nkindling: stopped after step {step}; to go on: kindling fit --resume {RUN}\n")
    assert load_checkpoint(LAST)["global_step"] == step
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(undisturbed())


def test_a_run_that_ended_before_its_page_was_written_is_not_finished(
    kindling: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kindling.cli.fit.write_run_page", Mock(side_effect=KeyboardInterrupt))
        assert kindling(*FIT).code == 130
    assert not (RUN / "results.json").exists()
    assert kindling("fit", "--resume", RUN).code == 0
    results = json.loads((RUN / "results.json").read_text())
    assert f"{results['test']['accuracy']:.4f}" in (RUN / "report.html").read_text()


def test_a_second_ctrl_c_stops_at_once(undisturbed: Any, kindling: Run) -> None:
    with at("on_train_batch_start", 6, press(signal.SIGINT, times=2)):
        stopped = kindling(*FIT)
    assert stopped.code == 130
    assert stopped.err.endswith(f"kindling: stopped; to go on: kindling fit --resume {RUN}\n")
    assert load_checkpoint(LAST)["global_step"] == 3
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(undisturbed())


def test_a_signal_in_the_middle_of_an_accumulation_waits_for_its_end(undisturbed: Any, kindling: Run) -> None:
    flags = ["--trainer.accumulate_grad_batches", "3"]
    with at("on_train_batch_end", 4, press(signal.SIGINT)):
        assert "stopped after step 2;" in kindling(*FIT, *flags).err
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(undisturbed(*flags))


@pytest.mark.parametrize("variables", [{}, {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}], ids=["", "srun"])  # fmt: skip
def test_a_job_of_slurm_is_requeued_and_goes_on(
    variables: dict[str, str], undisturbed: Any, kindling: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed()
    scontrol = Path("bin/scontrol").resolve()
    scontrol.parent.mkdir()
    scontrol.write_text('#!/bin/sh\necho "$@" >> called\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=os.pathsep)
    for name, value in {"SLURM_JOB_ID": "123", **variables}.items():
        monkeypatch.setenv(name, value)
    with at("on_train_batch_start", 5, press(signal.SIGUSR1)):
        assert kindling(*FIT).code == 128 + signal.SIGUSR1
    assert Path("called").read_text(encoding="utf-8") == "requeue 123\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert kindling(*FIT).code == 0
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    assert_same(expected)


def test_a_job_that_was_requeued_before_its_run_began_makes_one(
    undisturbed: Any, kindling: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kindling(*FIT)  # another job's
    monkeypatch.setenv("SLURM_JOB_ID", "123")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert kindling(*FIT).code == 0
    assert_same(undisturbed(), RUN.with_name("version_1"))


def test_the_same_command_begins_the_run_of_an_id_and_goes_on_with_it(undisturbed: Any, kindling: Run) -> None:
    command, run = (*FIT, "--run-id", "one"), RUN.with_name("one")
    expected = undisturbed()
    with at("on_train_batch_start", 5, press(signal.SIGTERM)):
        assert kindling(*command).code == 143
    assert "resume after step 4; changed: nothing" in kindling(*command).out
    assert_same(expected, run)
    done = kindling(*command)
    assert (done.code, done.out.partition(":")[0]) == (0, "nothing to do")
    assert kindling("test", "--run", "latest").code == 0  # which is found whatever it is called


def test_an_id_that_is_taken_by_something_else_is_refused(kindling: Run) -> None:
    notes = RUN.with_name("one") / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    message = f"{notes.parent} exists and is not a run: choose another --run-id, or remove it"
    assert_refused(kindling(*FIT, "--run-id", "one"), message)
    assert [*notes.parent.iterdir()] == [notes]
    notes.unlink()
    assert begun_run(RUN.parent.name, "one") is None  # an empty folder, which a kill can leave


def test_a_run_that_ended_before_its_config_was_written_begins_anew(undisturbed: Any, kindling: Run) -> None:
    lock = RUN.with_name("one") / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("123@elsewhere")
    assert kindling(*FIT, "--run-id", "one").code == 0
    assert_same(undisturbed(), lock.parent)


def test_the_test_split_can_be_left_alone(kindling: Run) -> None:
    told = kindling(*FIT, "--test", "false").out
    results = json.loads((RUN / "results.json").read_text())
    assert "val" in results
    assert "test" not in results
    assert f"kindling test --run {RUN}\n" in told


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one bit": flip,
    "empty": lambda path: path.write_bytes(b""),
    "code": lambda path: torch.save({"state_dict": {}, "epoch": Malicious()}, path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    damage: Callable[[Path], Any], undisturbed: Any, broken: Run, kindling: Run
) -> None:
    broken()
    damage(LAST)
    content = LAST.read_bytes()
    finished = kindling("fit", "--resume", RUN)
    assert finished.code == 0
    assert finished.out.startswith(f"warning: {LAST} is ")
    assert "; it is now last.damaged, and the one before it is used\n" in finished.out
    assert "resume after step 8; " in finished.out
    assert LAST.with_suffix(".damaged").read_bytes() == content
    assert not Path("pwned").exists()
    assert_same(undisturbed())


@pytest.mark.parametrize(("batch", "message"), [(11, ", and so is the one before it"), (5, "")])
def test_without_a_whole_checkpoint_a_resume_is_refused(batch: int, message: str, broken: Run, kindling: Run) -> None:
    broken(batch=batch)
    files = {path.stat().st_ino: path for path in LAST.parent.iterdir()}  # the best and the last can be one
    for path in files.values():  # after the first save there is one alone
        flip(path)
    before = {path: path.read_bytes() for path in LAST.parent.iterdir()}
    message = f"{LAST} is .* damaged{message}: nothing is left to resume {RUN} from"
    assert_refused(kindling("fit", "--resume", RUN), message)
    assert {path: path.read_bytes() for path in LAST.parent.iterdir()} == before


def test_a_kill_between_two_names_leaves_the_previous_checkpoint(undisturbed: Any, broken: Run, kindling: Run) -> None:
    broken()
    LAST.rename(PREVIOUS)
    assert "resume after step 9; " in kindling("fit", "--resume", RUN).out
    assert_same(undisturbed())


def test_what_a_killed_save_leaves_is_removed(broken: Run, kindling: Run) -> None:
    broken()
    (RUN / "lock").write_text("123@elsewhere")
    left = [LAST.with_name("part-123@elsewhere@last.ckpt"), RUN / "part-123@elsewhere@metrics.csv"]
    of_another = RUN / "part-124@elsewhere@predictions.csv"
    for part in (*left, of_another):
        part.write_bytes(b"half")
    assert kindling("fit", "--resume", RUN).code == 0
    assert not any(part.exists() for part in left)
    assert of_another.exists()


@contextmanager
def full_disk(first: int, last: int, name: str = "") -> Iterator[None]:
    """Let the saves fail from the n-th to another, counted from 1; of files of one name, if it is given."""
    write, saves = checkpoints.write, itertools.count(1)

    def fail(path: Path, content: memoryview) -> None:
        if path.name.startswith(name) and first <= next(saves) <= last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "write", fail)
        yield


BACKGROUND = ["--checkpoint.in_background", "true"]


@pytest.mark.parametrize(
    ("save", "path", "flags"), [(1, LAST, []), (3, BEST, []), (4, LAST, BACKGROUND), (3, BEST, BACKGROUND)]
)  # the third is the first of the best, the fourth that of an epoch's end
def test_a_save_that_fails_is_made_up_for(
    save: int, path: Path, flags: list[str], undisturbed: Any, kindling: Run
) -> None:
    with full_disk(save, save):
        finished = kindling(*FIT, *flags)
    assert finished.code == 0
    assert finished.out.count("warning: can't write ") == 1
    assert f"{path}: No space left on device; the earlier checkpoints are whole" in finished.out
    assert_same(undisturbed())


def test_a_disk_that_stays_full_for_a_while_is_told_once(undisturbed: Any, kindling: Run) -> None:
    with full_disk(1, 2):
        finished = kindling(*FIT)
    assert finished.code == 0
    assert finished.out.count("warning: can't write ") == 1
    assert_same(undisturbed())


# In the background an epoch's end is saved for itself, and else with the best.
@pytest.mark.parametrize(("flags", "save"), [([], 4), (BACKGROUND, 5)], ids=["", "in_background"])
def test_a_training_whose_end_can_not_be_saved_says_so(
    flags: list[str], save: int, undisturbed: Any, kindling: Run
) -> None:
    with full_disk(save, 1000):
        finished = kindling(*FIT, *flags)
    message = "kindling: the training is over, but no checkpoint holds its end; to go on: kindling fit --resume "
    assert (finished.code, finished.err) == (1, f"{message}{RUN}\n")
    assert "resume after step 8; " in kindling("fit", "--resume", RUN).out
    assert_same(undisturbed())


@pytest.mark.parametrize("flags", [[], BACKGROUND], ids=["", "in_background"])
def test_the_end_is_saved_again_and_the_training_goes_on_from_it(flags: list[str], kindling: Run) -> None:
    runs = [Path("lightning_logs", name, "version_0") for name in ("once", "again")]
    for run, failing in zip(runs, (1000, 9), strict=True):
        with full_disk(failing, failing):
            assert kindling(*FIT, *flags, "--name", run.parent.name).code == 0
        assert "resume after step 16; " in kindling("fit", "--resume", run, "--trainer.max_epochs", 3).out
    assert_same(contents(runs[0]), runs[1])


def test_a_best_checkpoint_that_was_lost_is_best_no_more(kindling: Run) -> None:
    flags = ["--checkpoint.mode", "max"]  # the highest loss: the first epoch's
    with full_disk(1, 1, "best"):
        assert kindling(*FIT, *flags).code == 0
    assert load_checkpoint(BEST)["epoch"] == 1


def test_a_full_disk_can_stop_a_training(undisturbed: Any, kindling: Run) -> None:
    with full_disk(5, 1000):
        finished = kindling(*FIT, "--checkpoint.full_disk", "stop")
    assert finished.code == 1
    assert re.fullmatch(
        f"kindling: can't write .*/{LAST}: No space left on device; .*; to go on: .* {RUN}\n", finished.err
    )
    assert kindling("fit", "--resume", RUN).code == 0
    assert_same(undisturbed())


def test_runs_that_start_at_the_same_time_get_a_folder_each(project: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(new_run, ["name"] * 32))
    assert {run.name for run in runs} == {f"version_{number}" for number in range(32)}


def test_a_run_with_an_odd_path_goes_on(undisturbed: Any, broken: Run, kindling: Run) -> None:
    broken("--name", "größe 学习 it's $HOME")
    run = Path("lightning_logs/größe 学习 it's $HOME/version_0")
    assert kindling("fit", "--resume", run).code == 0
    assert_same(undisturbed(), run)


def test_a_name_that_is_too_long(kindling: Run) -> None:
    assert_refused(kindling(*FIT, "--name", "x" * 300), "File name too long")


def test_a_run_that_can_not_be_written_to(broken: Run, kindling: Run) -> None:
    broken()
    (RUN / "lock").unlink()
    (RUN / "lock").mkdir()
    assert_refused(kindling("fit", "--resume", RUN), f"can't write to {RUN}: ")


def alive(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    stats = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return [int(stat[3]) for stat in stats if int(stat[3]) == session and stat[0] != "Z"]


def within(seconds: float, condition: Callable[[], Any]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


ENDLESS = ["--early_stopping.patience", "null", "--model.schedule", "null", "--trainer.max_epochs", "1000"]


@pytest.fixture
def training(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A training in a session of its own, with two processes that load batches, which has saved a checkpoint."""
    command = [sys.executable, "-m", "kindling", *FIT, *ENDLESS, "--data.workers", "2"]
    with open("log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        within(600, lambda: LAST.exists() or process.poll() is not None)
        yield process
    finally:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "send", "code"), [(signal.SIGINT, os.killpg, 130), (signal.SIGTERM, os.kill, 143)]
)  # a terminal sends to all processes
def test_a_training_of_several_processes_ends_as_one(
    number: signal.Signals, send: Callable[[int, int], None], code: int, training: Any, undisturbed: Any, kindling: Run
) -> None:
    assert len(alive(training.pid)) >= 3
    send(training.pid, number)
    _, err = training.communicate(timeout=600)
    assert training.returncode == code
    step = load_checkpoint(LAST)["global_step"]
    assert err.endswith(f"\nkindling: stopped after step {step}; to go on: kindling fit --resume {RUN}\n")
    assert "Traceback" not in err
    within(300, lambda: not alive(training.pid))
    epochs = ["--trainer.max_epochs", str(step // 8 + 1)]
    assert kindling("fit", "--resume", RUN, *epochs, "--data.workers", 0).code == 0
    assert_same(undisturbed(*ENDLESS[:-2], *epochs))


@linux
@pytest.mark.slow
def test_a_run_that_is_trained_by_another_process_is_refused(training: Any, kindling: Run) -> None:
    message = f"{RUN} is in use by process {training.pid} on .+: wait until it ends, or stop it"
    assert_refused(kindling("fit", "--resume", RUN), message)
    assert training.poll() is None
    training.kill()
    training.wait()
    assert alive(training.pid)  # the processes that load batches
    epochs = load_checkpoint(LAST)["epoch"] + 1
    assert kindling("fit", "--resume", RUN, "--trainer.max_epochs", epochs, "--data.workers", 0).code == 0
    within(300, lambda: not alive(training.pid))


class Hyper(L.LightningModule):
    def __init__(self, **hparams: Any) -> None:
        super().__init__()
        self.save_hyperparameters(hparams)


ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}


@pytest.mark.parametrize(
    ("before", "now", "factor"),
    [
        ({"lr": 0.1}, {"lr": 0.2}, 2),
        ({"learning_rate": 0.1}, {"learning_rate": 0.05}, 0.5),
        ({"optimizer": ADAM}, {"optimizer": {**ADAM, "init_args": {"lr": 0.3}}}, 3),
        ({"optimizer": "adam", "lr": 0.1}, {"optimizer": "adam", "lr": 0.2}, 2),
        ({"optimizer": {"class_path": "torch.optim.Adam"}}, {"optimizer": ADAM}, 1),
        ({"lr": "auto"}, {"lr": 0.2}, 1),
        ({}, {"lr": 0.2}, 1),
        (None, {"lr": 0.2}, 1),
        ({"lr": 0.1}, {}, 1),
    ],
)
def test_the_learning_rates_of_all_optimisers_are_scaled(before: Any, now: dict[str, Any], factor: float) -> None:
    two = [{"param_groups": [{"lr": 0.1, "initial_lr": 0.2}]}, {"param_groups": [{"lr": 0.3}, {"lr": 0.4}]}]
    schedules = [{"base_lrs": [0.5]}, {"max_lrs": [1], "_last_lr": [0.6]}]
    checkpoint: dict[str, Any] = {"optimizer_states": two, "lr_schedulers": schedules}
    if before is not None:
        checkpoint["hyper_parameters"] = before
    change_learning_rate(checkpoint, Hyper(**now))
    groups = [group for state in checkpoint["optimizer_states"] for group in state["param_groups"]]
    assert [group["lr"] for group in groups] == pytest.approx([0.1 * factor, 0.3 * factor, 0.4 * factor])
    assert groups[0]["initial_lr"] == pytest.approx(0.2 * factor)
    assert schedules[0]["base_lrs"] == pytest.approx([0.5 * factor])
    assert schedules[1] == {"max_lrs": [1], "_last_lr": [0.6]}  # which has rates of its own


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({}, None),
        ({"hyper_parameters": {"optimizer": "adam"}}, None),
        ({"hyper_parameters": {"optimizer": "sgd"}}, "a resumed run keeps its optimizer except for its lr"),
        ({"loops": {"fit_loop": {"epoch_progress": {"current": {"processed": 3}}}}}, "has trained 3 epochs"),
        ({"epoch": 3}, "has trained 3 epochs"),
        ({"global_step": 30}, "has trained 30 steps"),
    ],
)
def test_a_checkpoint_is_checked_by_what_it_has(
    checkpoint: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    refused = pytest.raises(UsageError, match=message) if message else nullcontext()
    with refused:
        resume.check_resume(tmp_path, checkpoint, Hyper(optimizer="adam"), {"max_epochs": 2, "max_steps": 20})


def test_what_an_older_checkpoint_has_kept_is_found() -> None:
    place = {"generators": ["first", "second"], "metrics": {"a": 1}, "logged": {"b": 2}}
    found = resume._kept_by(1, place)
    assert found == {"generators": "second", "metrics": {"a": 1}, "logged": {"b": 2}, "loaders": [], "gradients": {}}
    assert resume._kept_by(2, place) is None
    assert resume._kept_by(0, {"processes": ["own"]}) == "own"
    assert resume._kept_by(1, {"processes": ["own"]}) is None


def test_metrics_come_back_as_they_were_shown() -> None:
    """An older checkpoint holds the tensors themselves."""
    metrics: dict[str, Any] = {
        "single": torch.tensor(0.1),
        "double": torch.tensor(0.1, dtype=torch.float64),
        "half": torch.tensor(0.1, dtype=torch.bfloat16),
        "count": torch.tensor(2**40),
        "undefined": torch.tensor(float("nan")),
        "number": 3,
    }
    for kept in (resume._as_numbers(metrics), metrics):
        found = resume._as_tensors(kept, torch.device("cpu"))
        assert found.keys() == metrics.keys()
        for name, value in metrics.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)
    assert resume._as_numbers(metrics)["double"] == [0.1, "float64"]
