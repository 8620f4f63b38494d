"""Checkpoints of any LightningModule: what is best, what is kept, and what is refused before the first step."""

import errno
import os
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from simple_modules import QUIET, Gan, Plain, Stream, Validated, loader
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from kindling.core.errors import UsageError
from kindling.run.checkpoint_files import load_checkpoint
from kindling.train.callbacks import Checkpoint
from kindling.train.trainer import Trainer


class Accident(Exception):
    """Nothing is prepared for it, and nothing is saved."""


class Fall(L.Callback):
    """Has an accident before a batch of the training, counted from 1 over all epochs."""

    def __init__(self, batch: int) -> None:
        self.left = batch

    def on_train_batch_start(self, *_: Any) -> None:
        self.left -= 1
        if not self.left:
            raise Accident


def fit(
    module: Any, folder: Path, *callbacks: Any, train: Any = None, val: Any = None, ckpt: Any = None, **settings: Any
) -> Checkpoint:
    """Train for two epochs of ten batches, and return the callback, the first of those given."""
    kept, *others = callbacks or (Checkpoint(),)
    kept.dirpath = str(folder / "checkpoints")
    settings = {"max_epochs": 2, "logger": False, "default_root_dir": folder, **QUIET, **settings}
    trainer = Trainer(callbacks=[*others, kept], **settings)
    trainer.fit(module, loader() if train is None else train, val, ckpt_path=ckpt, weights_only=True)
    return kept


def files(folder: Path) -> dict[str, int]:
    """The checkpoints and the steps that they are of."""
    paths = (folder / "checkpoints").rglob("*.ckpt")
    return {str(path.relative_to(folder / "checkpoints")): load_checkpoint(path)["global_step"] for path in paths}


def test_where_the_last_is_the_best_both_are_one_file(tmp_path: Path) -> None:
    fit(Plain(), tmp_path)
    best, last = tmp_path / "checkpoints" / "best.ckpt", tmp_path / "checkpoints" / "last.ckpt"
    assert best.samefile(last)
    assert not last.samefile(last.with_name("previous.ckpt"))
    assert load_checkpoint(last)["position"]["mid_epoch"] is False


def test_where_links_are_not_to_be_had_they_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    fit(Plain(), tmp_path)
    best, last = tmp_path / "checkpoints" / "best.ckpt", tmp_path / "checkpoints" / "last.ckpt"
    assert not best.samefile(last)
    assert best.read_bytes() == last.read_bytes()


def test_a_name_for_which_there_is_no_room_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("shutil.copyfile", refuse)
    fit(Plain(), tmp_path, max_epochs=1)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert f"warning: can't write {last}: No space left on device" in capsys.readouterr().out
    assert files(tmp_path) == {"best.ckpt": 10, "last.ckpt": 10}  # written when the training ends


def test_without_validation_the_last_is_the_best(tmp_path: Path) -> None:
    kept = fit(Plain(), tmp_path)
    assert files(tmp_path) == {"best.ckpt": 20, "last.ckpt": 20, "previous.ckpt": 10}
    assert (kept.monitor, kept.best_model_score) == (None, None)
    assert Path(kept.best_model_path) == tmp_path / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize(
    "settings", [{"check_val_every_n_epoch": 2}, {"limit_val_batches": 0}, {"val_check_interval": 4}]
)
def test_nor_does_it_depend_on_when_a_validation_would_be(settings: dict[str, Any], tmp_path: Path) -> None:
    fit(Plain(), tmp_path, **settings)
    assert files(tmp_path)["best.ckpt"] == 20


class EverBetterByName(Plain):
    """Gets worse by what it logs in its validations."""

    name, values = "val_loss", iter(())

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log(self.name, float(self.current_epoch))


@pytest.mark.parametrize(
    ("name", "own", "asked", "best"),
    [
        ("val_loss", None, {}, 10),
        ("val/loss", None, {}, 10),
        ("val_acc", "val_acc", {}, 20),
        ("val_acc", None, {}, 20),  # not a loss: nothing to go by
        ("elbo", None, {"monitor": "elbo", "mode": "min"}, 10),
        ("elbo", "elbo", {"mode": "max"}, 20),
        ("val_loss", None, {"mode": "max"}, 20),
    ],
)
@pytest.mark.parametrize("sanity", [0, 2])
def test_the_best_is_that_of_the_metric(
    name: str, own: str | None, asked: dict[str, Any], best: int, sanity: int, tmp_path: Path
) -> None:
    module = EverBetterByName()
    module.name = name
    if own:
        module.monitor = own  # type: ignore[assignment]
    kept = fit(module, tmp_path, Checkpoint(**asked), val=loader(), num_sanity_val_steps=sanity)
    assert files(tmp_path)["best.ckpt"] == best
    wanted = None if (name, own, asked) == ("val_acc", None, {}) else name
    assert kept.monitor == wanted
    assert kept.state_key == "Checkpoint"


