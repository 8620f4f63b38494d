"""The lean training loop: the same as Lightning's, to the bit."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from simple_modules import QUIET, Gan, Plain, Points, loader
from torch import Tensor
from torch.optim import LBFGS, SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.utils.data import DataLoader

from kindling.data.image_augmentation import ImageAugmentation
from kindling.models.schedules import ReduceLROnPlateau
from kindling.run.metrics_table import MetricsTable
from kindling.train.callbacks.gradient_norm import GradientNorm
from kindling.train.callbacks.non_finite import NonFinite
from kindling.train.callbacks.weight_averaging import WeightAveraging
from kindling.train.lean import RARE
from kindling.train.loop import HOOKS, LeanLoop
from kindling.train.trainer import Trainer
from my_project.data.digits import Digits
from my_project.models.mlp import MLP


class Logs(MLP):
    """Logs in every way at every step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("own/step", loss, prog_bar=True)
        self.log("own/both", loss, on_step=True, on_epoch=True)
        self.log("own/epoch", float(batch_idx), on_step=False, on_epoch=True)
        self.log("own/count", torch.tensor(batch_idx))
        return loss


class Returns(MLP):
    """Returns more than the loss, and for some batches nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 4 == 1 else {"loss": loss, "twice": 2 * loss}


class TwoSchedules(MLP):
    """One by steps, which has the rate from the first one, and one by epochs, which takes it as it is."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1)
        by_step = {"scheduler": LambdaLR(optimizer, lambda step: 0.9**step), "interval": "step"}
        return [optimizer], [by_step, {"scheduler": StepLR(optimizer, 1), "interval": "epoch"}]


class Scales(L.Callback):
    """Changes the gradients after their norm was taken."""

    def on_before_optimizer_step(self, trainer: L.Trainer, model: Any, optimizer: Any) -> None:
        for parameter in model.parameters():
            parameter.grad.data.mul_(10)


class Diary(L.Callback):
    """Writes down every hook of a step with the state in it."""

    keeps_gradients = True

    def __init__(self) -> None:
        self.lines: list[Any] = []
        for hook in (*HOOKS, "on_train_start", "on_train_epoch_start"):
            setattr(self, hook, self.writer(hook))

    def writer(self, hook: str) -> Any:
        def write(trainer: L.Trainer, model: Any, *given: Any) -> None:
            progress = trainer.fit_loop.epoch_loop.batch_progress.current
            weights = float(sum(parameter.double().sum() for parameter in model.parameters()))
            shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
            bar = dict(trainer.progress_bar_metrics)
            counts = progress.ready, progress.started, progress.processed, progress.completed
            counts += tuple(trainer.num_val_batches)
            self.lines.append((hook, trainer.global_step, counts, model._current_fx_name, weights, shown, bar))
            if hook == "on_train_batch_end":
                self.lines.append(given[0] and {name: float(value) for name, value in given[0].items()})

        return write


def as_they_are(batches: list[Any]) -> DataLoader:
    """A generator of its own, since Lightning lets a loader draw from that of the training, and Kindling does not."""
    own = torch.Generator()
    return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch, generator=own)  # type: ignore[arg-type]


class Gaps(Digits):
    """Has no batch here and there."""

    def train_dataloader(self) -> Any:
        batches = list(super().train_dataloader())
        return as_they_are([None if index % 4 == 2 else batch for index, batch in enumerate(batches)])


