import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from sklearn.metrics import confusion_matrix
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kindling.cli.fit import default_callbacks
from kindling.data.base import Data
from kindling.figures import FIGURES
from kindling.figures.callback import WORST, Figures
from kindling.figures.results import Results
from kindling.tasks import BinaryClassification, Task
from my_project.data.digits import Digits
from my_project.data.synthetic import SyntheticMultilabel, SyntheticRegression
from my_project.data.tables import BreastCancer
from my_project.models.mlp import MLP

pytestmark = pytest.mark.figures


class Recorded(Figures):
    """Remembers what was drawn, instead of looking at pixels."""

    def _draw(self, trainer: L.Trainer, stage: str, results: Any) -> None:
        self.last = stage, results
        super()._draw(trainer, stage, results)


def train(callback: Figures, data: Data, folder: Path, task: Task | None = None) -> L.Trainer:
    sizes: dict[str, Any] = {"classes": data.classes, "targets": data.targets, "multilabel": data.multilabel}
    model = MLP(input_shape=data.input_shape, hidden_sizes=[16], task=task, **sizes)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    logger = TensorBoardLogger(folder, default_hp_metric=False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=3, logger=logger, callbacks=[callback], **quiet)  # type: ignore
    trainer.fit(model, datamodule=data)
    return trainer


def drawn(trainer: L.Trainer) -> set[str]:
    assert trainer.log_dir
    return {path.stem for path in Path(trainer.log_dir, "figures").glob("*.png")}


def test_it_draws_the_best_validation_and_the_test(tmp_path: Path) -> None:
    callback, data = Recorded(), Digits()
    trainer = train(callback, data, tmp_path)
    stage, results = callback.last
    assert stage == "val"
    assert len(results.targets) == 270
    trainer.test(trainer.lightning_module, datamodule=data, verbose=False)

    stage, results = callback.last
    inputs, targets = data.sets["test"][slice(None)]  # type: ignore[index]
    with torch.no_grad():
        p = trainer.lightning_module.eval()(inputs).softmax(1)
    assert stage == "test"
    assert torch.equal(results.targets, targets)
    torch.testing.assert_close(results.scores, p)

    images, truths, predictions = results.worst
    sureness = p[torch.arange(360), targets]
    worst = sureness.argsort()[:WORST]
    torch.testing.assert_close(images, inputs[worst])
    assert truths.tolist() == targets[worst].tolist()
    assert predictions.tolist() == p[worst].argmax(1).tolist()

    names = {"confusion_matrix", "curves", "worst_images"}
    assert drawn(trainer) == {f"test_{name}" for name in names} | {f"val_{name}" for name in names - {"worst_images"}}
    trainer.loggers[0].finalize("success")
    events = EventAccumulator(str(trainer.log_dir)).Reload()
    assert set(events.Tags()["images"]) == {name.replace("_", "/", 1) for name in drawn(trainer)}


@pytest.mark.parametrize(
    ("data", "task", "expected"),
    [
        (SyntheticRegression(num_targets=2), None, {"regression"}),
        (SyntheticMultilabel(), None, {"curves"}),
        (BreastCancer(), BinaryClassification(), {"curves", "confusion_matrix"}),
    ],
    ids=["regression", "multilabel", "binary"],
)
def test_each_task_gets_the_figures_that_fit(data: Data, task: Task | None, expected: set[str], tmp_path: Path) -> None:
    assert drawn(train(Figures(), data, tmp_path, task)) == {f"val_{name}" for name in expected}


def test_a_validation_that_does_not_improve_is_not_drawn(tmp_path: Path) -> None:
    callback = Recorded()
    callback.best = -1.0  # no loss is lower
    train(callback, Digits(), tmp_path)
    assert not hasattr(callback, "last")
    assert callback.outputs == []  # and no memory is kept


def results(kind: str, classes: int, size: int = 60) -> Results:
    scores = torch.rand(size, classes, generator=torch.Generator().manual_seed(0)).softmax(1)
    targets = torch.arange(size) % classes
    return Results(kind, [f"a rather long name {i}" for i in range(classes)], targets, scores.argmax(1), scores)


def test_the_heatmap_counts_what_scikit_learn_counts() -> None:
    given = results("one class a sample", 4)
    figure = FIGURES["confusion_matrix"](given)
    counts = np.array([int(text.get_text()) for text in figure.axes[0].texts]).reshape(4, 4)
    assert np.array_equal(counts, confusion_matrix(given.targets, given.predictions))


def test_each_class_has_its_curves() -> None:
    figure = FIGURES["curves"](results("one class a sample", 4))
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]


def test_of_two_classes_the_positive_one_has_curves() -> None:
    given = results("one class a sample", 2)
    given.scores = given.scores[:, 1]
    assert [len(axes.lines) for axes in FIGURES["curves"](given).axes] == [1, 1]


def test_a_class_without_samples_has_no_curve() -> None:
    given = results("one class a sample", 4)
    given.targets = given.targets.clamp(max=2)
    assert [len(axes.lines) for axes in FIGURES["curves"](given).axes] == [3, 3]


@pytest.mark.parametrize(("figure", "classes"), [("confusion_matrix", 51), ("curves", 21)])
def test_too_many_classes_get_none(figure: str, classes: int) -> None:
    assert FIGURES[figure](results("one class a sample", classes)) is None


def test_wrong_images_are_titled_red() -> None:
    given = results("one class a sample", 3)
    given.worst = torch.rand(8, 3, 6, 6), torch.tensor([0, 1] * 4), torch.zeros(8, dtype=torch.long)
    figure = FIGURES["worst_images"](given)
    titles = figure.axes[0].texts
    assert [title.get_color() for title in titles] == ["black", "red"] * 4
    assert titles[1].get_text() == "a rather long name 1 → a rather long name 0"


def test_switched_off_nothing_is_drawn(kindling: Any) -> None:
    few = ["--trainer.max_epochs", 1, "--trainer.accelerator", "cpu"]
    assert kindling("fit", "--config", "configs/digits_mlp.yaml", "--figures.enabled", "false", *few).code == 0
    assert not Path("lightning_logs/digits_mlp/version_0/figures").exists()


@pytest.mark.parametrize("config", ["digits_mlp", "multilabel", "diabetes"])
def test_a_model_that_diverged_gets_none_and_its_results_are_kept(config: str, kindling: Any) -> None:
    far = ["--model.optimizer", "SGD", "--model.optimizer.lr", "1e30", "--trainer.gradient_clip_val", "null"]
    far += ["--non_finite.action", "ignore"]
    told = kindling("fit", "--config", f"configs/{config}.yaml", *far, "--trainer.max_epochs", 2)
    assert (told.code, told.err) == (0, "")
    assert "stopped early: " in told.out
    run = Path("lightning_logs", config, "version_0")
    assert not list(run.glob("figures/test_*"))
    assert json.loads((run / "results.json").read_text())["test"]["loss"] is None


def test_a_figure_is_an_image_of_some_size(tmp_path: Path) -> None:
    trainer = train(Figures(), Digits(), tmp_path)
    assert trainer.log_dir
    for path in Path(trainer.log_dir, "figures").glob("*.png"):
        assert Image.open(path).size > (300, 300)


def test_it_is_on_by_default() -> None:
    assert default_callbacks()["figures"] is Figures
