"""The lean training loop: the same as Lightning's, to the bit."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from kindling.callbacks.gradient_norm import GradientNorm
from kindling.callbacks.non_finite import NonFinite
from kindling.callbacks.weight_averaging import WeightAveraging
from kindling.data.digits import Digits
from kindling.data.image_augmentation import ImageAugmentation
from kindling.loggers import MetricsTable
from kindling.loop import HOOKS, RARE, LeanLoop
from kindling.models.mlp import MLP
from kindling.optim import ReduceLROnPlateau
from kindling.trainer import Trainer


class Logs(MLP):
    """Logs in every way at every step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("own/step", loss, prog_bar=True)
        self.log("own/both", loss, on_step=True, on_epoch=True)
        self.log("own/epoch", float(batch_idx), on_step=False, on_epoch=True)
        return loss


class Diary(L.Callback):
    """Writes down every hook of a step with the state in it."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        for hook in HOOKS:
            setattr(self, hook, self.writer(hook))

    def writer(self, hook: str) -> Any:
        def write(trainer: L.Trainer, model: Any, *_: Any) -> None:
            progress = trainer.fit_loop.epoch_loop.batch_progress.current
            weights = float(sum(parameter.double().sum() for parameter in model.parameters()))
            shown = {name: float(value) for name, value in trainer.callback_metrics.items()}
            bar = dict(trainer.progress_bar_metrics)
            counts = progress.ready, progress.started, progress.processed, progress.completed
            self.lines.append((hook, trainer.global_step, counts, model._current_fx_name, weights, shown, bar))

        return write


def train(folder: Path, lean: bool, cls: Any = MLP, model: Any = None, data: Any = None, **trainer: Any) -> Any:
    """Train for two epochs; returns the diary, the table of metrics and the weights."""
    L.seed_everything(0)
    digits = Digits(batch_size=128, **data or {})
    net = cls(input_shape=digits.input_shape, classes=digits.classes, hidden_sizes=[32], dropout=0.1, **model or {})
    diary, table = Diary(), MetricsTable(folder / "metrics.csv")
    callbacks = [diary, NonFinite(), GradientNorm(), *trainer.pop("callbacks", [])]
    kind = Trainer if lean else L.Trainer
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings: dict[str, Any] = {"max_epochs": 2, "log_every_n_steps": 3, "gradient_clip_val": 0.5, **quiet, **trainer}
    made = kind(logger=table, callbacks=callbacks, default_root_dir=folder, **settings)
    made.fit(net, datamodule=digits)
    table.save()
    if lean:
        assert made.fit_loop.epoch_loop.lean
    return diary.lines, (folder / "metrics.csv").read_text(), net.state_dict()


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "logs": {"cls": Logs},
    "no clipping": {"gradient_clip_val": None},
    "clipping by value": {"gradient_clip_algorithm": "value", "gradient_clip_val": 0.01},
    "clipping that never acts": {"gradient_clip_val": 1e3},
    "accumulation": {"accumulate_grad_batches": 4, "cls": Logs},
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