def train(
    folder: Path, lean: bool, cls: Any = MLP, model: Any = None, data: Any = None, source: Any = Digits, **trainer: Any
) -> Any:
    """Train for two epochs; returns the diary, the table of metrics and the weights."""
    L.seed_everything(0)
    digits = source(batch_size=128, **data or {})
    net = cls(input_shape=digits.input_shape, classes=digits.classes, hidden_sizes=[32], dropout=0.1, **model or {})
    diary, table = Diary(), MetricsTable(folder / "metrics.csv")
    callbacks = [diary, NonFinite(), GradientNorm(), *trainer.pop("callbacks", [])]
    kind = Trainer if lean else L.Trainer
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings: dict[str, Any] = {"max_epochs": 2, "log_every_n_steps": 3, "gradient_clip_val": 0.5, **quiet, **trainer}
    made = kind(logger=table, callbacks=callbacks, default_root_dir=folder, **settings)
    made.fit(net, datamodule=digits)
    table.save()
    if lean:  # but where the last epoch is Lightning's
        assert made.fit_loop.epoch_loop.lean != any(isinstance(each, StochasticWeightAveraging) for each in callbacks)
    return diary.lines, (folder / "metrics.csv").read_text(), net.state_dict()


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "logs": {"cls": Logs},
    "no clipping": {"gradient_clip_val": None},
    "clipping by value": {"gradient_clip_algorithm": "value", "gradient_clip_val": 0.01},
    "clipping that never acts": {"gradient_clip_val": 1e3},
    "accumulation": {"accumulate_grad_batches": 3, "cls": Logs},  # of nine batches: see test_accumulation
    "bf16": {"precision": "bf16-mixed"},
    "no schedule": {"model": {"schedule": None}},
    "a schedule by epochs": {"model": {"schedule": partial(StepLR, step_size=1)}},
    "augmentation": {"data": {"augment": ImageAugmentation(crop=1, mixup=0.2)}},
    "averaged weights": {"callbacks": [WeightAveraging(enabled=True, decay=0.9)]},
    "validations within an epoch": {"val_check_interval": 3},
    "validations every other epoch": {"check_val_every_n_epoch": 2, "max_epochs": 3},
    "a plateau": {"model": {"schedule": partial(ReduceLROnPlateau, patience=0)}, "max_epochs": 4},
    "steps that end mid-epoch": {"max_steps": 11, "max_epochs": -1},
    "a limit": {"limit_train_batches": 5},
    "workers": {"data": {"workers": 1}},
    "penalty": {"model": {"l2": 1e-3}},
    "more than a loss, or none": {"cls": Returns},
    "an optimiser that steps thrice": {"model": {"optimizer": partial(LBFGS, lr=0.1, max_iter=3)}},
    "two schedules": {"cls": TwoSchedules},
    "changed gradients": {"callbacks": [Scales()]},
    "no batch": {"source": Gaps},
    "no sanity check": {"num_sanity_val_steps": 0},
    "averaged by Lightning": {"callbacks": [StochasticWeightAveraging(1e-2, 1)], "max_epochs": 3},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=list(CASES))
def test_a_training_is_lightnings_to_the_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    found = []
    for lean in (True, False):
        (folder := tmp_path / str(lean)).mkdir()
        found.append(train(folder, lean, **deepcopy(settings)))
    (diary, table, weights), (expected_diary, expected_table, expected_weights) = found
    assert len(diary) > 50
    assert diary == expected_diary
    assert table == expected_table
    assert "gradient_norm" in table
    for name, expected in expected_weights.items():
        assert torch.equal(weights[name], expected), name


@pytest.fixture(params=sorted(RARE))
def model_with_a_rare_hook(request: pytest.FixtureRequest) -> tuple[Any, list[str]]:
    called: list[str] = []

    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(request.param)
        return getattr(super(kind, self), request.param)(*args, **kwargs)

    kind = type("Rare", (MLP,), {request.param: hook})
    return kind, called


