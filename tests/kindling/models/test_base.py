import csv
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from kindling.models.schedules import WarmupCosine
from kindling.tasks import Classification
from my_project.data.synthetic import SyntheticClassification, SyntheticRegression
from my_project.models.mlp import MLP
from my_project.models.resnet import ResNet


def build(**arguments: Any) -> MLP:
    return MLP(input_shape=(10,), classes=["a", "b", "c"], hidden_sizes=[8], **arguments)


def train(model: MLP, folder: Path, size: int = 300, **settings: Any) -> L.Trainer:
    data = SyntheticClassification(size=size, batch_size=16)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(accelerator="cpu", logger=CSVLogger(folder), **quiet, **settings)
    trainer.fit(model, datamodule=data)
    return trainer


def logged_steps(trainer: L.Trainer, name: str) -> list[int]:
    assert trainer.log_dir
    with open(Path(trainer.log_dir, "metrics.csv"), encoding="utf-8") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row[name]]


def test_optimisers_are_fused_unless_told_otherwise() -> None:
    assert build(optimizer=AdamW).configure_optimizers()["optimizer"].param_groups[0]["fused"] is True
    unfused = partial(AdamW, fused=False)
    assert build(optimizer=unfused).configure_optimizers()["optimizer"].param_groups[0]["fused"] is False


@pytest.mark.parametrize(
    ("schedule", "interval"),
    [
        (WarmupCosine, "step"),
        (partial(OneCycleLR, max_lr=0.1, total_steps=10), "step"),
        (partial(StepLR, step_size=2), "epoch"),
    ],
)
def test_the_schedule_decides_whether_it_steps_by_batch_or_epoch(schedule: Any, interval: str) -> None:
    assert build(schedule=schedule).configure_optimizers()["lr_scheduler"]["interval"] == interval


