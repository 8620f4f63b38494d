import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kindling.cli.build import default_callbacks
from kindling.data.base import Data
from kindling.figures import drawing
from kindling.figures.callback import WORST, Figures, checkpoint_callback
from kindling.figures.results import Results
from kindling.tasks import BinaryClassification, Classification, Regression, Task
from my_project.data.digits import Digits
from my_project.data.shapes import ShapesMasks
from my_project.data.synthetic import SyntheticMultilabel, SyntheticRegression
from my_project.data.tables import BreastCancer
from my_project.models.mlp import MLP
from my_project.models.unet import UNet

pytestmark = pytest.mark.figures


class Recorded(Figures):
    """Remembers what was drawn, instead of looking at pixels."""

    def _draw(self, trainer: L.Trainer, stage: str, results: Any) -> None:
        self.last = stage, results
        super()._draw(trainer, stage, results)


def train(
    callback: Figures, data: Data, folder: Path, task: Task | None = None, checkpoint: ModelCheckpoint | None = None
) -> L.Trainer:
    sizes: dict[str, Any] = {"classes": data.classes, "targets": data.targets, "multilabel": data.multilabel}
    model = MLP(input_shape=data.input_shape, hidden_sizes=[16], task=task, **sizes)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": bool(checkpoint)}
    logger, callbacks = (
        TensorBoardLogger(folder, default_hp_metric=False),
        [each for each in (callback, checkpoint) if each],
    )
    trainer = L.Trainer(accelerator="cpu", max_epochs=3, logger=logger, callbacks=callbacks, **quiet)  # type: ignore
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
    callback.best = {"val/loss": -1.0}  # no loss is lower
    train(callback, Digits(), tmp_path, checkpoint=ModelCheckpoint(tmp_path, monitor="val/loss"))
    assert not hasattr(callback, "last")
    assert callback.outputs == []  # and no memory is kept


def results(classes: int, size: int = 60) -> Results:
    scores = torch.rand(size, classes, generator=torch.Generator().manual_seed(0)).softmax(1)
    targets = torch.arange(size) % classes
    return Results([f"a rather long name {i}" for i in range(classes)], targets, scores.argmax(1), scores)


def test_the_heatmap_counts_what_scikit_learn_counts() -> None:
    given = results(4)
    figure = drawing("confusion_matrix")(given)
    counts = np.array([int(text.get_text()) for text in figure.axes[0].texts]).reshape(4, 4)
    assert np.array_equal(counts, confusion_matrix(given.targets, given.predictions))


def test_each_class_has_its_curves() -> None:
    figure = drawing("curves")(results(4))
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]


def test_of_two_classes_the_positive_one_has_curves() -> None:
    given = results(2)
    given.scores = given.scores[:, 1]
    assert [len(axes.lines) for axes in drawing("curves")(given).axes] == [1, 1]


def test_a_class_without_samples_has_no_curve() -> None:
    given = results(4)
    given.targets = given.targets.clamp(max=2)
    assert [len(axes.lines) for axes in drawing("curves")(given).axes] == [3, 3]


@pytest.mark.parametrize(("figure", "classes"), [("confusion_matrix", 51), ("curves", 21)])
def test_too_many_classes_get_none(figure: str, classes: int) -> None:
    assert drawing(figure)(results(classes)) is None


def test_wrong_images_are_titled_red() -> None:
    given = results(3)
    given.worst = torch.rand(8, 3, 6, 6), torch.tensor([0, 1] * 4), torch.zeros(8, dtype=torch.long)
    figure = drawing("worst_images")(given)
    titles = figure.axes[0].texts
    assert [title.get_color() for title in titles] == ["black", "red"] * 4
    assert titles[1].get_text() == "a rather long name 1 → a rather long name 0"


def masked(size: int = 100) -> ShapesMasks:
    return ShapesMasks(size=size, side=16, batch_size=8)


def train_on_masks(callback: Figures, folder: Path) -> L.Trainer:
    data = masked()
    model = UNet(input_shape=data.input_shape, classes=data.classes, width=4, depth=1)
    logger = TensorBoardLogger(folder, default_hp_metric=False)
    trainer = short_training(callback, folder, logger=logger, max_epochs=4, limit_train_batches=None)
    trainer.fit(model, datamodule=data)
    return trainer


