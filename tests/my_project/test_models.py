"""Every model, on every task that fits, goes through the same tests. A new model joins by its defaults, or in SMALL."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from model_cases import MODELS, TASKS, build, classification_cases, every_case, make_batch
from torch.nn import HuberLoss
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from kindling import Model


@every_case
def test_output_has_the_shape_of_the_task(model: str, kind: str, task: str) -> None:
    net = build(model, kind, task).eval()
    outputs = {"BinaryClassification": 1, "MultilabelClassification": 3, "Regression": 2}.get(task, 4)
    for size in (5, 1):
        inputs, targets = make_batch(kind, task, size)
        sides = targets.shape[1:] if task == "Segmentation" else ()
        assert net(inputs).shape == (size, outputs, *sides)


@every_case
@pytest.mark.parametrize("init", ["torch", "guide"])
def test_every_parameter_gets_a_gradient(model: str, kind: str, task: str, init: str) -> None:
    net = build(model, kind, task, init=init)
    inputs, targets = make_batch(kind, task, 256)
    net.task.loss_of(net(inputs), targets).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_case
def test_the_loss_starts_where_a_guess_would(model: str, kind: str, task: str) -> None:
    inputs, targets = make_batch(kind, task, 512)
    net = build(model, kind, task)
    guess = dict.fromkeys(("Classification", "Segmentation"), math.log(4))
    guess["Regression"] = float(targets.float().square().mean())
    with torch.no_grad():
        loss = float(net.task.loss_of(net(inputs), targets))
    assert loss == pytest.approx(guess.get(task, math.log(2)), rel=0.35)


@every_case
def test_it_overfits_one_batch(model: str, kind: str, task: str) -> None:
    net = build(model, kind, task, optimizer=partial(Adam, lr=1e-2))
    inputs, targets = make_batch(kind, task, 16)
    optimizer = net.configure_optimizers()["optimizer"]
    for _ in range(200):
        optimizer.param_groups[0]["lr"] = 1e-2
        optimizer.zero_grad()
        loss = net.task.loss_of(net(inputs), targets)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02, "dropout or a large size? SMALL in tests/model_cases.py has room for arguments"


@every_case
def test_built_in_python_it_trains_saves_and_loads(model: str, kind: str, task: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "optimizer": partial(Adam, lr=1e-3, weight_decay=0.1),
        "schedule": partial(StepLR, step_size=1),
    }
    smoothed = {"label_smoothing": 0.1}
    arguments: dict[str, Any] = {"Classification": smoothed, "Segmentation": smoothed}
    arguments["Regression"] = {"loss": HuberLoss(delta=0.5)}
    net = build(model, kind, task, task=TASKS[task](**arguments.get(task, {"threshold": 0.4})), **settings)
    trainer = fit(net, kind, task, tmp_path)
    trainer.save_checkpoint(tmp_path / "model.ckpt")

    state = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert state["hyper_parameters"]["optimizer"]["init_args"] == {"lr": 1e-3, "weight_decay": 0.1}
    loaded = MODELS[model].load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).eval()
    assert type(loaded) is type(net)
    inputs, _ = make_batch(kind, task)
    torch.testing.assert_close(loaded(inputs), net.eval()(inputs), rtol=0, atol=0)
    built = loaded.configure_optimizers()["optimizer"]
    assert type(built) is Adam
    assert built.param_groups[0]["weight_decay"] == 0.1
    if task in ("Classification", "Segmentation"):
        assert loaded.task.label_smoothing == 0.1
    elif task == "Regression":
        assert loaded.task.criterion.delta == 0.5
    else:
        assert loaded.task.threshold == 0.4

    fit(loaded, kind, task, tmp_path).save_checkpoint(tmp_path / "again.ckpt")  # what was loaded can be saved in turn
    again = L.LightningModule.load_from_checkpoint(tmp_path / "again.ckpt", weights_only=True)
    assert type(again) is type(net)


@every_case
def test_it_trains_a_step_under_bfloat16_autocast(model: str, kind: str, task: str, tmp_path: Path) -> None:
    net = build(model, kind, task)
    before = [parameter.clone() for parameter in net.parameters()]
    trainer = fit(net, kind, task, tmp_path, precision="bf16-mixed", limit_train_batches=1)
    assert trainer.callback_metrics["val/loss"].isfinite()
    for name, value in trainer.callback_metrics.items():
        assert value.dtype in (torch.float32, torch.float64), name
    changed = [not torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True)]
    assert all(parameter.isfinite().all() for parameter in net.parameters())
    assert any(changed)


@classification_cases
def test_compiled_it_gives_the_same_outputs(model: str, kind: str) -> None:
    net = build(model, kind, "Classification").eval()
    inputs, _ = make_batch(kind, "Classification")
    with torch.no_grad():
        compiled = torch.compile(net.forward, backend="aot_eager")(inputs)
        torch.testing.assert_close(compiled, net(inputs))


def fit(net: Model, kind: str, task: str, folder: Path, **settings: Any) -> L.Trainer:
    loader = DataLoader(TensorDataset(*make_batch(kind, task)), batch_size=16)
    trainer = L.Trainer(
        **{"max_epochs": 1, **settings},
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(net, loader, loader)
    return trainer
