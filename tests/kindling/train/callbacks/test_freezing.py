"""What is frozen stays as it is, to the bit, and trains from the point on that was asked for."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Result, assert_refused, child
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader, IterableDataset

from kindling import Trainer
from kindling.core.errors import UsageError
from kindling.models.muon import Muon
from kindling.run.checkpoint_files import load_checkpoint
from kindling.train.callbacks import Freezing
from my_project.data.synthetic import SyntheticClassification
from my_project.models.mlp import MLP

NET = "net.[1-4]"  # all but the head, net.5


class Recorded(L.Callback):
    """Keeps what the network holds before each step, and its modes."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.modes: list[dict[str, bool]] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self.states.append({name: value.clone() for name, value in module.state_dict().items()})
        self.modes.append({name: each.training for name, each in module.named_modules()})


def build(**arguments: Any) -> MLP:
    torch.manual_seed(0)
    recipe = {"optimizer": partial(AdamW, lr=0.01, weight_decay=0.5)} | arguments
    return MLP(input_shape=(10,), classes=["a", "b", "c"], hidden_sizes=[8], dropout=0.3, **recipe)


def train(folder: Path, parts: Any, model: Any = None, **settings: Any) -> tuple[Any, Recorded, Trainer]:
    """12 batches of 16 an epoch."""
    model, recorded = model or build(), Recorded()
    callbacks = [recorded, Freezing(parts), *settings.pop("callbacks", [])]
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "default_root_dir": folder, "accelerator": "cpu"}
    trainer = Trainer(callbacks=callbacks, **{"max_epochs": 2, **quiet, **settings})
    data = settings.get("datamodule") or SyntheticClassification(size=300, batch_size=16)
    trainer.fit(model, datamodule=data)
    return model, recorded, trainer


def first_change(recorded: Recorded, start: dict[str, Tensor]) -> dict[str, int | None]:
    """The step, from 1, that first changes each tensor."""
    states = list(enumerate(recorded.states, 1))
    return {
        name: next((step for step, state in states if not torch.equal(state[name], value)), None)
        for name, value in start.items()
    }


@pytest.mark.parametrize(
    ("until", "first"),
    [("all", None), (1.0, None), (0.5, 13), (0.1, 4), (1, 13), (5, None)],  # 24 steps: a tenth are 2.4, so 3 are frozen
)
def test_what_is_frozen_trains_from_its_point_on(until: Any, first: int | None, tmp_path: Path) -> None:
    model = build()
    start = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("net")}
    _, recorded, trainer = train(tmp_path, {NET: until}, model)
    changes = first_change(recorded, start)
    assert {name for name, step in changes.items() if step == 1} == {"net.5.weight", "net.5.bias"}
    assert {step for name, step in changes.items() if not name.startswith("net.5")} == {first}  # norms' statistics, too
    frozen = [modes["net.2"] for modes in recorded.modes]
    assert frozen == [first is not None and step >= first for step in range(1, 25)]
    assert [modes["net.4"] for modes in recorded.modes] == frozen  # dropout
    assert all(modes["net.5"] for modes in recorded.modes)
    state = trainer.optimizers[0].state_dict()["state"]
    assert len(state) == (2 if first is None else 5)  # of the head's parameters alone


def test_a_fit_leaves_a_module_that_trains_in_the_next(tmp_path: Path) -> None:
    model, _, _ = train(tmp_path, {NET: "all"})
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.net[2].training
    model.net[1].requires_grad_(False)  # by its owner
    train(tmp_path, {NET: 1}, model)
    assert not model.net[1].weight.requires_grad
    assert model.net[2].weight.requires_grad


class Wants(MLP):
    """A module that wants parts of it frozen."""

    frozen = {"net.1": "all"}


@pytest.mark.parametrize(("parts", "is_frozen"), [(None, True), ({}, False)])
def test_a_module_says_what_it_wants_frozen_and_the_setting_beats_it(
    parts: Any, is_frozen: bool, tmp_path: Path
) -> None:
    model = Wants(input_shape=(10,), classes=["a", "b", "c"], hidden_sizes=[8])
    before = model.net[1].weight.clone()
    train(tmp_path, parts, model, max_epochs=1)
    assert torch.equal(model.net[1].weight, before) == is_frozen


