"""Early stopping of any LightningModule: what it watches, and when it stays out of the way."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import callbacks
from simple_modules import QUIET, Plain, loader

from kindling.core.errors import UsageError
from kindling.train.callbacks import Checkpoint, EarlyStopping
from kindling.train.trainer import Trainer


class Scripted(Plain):
    """Logs given values, one a validation."""

    def __init__(self, name: str = "val_loss", values: tuple[float, ...] = (3, 2, 1, 1, 1, 1, 1, 1)) -> None:
        super().__init__()
        self.name, self.values = name, values

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log(self.name, self.values[self.current_epoch])


class Brings(Scripted):
    """Has an EarlyStopping of its own."""

    def configure_callbacks(self) -> Any:
        return [callbacks.EarlyStopping("val_loss", patience=4)]


def epochs(module: Any, *stopping: Any, val: bool = True, **settings: Any) -> int:
    """How many of eight epochs are trained."""
    settings = {"max_epochs": 8, "logger": False, "enable_checkpointing": False, **QUIET, **settings}
    trainer = Trainer(callbacks=list(stopping), **settings)
    trainer.fit(module, loader(), loader() if val else None)
    return trainer.current_epoch


UP, DOWN = (1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0), (3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "values", "asked", "expected"),
    [
        ("val_loss", DOWN, {}, 5),
        ("val/loss", DOWN, {}, 5),
        ("val/loss", UP, {}, 3),
        ("val_loss", UP, {"mode": "max"}, 5),
        ("val_acc", UP, {"monitor": "val_acc"}, 5),
        ("val_acc", DOWN, {"monitor": "val_acc"}, 3),
        ("elbo", UP, {"monitor": "elbo", "mode": "max"}, 5),
        ("val_acc", DOWN, {}, 8),  # no loss, and nobody has named another: it stays silent
        ("val_loss", UP, {"patience": None}, 8),
        ("val_loss", (5.0, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3), {"min_delta": 0.5}, 3),
        ("val_acc", (5.0, 5.1, 5.2, 5.3, 5.4, 5.5, 5.6, 5.7), {"min_delta": 0.5, "monitor": "val_acc"}, 3),
    ],
)
def test_it_stops_after_validations_without_improvement(
    name: str, values: Any, asked: dict[str, Any], expected: int
) -> None:
    assert epochs(Scripted(name, values), EarlyStopping(**{"patience": 2, **asked})) == expected


def test_the_modules_monitor_is_watched() -> None:
    module = Scripted("val_acc", UP)
    module.monitor = "val_acc"  # type: ignore[assignment]
    assert epochs(module, EarlyStopping(patience=2)) == 5


def test_without_validation_it_is_silent() -> None:
    assert epochs(Plain(), EarlyStopping(patience=0), val=False) == 8
    assert epochs(Plain(), EarlyStopping("val_loss", patience=0), val=False) == 8


def test_a_metric_of_the_training_can_be_watched() -> None:
    assert epochs(Plain(), EarlyStopping("train_loss", patience=0, min_delta=100.0), val=False) == 2


def test_two_can_watch_a_metric_each() -> None:
    """The patience of the first is longer."""
    both = EarlyStopping("val_loss", patience=5), EarlyStopping("train_loss", patience=1, min_delta=100.0)
    assert epochs(Scripted(), *both) == 2


@pytest.mark.parametrize("asked", ["val_los", "reward"])
def test_a_misspelt_metric_is_refused_though_nothing_is_saved(asked: str) -> None:
    with pytest.raises(
        UsageError, match=f"EarlyStopping monitors {asked}, which is never logged; logged metrics: .*val_loss"
    ):
        epochs(Scripted(), EarlyStopping(asked))


def test_a_metric_that_is_seldom_validated_is_not_refused_before(tmp_path: Path) -> None:
    assert epochs(Scripted("quality"), EarlyStopping("quality", "min"), check_val_every_n_epoch=3) == 8


@pytest.mark.parametrize(
    ("module", "others", "expected"),
    [(Brings(), [], 7), (Scripted(), [callbacks.EarlyStopping("val_loss", patience=4)], 7)],
    ids=["the module's", "the trainer's"],
)
def test_it_stands_back_for_another(
    module: Any, others: list[Any], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert epochs(module, EarlyStopping(patience=1), *others) == expected
    told = "note   early_stopping does nothing: another EarlyStopping watches val_loss\n"
    assert told in capsys.readouterr().out


def test_its_count_goes_on_with_a_resume_and_starts_anew_with_another_metric(tmp_path: Path) -> None:
    def train(stopping: EarlyStopping, ckpt: Path | None, until: int) -> int:
        kept = Checkpoint()
        kept.dirpath = str(tmp_path)
        trainer = Trainer(
            max_epochs=until, logger=False, callbacks=[stopping, kept], default_root_dir=tmp_path, **QUIET
        )
        trainer.fit(Scripted(values=DOWN), loader(), loader(), ckpt_path=ckpt, weights_only=True)
        return trainer.current_epoch

    assert train(EarlyStopping(patience=3), None, 5) == 5  # two without improvement
    last = tmp_path / "last.ckpt"
    before = last.read_bytes()
    for stopping, expected in (
        (EarlyStopping(patience=3), 6),
        (EarlyStopping("val_loss", patience=3), 6),
        (EarlyStopping("val_loss", "max", patience=3), 8),  # the first counts as the best
    ):
        last.write_bytes(before)
        assert train(stopping, last, 8) == expected


RECOVERS = (3.0, 3.0, 3.0, 2.0, 1.0, 0.5, 0.5, 0.5)  # patience runs out in the third epoch


@pytest.mark.parametrize(("least", "expected"), [(1, 3), (3, 3), (5, 8), (7, 8)])
def test_after_min_epochs_it_decides_anew(least: int, expected: int) -> None:
    stopping = EarlyStopping(patience=2)
    assert epochs(Scripted(values=RECOVERS), stopping, min_epochs=least) == expected
    assert bool(stopping.stopping_reason_message)  # in the end it stopped, or was about to


def test_what_has_not_recovered_stops_after_min_epochs() -> None:
    assert epochs(Scripted(values=(3.0,) * 8), EarlyStopping(patience=2), min_epochs=6) == 6