def test_the_masks_that_went_worst_are_drawn_and_no_others_are_kept(tmp_path: Path) -> None:
    callback = Recorded()
    trainer = train_on_masks(callback, tmp_path)
    assert callback.outputs == []
    assert callback.last[0] == "val"
    data = masked(200)  # 40 for the test
    trainer.test(trainer.lightning_module, datamodule=data, verbose=False)
    assert drawn(trainer) == {"val_worst_masks", "test_worst_masks"}

    inputs, masks = data.sets["test"][slice(None)]  # type: ignore[index]
    with torch.no_grad():
        predictions = trainer.lightning_module.eval()(inputs).argmax(dim=1)
    iou = [
        jaccard_score(mask.flatten(), found.flatten(), labels=mask.unique(), average="macro")
        for mask, found in zip(masks, predictions, strict=True)
    ]
    stage, results = callback.last
    assert stage == "test"
    assert len(results.scores) == WORST
    np.testing.assert_allclose(results.scores, np.sort(iou)[:WORST], atol=1e-6)
    places = [(inputs == image).flatten(1).all(dim=1).nonzero().item() for image in results.worst[0]]
    assert len({*places}) == WORST
    np.testing.assert_allclose(results.scores, [iou[place] for place in places], atol=1e-6)
    assert torch.equal(results.worst[1], masks[places].long())
    assert torch.equal(results.worst[2], predictions[places])


def test_a_mask_is_drawn_beside_its_image_and_what_is_no_class_is_white() -> None:
    given = results(3)
    masks = torch.tensor([[[0, 1, 2], [2, 255, 0]]]).repeat(5, 1, 1)
    given.scores, given.worst = torch.linspace(0, 0.4, 5), (torch.rand(5, 2, 2, 3), masks, masks)
    figure = drawing("worst_masks")(given)
    assert [axes.get_title() for axes in figure.axes[:5]] == [f"IoU 0.{index}00" for index in range(5)]
    picture = np.asarray(figure.axes[0].images[0].get_array())[1:-1]  # two rows of pixels
    true, predicted = picture[:, 6:9], picture[:, 11:14]
    assert np.array_equal(true, predicted)
    expected = [[(0, 0, 0), (128, 0, 0), (0, 128, 0)], [(0, 128, 0), (255, 255, 255), (0, 0, 0)]]
    assert np.array_equal((true * 255).round(), expected)
    given.worst = torch.rand(5, 1, 2, 2), torch.zeros(5).long(), torch.zeros(5).long()  # of no masks
    assert drawing("worst_masks")(given) is None
    given.worst = torch.rand(5, 2, 2, 3), masks, masks
    assert drawing("worst_images")(given) is None


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


@pytest.mark.parametrize(
    ("monitor", "mode", "before", "now", "expected"),
    [
        ("val/loss", "min", {"val/loss": 0.5}, {"val/loss": 0.4}, True),
        ("val/loss", "min", {"val/loss": 0.5}, {"val/loss": 0.5}, False),
        ("val/loss", "min", {"val/loss": float("nan")}, {"val/loss": 0.5}, True),
        ("val/loss", "min", {"val/loss": 0.5}, {"val/loss": float("nan")}, False),
        ("val/accuracy", "max", {"val/loss": 0.5, "val/accuracy": 0.8}, {"val/loss": 0.4, "val/accuracy": 0.7}, False),
        ("val/accuracy", "max", {"val/loss": 0.4, "val/accuracy": 0.8}, {"val/loss": 0.5, "val/accuracy": 0.9}, True),
        ("val/loss", "min", {}, {"val/loss": 0.5}, True),
        (None, "min", {"val/loss": 0.4}, {"val/loss": 0.5}, True),
    ],
)
def test_best_is_what_the_checkpoints_are_chosen_by(
    monitor: str | None, mode: Any, before: dict[str, float], now: dict[str, float], expected: bool
) -> None:
    callback = Figures()
    callback.load_state_dict({"best": before})
    assert callback._is_best(ModelCheckpoint(monitor=monitor, mode=mode), now) is expected
    assert callback._is_best(None, now)  # without checkpoints the last one is drawn


def test_the_checkpoints_are_the_engines_not_those_that_a_module_brings() -> None:
    foreign, own = ModelCheckpoint(monitor="acc", mode="max"), ModelCheckpoint(filename="best", monitor="val/loss")
    assert checkpoint_callback(L.Trainer(callbacks=[foreign, own], logger=False)) is own
    assert checkpoint_callback(L.Trainer(callbacks=[foreign], logger=False)) is foreign
    assert checkpoint_callback(L.Trainer(enable_checkpointing=False, logger=False)) is None


def test_what_an_older_run_knew_of_its_best_is_let_go() -> None:
    callback = Figures()
    callback.load_state_dict({"best": 0.25})
    assert callback.state_dict() == {"best": {}}


def test_it_can_be_switched_off_in_python(tmp_path: Path) -> None:
    callback = Recorded(enabled=False)
    trainer = train(callback, Digits(), tmp_path)
    trainer.test(trainer.lightning_module, datamodule=Digits(), verbose=False)
    assert drawn(trainer) == set()
    assert callback.outputs == []


def short_training(callback: Figures, folder: Path, **options: Any) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "limit_train_batches": 2, "max_epochs": 1}
    return L.Trainer(default_root_dir=folder, accelerator="cpu", callbacks=[callback], **{**quiet, **options})