@pytest.mark.parametrize("optimizer", [partial(Muon, lr=0.02), partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1)])
def test_with_any_optimiser(optimizer: Any, tmp_path: Path) -> None:
    model = build(optimizer=optimizer, groups={NET: {"lr": 1e-3}})
    start = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("net.1")}
    _, recorded, _ = train(tmp_path, {NET: 0.5}, model, accumulate_grad_batches=2)
    assert set(first_change(recorded, start).values()) == {14}  # the step of batches 13 and 14


def test_compiled_it_trains_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda model, mode: compile(model, backend="aot_eager"))
    found = []
    for compiled in (False, True):
        model = MLP(input_shape=(10,), classes=["a", "b", "c"], hidden_sizes=[8], compile=compiled)
        torch.manual_seed(0)
        model.apply(lambda module: module.reset_parameters() if hasattr(module, "reset_parameters") else None)
        found.append(train(tmp_path, {NET.replace("4", "3"): 0.5}, model)[0].state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value)


class Endless(IterableDataset):
    """Nobody knows how many."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield torch.zeros(10), torch.tensor(0)


def test_a_share_needs_an_end_that_is_known(tmp_path: Path) -> None:
    class Stream(L.LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(Endless(), batch_size=4)

    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(callbacks=[Freezing({NET: 0.5})], max_epochs=2, accelerator="cpu", **quiet)
    with pytest.raises(
        Exception, match=r"share of a run whose length is not known yet: set trainer\.max_steps, or give a"
    ):
        trainer.fit(build(schedule=None), datamodule=Stream())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"backbone": "all"}, r"freezing\.parts is wrong: 'backbone' fits no parameter; the modules are net"),
        ({"net": 1, "net.1": 2}, r"all that 'net\.1' fits is taken"),
        ({"net": "all"}, r"freezing\.parts is \{'net': 'all'\}: nothing is left to train"),
    ],
)
def test_what_can_not_be_frozen_is_refused(parts: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        train(tmp_path, parts)


@pytest.mark.parametrize("until", [0, 0.0, 1.5, -1, "half", True])
def test_a_point_that_does_not_exist_is_refused(until: Any) -> None:
    with pytest.raises(ValueError, match=r"is not all, a share of the run in \(0, 1\.0\], or a number of epochs"):
        Freezing({"net": until})


DIGITS = ["fit", "--config", "configs/digits_mlp.yaml", "--trainer.max_epochs", 1, "--figures.enabled", "false"]


def test_on_the_command_line(kindling: Callable[..., Result]) -> None:
    finished = kindling(*DIGITS, "--freezing.parts", "{net.1: all, net.2: 0.5}", "--trainer.limit_train_batches", 4)
    assert (finished.code, finished.err) == (0, "")
    assert "note   net.1 is frozen (16,384 parameters) until the end of the run\n" in finished.out
    assert "note   net.2 trains from here on: epoch 1\n" in finished.out


def test_wrong_settings_are_refused_in_a_sentence(kindling: Callable[..., Result]) -> None:
    assert_refused(kindling(*DIGITS, "--freezing.parts", "{body: 1}"), "'body' fits no parameter; the modules are net")
    assert_refused(kindling(*DIGITS, "--freezing.parts", "{net.1: 2.5}"), "command line: freezing.parts is wrong: 2.5")


@pytest.mark.slow
def test_two_processes_exchange_the_gradients_of_what_has_thawed(project: Path) -> None:
    flags = ["--freezing.parts", "{net.1: 0.5}", "--trainer.accelerator", "cpu", "--model.dropout", 0]
    flags += ["--model.norm", "null", "--trainer.precision", "32-true", "--trainer.gradient_clip_val", "null"]
    flags += ["--trainer.limit_train_batches", 6, "--model.optimizer", "SGD", "--model.optimizer.lr", 0.1]
    alone = child(*DIGITS, *flags, "--data.batch_size", 32, "--name", "alone", cwd=project)
    assert alone.code == 0, alone.err
    two = child(*DIGITS, *flags, "--data.batch_size", 16, "--name", "two", "--trainer.devices", 2, cwd=project)
    assert two.code == 0, two.err
    found = [
        load_checkpoint(project / f"lightning_logs/{name}/version_0/checkpoints/last.ckpt") for name in ("alone", "two")
    ]
    assert found[0]["global_step"] == found[1]["global_step"] == 6
    for name, value in found[0]["state_dict"].items():
        torch.testing.assert_close(found[1]["state_dict"][name], value, rtol=1e-4, atol=1e-5)