def test_a_model_with_a_rare_hook_is_trained_by_lightnings_loop(
    model_with_a_rare_hook: tuple[Any, list[str]], tmp_path: Path
) -> None:
    kind, called = model_with_a_rare_hook
    digits = Digits(batch_size=128)
    model = kind(input_shape=digits.input_shape, classes=digits.classes, hidden_sizes=[8])
    trainer = Trainer(max_steps=2, logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    trainer.fit(model, datamodule=digits)
    loop = trainer.fit_loop.epoch_loop
    assert isinstance(loop, LeanLoop)
    assert not loop.lean
    assert called


def test_a_callback_added_in_the_training_is_called(tmp_path: Path) -> None:
    class Adds(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, model: Any) -> None:
            if trainer.current_epoch == 0:
                trainer.callbacks.append(diary)  # type: ignore[attr-defined]

    diary = Diary()
    train(tmp_path, True, callbacks=[Adds()])
    assert len(diary.lines) > 50


def fit(model: Any, batches: list[Any], **trainer: Any) -> Trainer:
    made = Trainer(max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, **trainer)
    made.fit(model, as_they_are(batches))
    assert made.fit_loop.epoch_loop.lean  # type: ignore[attr-defined]
    return made


class Deaf(SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


def test_an_optimiser_that_does_not_train_is_refused(tmp_path: Path) -> None:
    model = MLP(input_shape=(4,), classes=["a", "b"], optimizer=partial(Deaf, lr=0.1))
    with pytest.raises(MisconfigurationException, match="Deaf.step has to call it to train"):
        fit(model, [(torch.ones(2, 4), torch.tensor([0, 1]))], default_root_dir=tmp_path)


def test_a_batch_is_the_steps_own(tmp_path: Path) -> None:
    class Pops(MLP):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step((batch.pop("inputs"), batch.pop("targets")), batch_idx)

    batch = {"inputs": torch.ones(2, 4), "targets": torch.tensor([0, 1])}
    fit(Pops(input_shape=(4,), classes=["a", "b"]), [batch], default_root_dir=tmp_path)
    assert set(batch) == {"inputs", "targets"}


def test_a_skipped_step_is_not_clipped(tmp_path: Path) -> None:
    """Lightning would refuse to, with 16 bits and an optimiser that was asked to be fused."""
    good, bad = ((torch.full((2, 4), value), torch.tensor([0, 1])) for value in (1.0, torch.nan))
    model = MLP(input_shape=(4,), classes=["a", "b"], optimizer=partial(AdamW, fused=True))
    options: dict[str, Any] = {"precision": "bf16-mixed", "gradient_clip_val": 1.0, "callbacks": [NonFinite("skip")]}
    fit(model, [good, bad, good], default_root_dir=tmp_path, **options)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


class OneArgument(Plain):
    def training_step(self, batch: Any) -> Tensor:  # type: ignore[override]
        return super().training_step(batch, 0)


class Dicts(Plain):
    """Takes batches that are dicts."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step((batch["inputs"], batch["targets"]), batch_idx)
        return {"loss": loss, "more": 1}


class Steps(Plain):
    """Has a schedule as Lightning's examples have them, and hooks."""

    def configure_optimizers(self) -> Any:
        optimizer = AdamW(self.parameters(), lr=0.01)
        return [optimizer], [StepLR(optimizer, 1, gamma=0.5)]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("own", outputs["loss"], on_epoch=True)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for parameter in self.parameters():
            assert parameter.grad is not None
            parameter.grad *= 3


PLAIN = {"plain": Plain, "one argument": OneArgument, "dicts": Dicts, "hooks and a schedule": Steps}


@pytest.mark.parametrize("cls", PLAIN.values(), ids=PLAIN)
def test_a_plain_module_is_trained_lean_and_as_by_lightning(cls: Any, tmp_path: Path) -> None:
    weights, tables = [], []
    for trainer in (Trainer, L.Trainer):
        table = MetricsTable(tmp_path / f"{trainer.__module__}.csv")
        settings: dict[str, Any] = {"max_epochs": 3, "log_every_n_steps": 4, "gradient_clip_val": 0.1}
        made = trainer(
            logger=table, callbacks=[NonFinite(), GradientNorm()], enable_checkpointing=False, **settings, **QUIET
        )
        module = cls()
        points = [{"inputs": x, "targets": y} for x, y in Points()] if cls is Dicts else Points()
        made.fit(module, loader(points))  # type: ignore[arg-type]
        table.save()
        assert getattr(made.fit_loop.epoch_loop, "lean", True)
        weights.append(module.state_dict())
        tables.append((tmp_path / f"{trainer.__module__}.csv").read_text())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert tables[0] == tables[1]
    assert "gradient_norm" in tables[0]


def test_manual_optimisation_is_trained_by_lightnings_loop(tmp_path: Path) -> None:
    trained = []
    for trainer in (Trainer, L.Trainer):
        made = trainer(max_epochs=2, logger=False, enable_checkpointing=False, default_root_dir=tmp_path, **QUIET)
        module = Gan()
        made.fit(module, loader())
        assert made.global_step == 40
        trained.append(module.state_dict())
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=0)


@pytest.mark.parametrize("first", [{"prog_bar": True}, {"logger": False}, {"on_epoch": True}])
def test_conflicting_logs_of_one_name_are_refused(first: dict[str, Any], tmp_path: Path) -> None:
    class Twice(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.log("twice", 1.0, **first)
            self.log("twice", 1.0)
            return self.loss(batch)

    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path, **QUIET)
    with pytest.raises(MisconfigurationException, match="twice in `training_step` with different arguments"):
        trainer.fit(Twice(), loader())


def test_a_name_can_be_logged_with_values_of_several_types(tmp_path: Path) -> None:
    seen: list[float] = []

    class Mixed(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            value = torch.tensor(batch_idx) if batch_idx % 2 else torch.tensor(float(batch_idx))
            self.log("mixed", value, prog_bar=True)
            return self.loss(batch)

    class Watches(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step:
                seen.append(float(trainer.callback_metrics["mixed"]))

    settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "default_root_dir": tmp_path, **QUIET}
    Trainer(max_epochs=1, callbacks=[Watches()], **settings).fit(Mixed(), loader())
    assert seen == list(range(9))  # before each batch, what the one before it has logged


def test_logged_values_are_shown_in_the_order_in_which_they_are_logged(tmp_path: Path) -> None:
    class Several(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.log("first", 1.0, on_epoch=True, on_step=False, prog_bar=True)
            self.log("second", 2.0, prog_bar=True)
            self.log("third", 3.0, prog_bar=True, reduce_fx="max")
            self.log("fourth", 4.0, prog_bar=True)
            return self.loss(batch)

    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path, **QUIET)
    trainer.fit(Several(), loader())
    shown = [name for name in trainer.progress_bar_metrics if name != "v_num"]
    assert shown == ["second", "third", "fourth", "first"]  # the last is known when the epoch ends


def replace_hook(trainer: Any) -> None:
    trainer.lightning_module.optimizer_zero_grad = lambda *_: None


def replace_backward(trainer: Any) -> None:
    strategy = trainer.strategy
    strategy.backward = lambda *args, own=strategy.backward, **kwargs: own(*args, **kwargs)


@pytest.mark.parametrize("replace", [None, replace_hook, replace_backward])
def test_what_somebody_has_replaced_on_an_object_is_called_by_lightnings_loop(replace: Any, tmp_path: Path) -> None:
    class Replaces(L.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if replace:
                replace(trainer)

    settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "default_root_dir": tmp_path, **QUIET}
    trainer = Trainer(max_epochs=1, callbacks=[Replaces()], **settings)
    trainer.fit(Plain(), loader())
    assert trainer.fit_loop.epoch_loop.lean is (replace is None)
    assert trainer.global_step == 10


def test_a_step_without_a_loss_is_warned_of(tmp_path: Path) -> None:
    class Idle(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            return None

    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, default_root_dir=tmp_path, **QUIET)
    with pytest.warns(UserWarning, match="`training_step` returned `None`"):
        trainer.fit(Idle(), loader())