class Plain(BoringModel):
    """A plain LightningModule, whose steps return what they like."""

    def __init__(self, returned: Any = None, task: Any = None) -> None:
        super().__init__()
        self.returned, self.task = returned, task

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.returned

    test_step = validation_step


COMPLETE = {"scores": torch.rand(4, 2), "predictions": torch.zeros(4), "targets": torch.zeros(4)}
NUMBERS = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("returned", "task"),
    [
        (None, None),
        (torch.tensor(0.5), "multiclass"),  # as some call a task
        (COMPLETE, None),
        (None, Regression()),
        ({"loss": torch.tensor(0.5)}, Regression()),
        (COMPLETE | {"targets": [0] * 4}, Regression()),
        ({"scores": NUMBERS, "predictions": NUMBERS, "targets": NUMBERS}, Task()),  # which names no figures
        ({"scores": torch.rand(4, 3, 2, 2), "predictions": torch.zeros(4, 2, 2), "targets": torch.zeros(4, 2, 2)}, Classification()),
    ],
)  # fmt: skip
def test_of_what_has_no_declared_meaning_nothing_is_drawn(returned: Any, task: Any, tmp_path: Path) -> None:
    trainer = short_training(Figures(), tmp_path)
    trainer.fit(Plain(returned, task))
    trainer.test(Plain(returned, task), verbose=False)
    assert not list(tmp_path.rglob("*.png"))


class Named(Task):
    figures = ("elsewhere.heights",)


class Misnamed(Task):
    figures = ("confusion",)


class Gone(Task):
    figures = ("nowhere.heights",)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "heights.py").write_text(
        "from kindling.figures.results import new_figure\n"
        "def draw(results):\n"
        "    figure = new_figure(4, 4)\n"
        "    figure.subplots().bar(range(len(results.scores)), results.scores[:, 0])\n"
        "    return figure\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("elsewhere", "elsewhere.heights"):  # of another test
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_a_task_can_name_a_figure_of_its_project(elsewhere: None, tmp_path: Path) -> None:
    numbers = {"scores": NUMBERS, "predictions": NUMBERS, "targets": NUMBERS}
    trainer = short_training(Figures(), tmp_path, logger=TensorBoardLogger(tmp_path, default_hp_metric=False))
    trainer.fit(Plain(numbers, Named()))
    assert drawn(trainer) == {"val_heights"}


def test_a_figure_that_fails_ends_no_training(
    elsewhere: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere" / "heights.py").write_text("def draw(results):\n    return results.heights\n")
    numbers = {"scores": NUMBERS, "predictions": NUMBERS, "targets": NUMBERS}
    trainer = short_training(Figures(every_seconds=0), tmp_path)
    trainer.fit(Plain(numbers, Named()))
    assert trainer.state.finished
    told = "warning: can't draw the figure heights, and goes on without it: AttributeError: 'Results' object has no attribute"
    assert capsys.readouterr().out.count(told) == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Misnamed(), "the task Misnamed names the figure 'confusion': expected confusion_matrix, curves, loss_by_position, reconstructions, regression, worst_images, worst_masks"),
        (Gone(), "the task Gone names the figure 'nowhere.heights'"),
    ],
)  # fmt: skip
def test_a_figure_that_is_not_there_is_refused_before_the_training(task: Task, message: str, tmp_path: Path) -> None:
    trainer = L.Trainer(default_root_dir=tmp_path, accelerator="cpu", callbacks=[Figures()], enable_progress_bar=False)
    with pytest.raises(MisconfigurationException, match=message):
        trainer.fit(Plain(None, task))


class Several(Plain):
    """Returns other outputs for its second loader."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        values = NUMBERS + 100 * dataloader_idx
        return {"scores": values, "predictions": values, "targets": values}

    def val_dataloader(self) -> Any:
        return [super().val_dataloader(), super().val_dataloader()]


def test_of_several_loaders_the_first_is_drawn(tmp_path: Path) -> None:
    callback, few = Recorded(), {"limit_train_batches": 2, "limit_val_batches": 3}
    short_training(callback, tmp_path, **few).fit(Several(None, Regression()))
    assert torch.equal(callback.last[1].scores, NUMBERS.repeat(3, 1))


@pytest.mark.slow
def test_to_import_it_loads_no_plotting() -> None:
    code = "import sys, kindling.figures.callback; print({'seaborn', 'sklearn.metrics'} & {*sys.modules})"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_of_any_number_of_channels(channels: int) -> None:
    given = results(3)
    given.worst = torch.rand(4, channels, 6, 6), torch.tensor([0, 1] * 2), torch.zeros(4, dtype=torch.long)
    shown = drawing("worst_images")(given).axes[0].images[0].get_array()
    assert shown.shape[2] == 3
