from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from sklearn.metrics import confusion_matrix
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kindling.callbacks import default
from kindling.callbacks.confusion_matrix import ConfusionMatrix, draw_confusion_matrix
from kindling.data.base import Data
from kindling.data.digits import Digits
from kindling.data.synthetic import SyntheticRegression
from kindling.models.mlp import MLP


class Recorded(ConfusionMatrix):
    """Remembers what was drawn, instead of looking at pixels."""

    def _draw(self, trainer: L.Trainer, stage: str, counts: np.ndarray) -> None:
        self.last = stage, counts
        super()._draw(trainer, stage, counts)


def train(callback: ConfusionMatrix, data: Data, folder: Path) -> L.Trainer:
    model = MLP(input_shape=data.input_shape, classes=data.classes, targets=data.targets, hidden_sizes=[16])
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    logger = TensorBoardLogger(folder, default_hp_metric=False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=3, logger=logger, callbacks=[callback], **quiet)  # type: ignore
    trainer.fit(model, datamodule=data)
    return trainer


def test_it_draws_the_best_validation_and_the_test(tmp_path: Path) -> None:
    callback, data = Recorded(), Digits()
    trainer = train(callback, data, tmp_path)
    assert callback.last[0] == "val"
    assert callback.last[1].sum() == 270
    trainer.test(trainer.lightning_module, datamodule=data, verbose=False)

    stage, counts = callback.last
    inputs, targets = data.sets["test"][torch.arange(360)]
    with torch.no_grad():
        predictions = trainer.lightning_module.eval()(inputs).argmax(1)
    assert stage == "test"
    assert np.array_equal(counts, confusion_matrix(targets, predictions))

    assert trainer.log_dir
    for name in ("val", "test"):
        assert Image.open(Path(trainer.log_dir, "figures", f"{name}_confusion_matrix.png")).size > (300, 300)
    trainer.loggers[0].finalize("success")
    events = EventAccumulator(trainer.log_dir).Reload()
    assert set(events.Tags()["images"]) == {"val/confusion_matrix", "test/confusion_matrix"}


def test_a_validation_that_does_not_improve_is_not_drawn(tmp_path: Path) -> None:
    callback = Recorded()
    callback.best = -1.0  # no loss is lower
    train(callback, Digits(), tmp_path)
    assert not hasattr(callback, "last")


@pytest.mark.parametrize(
    ("data", "callback"), [(SyntheticRegression(), Recorded()), (Digits(), Recorded(max_classes=9))]
)
def test_data_without_classes_or_with_too_many_gets_none(data: Data, callback: Recorded, tmp_path: Path) -> None:
    train(callback, data, tmp_path)
    assert not hasattr(callback, "last")
    assert callback.outputs == []  # and costs no memory


def test_the_heatmap_is_an_image() -> None:
    image = draw_confusion_matrix(np.array([[5, 1], [0, 4]]), ["a rather long name", "b"])
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.min() < 100 < image.max()


def test_it_is_on_by_default() -> None:
    assert default()["confusion_matrix"] is ConfusionMatrix