NOTE = "note   the last weights count as the best, since no validation has logged val/loss or val_loss (checkpoint.monitor chooses another; logged metrics: "


@pytest.mark.parametrize(
    ("name", "settings", "notes"),
    [
        ("val_loss", {}, []),
        ("valid_loss", {}, [f"{NOTE}train_loss, valid_loss)"]),
        ("valid_loss", {"limit_val_batches": 0}, []),  # nothing could be chosen
    ],
)
def test_that_nothing_says_what_is_best_is_said_once(
    name: str, settings: dict[str, Any], notes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = EverBetterByName()
    module.name = name
    fit(module, tmp_path, val=loader(), **settings)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith(NOTE)] == notes


def test_a_training_that_is_over_before_its_first_validation_has_a_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = {"max_epochs": -1, "max_steps": 7, "num_sanity_val_steps": 0}
    kept = fit(Validated(), tmp_path, train=loader(Stream()), val=loader(), **endless)
    assert files(tmp_path) == {"best.ckpt": 7, "last.ckpt": 7}
    assert Path(kept.best_model_path) == tmp_path / "checkpoints" / "best.ckpt"
    assert f"{NOTE}train_loss)" in capsys.readouterr().out


def test_of_several_loaders_the_first_counts(tmp_path: Path) -> None:
    kept = fit(EverBetterByName(), tmp_path, val=[loader(), loader()])
    assert kept.monitor == "val_loss/dataloader_idx_0"
    assert files(tmp_path)["best.ckpt"] == 10


def test_a_metric_of_the_training_can_be_watched(tmp_path: Path) -> None:
    kept = fit(Validated(), tmp_path, Checkpoint("train_loss"), val=loader())
    assert kept.best_model_score is not None