def test_no_schedule_keeps_the_learning_rate(tmp_path: Path) -> None:
    trainer = train(build(optimizer=partial(SGD, lr=0.3), schedule=None), tmp_path, max_epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.3


def test_the_schedule_takes_its_length_from_the_run(tmp_path: Path) -> None:
    trainer = train(build(), tmp_path, max_epochs=3, accumulate_grad_batches=2)
    schedule = trainer.lr_scheduler_configs[0].scheduler
    assert schedule.total_steps == trainer.global_step == schedule.last_epoch  # type: ignore[union-attr]
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-5


def test_a_function_as_optimiser_is_refused_since_no_checkpoint_can_name_it() -> None:
    with pytest.raises(ValueError, match=r"optimizer is a function: give a class or a functools\.partial"):
        build(optimizer=lambda params: SGD(params, lr=0.1))


def test_a_bad_recipe_is_refused_before_the_training() -> None:
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        build(optimizer=partial(SGD, lr=-1.0))


def test_a_model_needs_classes_or_targets() -> None:
    with pytest.raises(ValueError, match="classes and targets are empty"):
        MLP(input_shape=(10,), classes=[])


class Pinned(MLP):
    """A model that sets an argument of its parent."""

    def __init__(self, extra: int = 3, **mlp: Any) -> None:
        super().__init__(hidden_sizes=[extra], **mlp)


def test_a_subclass_that_sets_its_parents_argument_saves_and_loads(tmp_path: Path) -> None:
    model = Pinned(extra=5, input_shape=(10,), classes=["a", "b", "c"])
    assert "hidden_sizes" not in model.hparams
    train(model, tmp_path, max_epochs=1).save_checkpoint(tmp_path / "pinned.ckpt")
    loaded = Pinned.load_from_checkpoint(tmp_path / "pinned.ckpt", weights_only=True)
    assert loaded.net[1].out_features == 5


@pytest.mark.parametrize("value", [np.array([8]), [np.int64(8)], range(8, 9)])
def test_what_a_checkpoint_can_not_keep_is_refused_at_once(value: Any) -> None:
    with pytest.raises(ValueError, match="hidden_sizes is .*: a checkpoint keeps plain numbers"):
        MLP(input_shape=(10,), classes=["a", "b"], hidden_sizes=value)


def test_training_is_logged_at_the_interval_alone(tmp_path: Path) -> None:
    trainer = train(build(), tmp_path, max_epochs=2, log_every_n_steps=5)  # 12 steps an epoch
    assert logged_steps(trainer, "train/loss") == [4, 9, 14, 19]
    assert logged_steps(trainer, "train/accuracy") == [4, 9, 14, 19]


def test_a_short_epoch_is_logged_once(tmp_path: Path) -> None:
    trainer = train(build(), tmp_path, size=100, max_epochs=3, log_every_n_steps=50)  # 4 steps an epoch
    assert logged_steps(trainer, "train/loss") == [3, 7, 11]


def test_validation_metrics_are_those_of_the_whole_split(tmp_path: Path) -> None:
    model = build()
    trainer = train(model, tmp_path, max_epochs=1)
    inputs, targets = trainer.datamodule.sets["val"][slice(None)]  # type: ignore[attr-defined]
    with torch.no_grad():
        outputs = model.eval()(inputs)
    assert trainer.callback_metrics["val/accuracy"] == (outputs.argmax(1) == targets).float().mean()
    torch.testing.assert_close(trainer.callback_metrics["val/loss"], model.task.loss_of(outputs, targets))


def test_the_penalty_is_on_the_weights_alone_and_squared() -> None:
    model = build(l1=0.1, l2=0.01)
    weights = [model.net[1].weight, model.net[4].weight]  # two linear layers, around a norm and an activation
    expected = sum(0.1 * weight.abs().sum() + 0.01 * (weight**2).sum() for weight in weights)
    torch.testing.assert_close(model.penalty(), expected)


def test_the_penalty_shrinks_the_weights_but_is_not_in_the_logged_loss(tmp_path: Path) -> None:
    free, held = (build(l2=l2, optimizer=partial(AdamW, lr=0.03)) for l2 in (0.0, 1.0))
    for model in (free, held):
        trainer = train(model, tmp_path, max_epochs=3)
    assert held.net[1].weight.norm() < 0.5 * free.net[1].weight.norm()
    assert trainer.callback_metrics["train/loss"] < 2  # of cross-entropy on three classes


def test_weight_decay_can_spare_biases_and_norms() -> None:
    decayed = partial(AdamW, lr=1e-3, weight_decay=0.3)
    (group,) = build(optimizer=decayed).configure_optimizers()["optimizer"].param_groups
    assert group["weight_decay"] == 0.3
    weights, spared = build(optimizer=decayed, decay="weights").configure_optimizers()["optimizer"].param_groups
    assert (weights["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    assert [weight.dim() for weight in weights["params"]] == [2, 2]
    assert [weight.dim() for weight in spared["params"]] == [1, 1, 1]  # norm's weight and bias, head's bias
    assert weights["fused"] is spared["fused"] is True


def test_the_guides_initialisation_is_an_option() -> None:
    torch.manual_seed(0)
    head = build(init="guide").net[4]
    assert (head.bias == 0.01).all()
    assert float(head.weight.detach().abs().max()) <= (6 / (8 + 3)) ** 0.5
    assert not (build().net[4].bias == 0.01).any()


def test_a_forward_without_lengths_is_not_given_any() -> None:
    sequences = MLP(input_shape=(4, 2), classes=["a", "b"], hidden_sizes=[8]).eval()
    batch = torch.randn(3, 4, 2), torch.tensor([4, 2, 3]), torch.tensor([0, 1, 0])
    torch.testing.assert_close(sequences.outputs(batch), sequences(batch[0]))


class Swapped(Classification):
    """For batches that are dicts."""

    def inputs_of(self, batch: Any) -> Any:
        return batch["vectors"]

    def targets_of(self, batch: Any) -> Any:
        return batch["labels"]


def test_the_task_says_what_of_a_batch_is_for_the_model_and_what_for_the_loss() -> None:
    usual, swapped = build(task=Classification()).eval(), build(task=Swapped()).eval()
    swapped.load_state_dict(usual.state_dict())
    vectors, labels = torch.randn(5, 10), torch.tensor([0, 1, 2, 0, 1])
    batch = {"labels": labels, "vectors": vectors}
    torch.testing.assert_close(swapped.outputs(batch), usual.outputs((vectors, labels)))
    found, expected = swapped.validation_step(batch, 0), usual.validation_step((vectors, labels), 0)
    torch.testing.assert_close(found, expected)
    assert swapped.task.val_loss.compute() == usual.task.val_loss.compute()  # type: ignore[operator, union-attr]


def test_targets_of_any_size_are_learnt(tmp_path: Path) -> None:
    data = SyntheticRegression(size=1000, batch_size=32)
    inputs, targets = data.samples
    data.__dict__["samples"] = inputs, 1000 + 50 * targets
    model = MLP(input_shape=(10,), targets=["y"], hidden_sizes=[], norm=None, optimizer=partial(AdamW, lr=0.03))
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=5, enable_checkpointing=False, **quiet)
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics["val/r2"] > 0.97
    assert trainer.callback_metrics["val/rmse"] == pytest.approx(5, rel=0.5)  # noise 0.1, times 50


def test_a_compiled_model_has_the_checkpoints_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, compile = list[Any](), nn.Module.compile

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda model, mode: compile(model, backend=backend))
    found = []
    for chosen in (True, False):
        L.seed_everything(0)
        model = build(compile=chosen)
        trainer = train(model, tmp_path, max_epochs=2)
        trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
        assert bool(compiled) is chosen
        compiled.clear()
        found.append(torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"])
        loaded = MLP.load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu")
        assert torch.equal(loaded.net[1].weight, model.net[1].weight)
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        torch.testing.assert_close(values, found[1][name])


def test_weights_of_images_have_their_channels_last_from_the_start() -> None:
    model = ResNet(input_shape=(3, 8, 8), classes=["a", "b"], width=8, depths=[1])
    assert model.stages[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr]
    assert model.stages(model.stem(torch.zeros(2, 3, 8, 8))).is_contiguous(memory_format=torch.channels_last)
