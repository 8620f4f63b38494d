"""Every model, on every task that fits, goes through the same tests. A new model joins by its defaults, or in SMALL."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

import kindling.models
from kindling.models.base import Model
from kindling.optim import Constant
from kindling.tasks import Classification

MODELS = {cls.__name__: cls for cls in Model.__subclasses__() if cls.__module__.startswith(kindling.models.__name__)}
SMALL: dict[str, dict[str, Any]] = {
    "MLP": {"hidden_sizes": [32, 16]},
    "ResNet": {"width": 8, "depths": [1, 1]},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "Classification": {"classes": ["a", "b", "c", "d"]},
    "Regression": {"targets": ["x", "y"]},
}
CASES = [(model, task) for model in MODELS for task in OUTPUTS]
SHAPE = (1, 8, 8)


def build(model: str, kind: str, **arguments: Any) -> Model:
    torch.manual_seed(0)
    return MODELS[model](input_shape=SHAPE, **OUTPUTS[kind], **SMALL.get(model, {}), **arguments)


def make_batch(task: str, size: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(size, *SHAPE, generator=generator)
    if task == "Classification":
        return inputs, torch.arange(size) % 4
    return inputs, torch.randn(size, 2, generator=generator)


@pytest.mark.parametrize(("model", "task"), CASES)
def test_output_has_the_shape_of_the_task(model: str, task: str) -> None:
    net = build(model, task).eval()
    assert net(make_batch(task, 5)[0]).shape == (5, 4 if task == "Classification" else 2)
    assert net(make_batch(task, 1)[0]).shape[0] == 1


@pytest.mark.parametrize(("model", "task"), CASES)
def test_every_parameter_gets_a_gradient(model: str, task: str) -> None:
    net = build(model, task)
    inputs, targets = make_batch(task)
    net.task.loss(net(inputs), targets).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("model", "task"), CASES)
def test_the_loss_starts_where_a_guess_would(model: str, task: str) -> None:
    inputs, targets = make_batch(task, 512)
    net = build(model, task)
    expected = math.log(4) if task == "Classification" else float(targets.square().mean())
    with torch.no_grad():
        assert float(net.task.loss(net(inputs), targets)) == pytest.approx(expected, rel=0.35)


@pytest.mark.parametrize(("model", "task"), CASES)
def test_it_overfits_one_batch(model: str, task: str) -> None:
    net = build(model, task, optimizer=partial(Adam, lr=1e-2))
    inputs, targets = make_batch(task, 16)
    optimizer = net.configure_optimizers()["optimizer"]
    for _ in range(150):
        optimizer.param_groups[0]["lr"] = 1e-2
        optimizer.zero_grad()
        loss = net.task.loss(net(inputs), targets)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02


@pytest.mark.parametrize(("model", "task"), CASES)
def test_built_in_python_it_trains_saves_and_loads(model: str, task: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"optimizer": partial(Adam, lr=1e-3, weight_decay=0.1), "schedule": Constant}
    if task == "Classification":
        settings["task"] = Classification(label_smoothing=0.1)
    net = build(model, task, **settings)
    trainer = fit(net, task, tmp_path)
    trainer.save_checkpoint(tmp_path / "model.ckpt")

    state = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert state["hyper_parameters"]["optimizer"]["init_args"] == {"lr": 1e-3, "weight_decay": 0.1}
    loaded = MODELS[model].load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).eval()
    assert type(loaded) is type(net)
    inputs, _ = make_batch(task)
    torch.testing.assert_close(loaded(inputs), net.eval()(inputs), rtol=0, atol=0)
    built = loaded.configure_optimizers()["optimizer"]
    assert type(built) is Adam
    assert built.param_groups[0]["weight_decay"] == 0.1
    if task == "Classification":
        assert loaded.task.label_smoothing == 0.1

    fit(loaded, task, tmp_path).save_checkpoint(tmp_path / "again.ckpt")  # what was loaded can be saved in turn
    again = L.LightningModule.load_from_checkpoint(tmp_path / "again.ckpt", weights_only=True)
    assert type(again) is type(net)


@pytest.mark.parametrize(("model", "task"), CASES)
def test_compiled_it_gives_the_same_outputs(model: str, task: str) -> None:
    net = build(model, task).eval()
    inputs, _ = make_batch(task)
    with torch.no_grad():
        expected = net(inputs)
        compiled = torch.compile(net.forward, backend="aot_eager", fullgraph=True)(inputs)
    torch.testing.assert_close(compiled, expected)


def fit(net: Model, task: str, folder: Path) -> L.Trainer:
    loader = DataLoader(TensorDataset(*make_batch(task)), batch_size=16)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(net, loader, loader)
    return trainer