@pytest.mark.parametrize(
    ("module", "asked", "val", "message"),
    [
        (Validated(), {"monitor": "val_los"}, True, "Checkpoint monitors val_los, which is never logged; logged metrics: val_loss"),
        (Validated(), {"monitor": "reward"}, True, "Checkpoint monitors reward, which .*; logged metrics: train_loss, val_loss"),
        (Plain(), {"monitor": "reward"}, False, "Checkpoint monitors reward, which is never logged; logged metrics: train_loss"),
    ],
)  # fmt: skip
def test_a_misspelt_metric_is_refused(module: Any, asked: Any, val: bool, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        fit(module, tmp_path, Checkpoint(**asked), val=loader() if val else None)
    assert files(tmp_path) == {}


def test_a_name_that_does_not_tell_what_is_better_is_refused_after_the_sanity_check(tmp_path: Path) -> None:
    module = EverBetterByName()
    module.name = "val_elbo"
    with pytest.raises(UsageError, match="nothing says whether a lower or a higher val_elbo is better"):
        fit(module, tmp_path, Checkpoint("val_elbo"), Fall(1), val=loader())


def test_a_resume_keeps_the_best_score_of_the_same_metric_alone(tmp_path: Path) -> None:
    fit(EverBetterByName(), tmp_path, val=loader())
    last = tmp_path / "checkpoints" / "last.ckpt"
    for asked, best in (({}, 10), ({"monitor": "val_loss"}, 10), ({"mode": "max"}, 30)):
        before = last.read_bytes()
        fit(EverBetterByName(), tmp_path, Checkpoint(**asked), val=loader(), ckpt=last, max_epochs=3)  # type: ignore[arg-type]
        assert files(tmp_path)["best.ckpt"] == best
        last.write_bytes(before)


class Old(Checkpoint):
    """Names the metric in its key, as it once did."""

    @property
    def state_key(self) -> str:
        return "Checkpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_train_steps': 0, 'train_time_interval': None}"


def test_a_checkpoint_whose_key_names_the_metric_is_still_taken(tmp_path: Path) -> None:
    fit(EverBetterByName(), tmp_path, Old("val_loss", "min"), val=loader())
    last = tmp_path / "checkpoints" / "last.ckpt"
    kept = fit(EverBetterByName(), tmp_path, val=loader(), ckpt=last, max_epochs=3)
    assert files(tmp_path)["best.ckpt"] == 10
    assert kept.best_model_score == 0


class Careful(Validated):
    """Brings a checkpoint callback of its own, which would take the names of ours."""

    def configure_callbacks(self) -> Any:
        return [ModelCheckpoint(filename="best", save_last=True), ModelCheckpoint(monitor="val_loss")]


def test_a_modules_own_checkpoints_have_a_folder_of_their_own(tmp_path: Path) -> None:
    fit(Careful(), tmp_path, val=loader())
    own = {f"ModelCheckpoint/{name}.ckpt" for name in ("best", "last", "previous", "epoch=1-step=20")}
    assert files(tmp_path).keys() == {"best.ckpt", "last.ckpt", "previous.ckpt"} | own
    assert "position" in load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")


class Keeps(L.LightningModule):
    def __init__(self, width: Any = 3, loss: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.plain = Plain()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.plain.loss(batch)

    def configure_optimizers(self) -> Any:
        return self.plain.configure_optimizers()


@pytest.mark.parametrize(
    "value",
    [np.float64(1.0), [np.zeros(2)], torch.nn.functional.mse_loss, Path("data"), {"deep": [np.zeros(1)]}],
    ids=["number", "arrays", "function", "path", "nested"],
)  # fmt: skip
def test_a_hyper_parameter_that_could_not_be_loaded_is_left_out_with_a_word(
    value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(Keeps(width=5, loss=value), tmp_path)
    told = capsys.readouterr().out
    assert "note   the checkpoints leave out hyper-parameters that are objects: loss (" in told
    for checkpoint in files(tmp_path):
        assert load_checkpoint(tmp_path / "checkpoints" / checkpoint)["hyper_parameters"] == {"width": 5}


def test_plain_hyper_parameters_pass(tmp_path: Path) -> None:
    values = {"a": [1, (2.0, None)], "b": torch.ones(2), "c": torch.float16, "d": {1: "e"}}
    fit(Keeps(width=values, loss="mse"), tmp_path)
    kept = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["hyper_parameters"]
    assert kept["width"]["a"] == [1, (2.0, None)]


class History(L.Callback):
    """Keeps arrays in its state."""

    def state_dict(self) -> dict[str, Any]:
        return {"losses": {"train": [np.zeros(2)]}}


@pytest.mark.parametrize("in_background", [False, True])
def test_a_state_that_could_not_be_loaded_is_refused_when_it_is_first_saved(
    in_background: bool, tmp_path: Path
) -> None:
    message = "checkpoints of this training could not be loaded: callbacks.History.losses.train.0 is of type numpy"
    with pytest.raises(UsageError, match=message):
        fit(Plain(), tmp_path, Checkpoint(every_steps=3, in_background=in_background), History())
    assert files(tmp_path) == {}


def test_with_two_optimisers_the_steps_of_both_count(tmp_path: Path) -> None:
    """Each batch makes two steps: a multiple of three is often stepped over."""

    class Saves(Checkpoint):
        def _note_save(self, trainer: L.Trainer) -> None:
            steps.append(trainer.global_step)
            super()._note_save(trainer)

    steps: list[int] = []
    fit(Gan(), tmp_path, Saves(every_steps=3), max_epochs=1)
    assert steps == [4, 6, 10, 12, 16, 18, 20]


class Plateaus(Validated):
    """Lowers its rate after each epoch, since no validation is as much better as it asks for."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1)
        plateau = ReduceLROnPlateau(optimizer, patience=0, threshold=1e9, threshold_mode="abs")
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


def schedule_of(folder: Path) -> dict[str, Any]:
    (state,) = load_checkpoint(folder / "checkpoints" / "last.ckpt")["lr_schedulers"]
    return state


@pytest.mark.parametrize("batch", [11, 15, 21, 25])  # after an epoch's end, and in the middle of one
def test_a_schedule_that_follows_a_metric_goes_on_exactly(batch: int, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(Plateaus(), whole, val=loader(), max_epochs=4)
    with pytest.raises(Accident):
        fit(Plateaus(), cut, Checkpoint(every_steps=3), Fall(batch), val=loader(), max_epochs=4)
    epoch = load_checkpoint(cut / "checkpoints" / "last.ckpt")["epoch"]
    assert schedule_of(cut)["last_epoch"] == epoch + (batch % 10 == 1)
    fit(Plateaus(), cut, val=loader(), ckpt=cut / "checkpoints" / "last.ckpt", max_epochs=4)
    for key in ("last_epoch", "num_bad_epochs", "_last_lr"):
        assert schedule_of(cut)[key] == schedule_of(whole)[key]
    assert schedule_of(whole)["_last_lr"] == pytest.approx([1e-4])  # of four epochs the first alone was better


def test_a_plain_trainers_order_is_the_same(tmp_path: Path) -> None:
    """With Kindling's Trainer a plateau steps before the checkpoint, and once."""
    rates: list[list[float]] = []
    for kind in (Trainer, L.Trainer):

        class Rates(L.Callback):
            def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
                rates[-1].append(trainer.optimizers[0].param_groups[0]["lr"])

        rates.append([])
        trainer = kind(max_epochs=4, logger=False, callbacks=[Rates()], enable_checkpointing=False, **QUIET)
        trainer.fit(Plateaus(), loader(), loader())
    assert rates[0] == rates[1] == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_loss_tensors_are_kept_apart(tmp_path: Path) -> None:
    kept = fit(Validated(), tmp_path, val=loader())
    assert isinstance(kept.best_model_score, Tensor)
