"""Losses and metrics of the tasks against formulas and scikit-learn. The losses by name are in test_losses.py."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import child
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from kindling.core.errors import UsageError
from kindling.core.plain_values import plain
from kindling.data.image_augmentation import ImageAugmentation
from kindling.tasks import (
    DEFAULT_TASKS,
    BinaryClassification,
    Classification,
    MultilabelClassification,
    Regression,
    Task,
)
from kindling.tasks.base import TASK_FOR
from kindling.tasks.measures import names_in
from my_project.data.digits import Digits
from my_project.losses.focal import FocalLoss

ODD = [(0, 33), (33, 34), (34, 100)]  # batches


def build(task: Task, count: int) -> Task:
    task.build(task.fits, count)
    return task


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def measure(task: Task, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """The validation metrics over batches of odd sizes."""
    for start, stop in ODD:
        task.val_metrics.update(task.scores(outputs[start:stop]), targets[start:stop])
    return {name.removeprefix("val/"): float(value) for name, value in task.val_metrics.compute().items()}


def calibration_error(sureness: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Naeini et al., 2015: the gap between sureness and accuracy, by bin of sureness."""
    bin_of = np.clip(np.ceil(sureness * bins).astype(int) - 1, 0, bins - 1)
    parts = [(sureness[bin_of == i], right[bin_of == i]) for i in range(bins)]
    return sum(len(sure) * abs(sure.mean() - hits.mean()) for sure, hits in parts if len(sure)) / len(right)


def test_cross_entropy_with_smoothing_and_weights_equals_its_formula() -> None:
    logits, targets = random(100, 3), torch.arange(100) % 3
    weights = torch.tensor([1.0, 2.0, 3.0])
    task = build(Classification(label_smoothing=0.1, class_weights=weights.tolist()), 3)
    log_p = logits.log_softmax(1)
    right = -weights[targets] * log_p[torch.arange(100), targets]
    smooth = -(weights * log_p).sum(1) / 3
    expected = (0.9 * right + 0.1 * smooth).sum() / weights[targets].sum()
    torch.testing.assert_close(task.loss_of(logits, targets), expected)


def test_by_default_it_is_plain_cross_entropy() -> None:
    logits, targets = random(100, 3), torch.arange(100) % 3
    task = build(Classification(), 3)
    torch.testing.assert_close(task.loss_of(logits, targets), F.cross_entropy(logits, targets))


def test_classification_metrics_equal_scikit_learns() -> None:
    targets = torch.randint(3, (100,), generator=torch.Generator().manual_seed(1))
    logits = random(100, 3) + F.one_hot(targets, 3)
    task = build(Classification(), 3)
    predictions, p = task.decode(task.scores(logits)), logits.softmax(1).numpy()
    macro: dict[str, Any] = {"average": "macro"}
    assert measure(task, logits, targets) == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(targets, predictions),
            "precision": metrics.precision_score(targets, predictions, **macro),
            "recall": metrics.recall_score(targets, predictions, **macro),
            "f1": metrics.f1_score(targets, predictions, **macro),
            "auroc": metrics.roc_auc_score(targets, p, multi_class="ovr", **macro),
            "calibration_error": calibration_error(p.max(1), (predictions == targets).numpy()),
        },
        abs=1e-5,
    )


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_binary_metrics_equal_scikit_learns(threshold: float) -> None:
    targets = torch.randint(2, (100,), generator=torch.Generator().manual_seed(1))
    logits = random(100, 1) + targets[:, None]
    task = build(BinaryClassification(threshold=threshold), 2)
    p = logits[:, 0].sigmoid().numpy()
    predictions = task.decode(task.scores(logits))
    assert predictions.tolist() == (p > threshold).astype(int).tolist()
    assert measure(task, logits, targets) == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(targets, predictions),
            "precision": metrics.precision_score(targets, predictions),
            "recall": metrics.recall_score(targets, predictions),
            "f1": metrics.f1_score(targets, predictions),
            "auroc": metrics.roc_auc_score(targets, p),
            "calibration_error": calibration_error(p, targets.numpy()),
        },
        abs=1e-5,
    )


def test_multilabel_metrics_equal_scikit_learns() -> None:
    targets = torch.randint(2, (100, 4), generator=torch.Generator().manual_seed(1))
    logits = random(100, 4) + targets
    task = build(MultilabelClassification(threshold=0.6), 4)
    predictions = task.decode(task.scores(logits))
    macro: dict[str, Any] = {"average": "macro"}
    assert measure(task, logits, targets) == pytest.approx(
        {
            "accuracy": float((predictions == targets).float().mean()),
            "precision": metrics.precision_score(targets, predictions, **macro),
            "recall": metrics.recall_score(targets, predictions, **macro),
            "f1": metrics.f1_score(targets, predictions, **macro),
            "auroc": metrics.roc_auc_score(targets, logits.sigmoid(), **macro),
        },
        abs=1e-5,
    )


@pytest.mark.parametrize("count", [1, 3])
def test_regression_metrics_equal_scikit_learns(count: int) -> None:
    outputs, targets = random(100, count), random(100, count, seed=1) + 5
    task = build(Regression(), count)
    task.start(SimpleNamespace(augment=None, train_targets=targets))
    predictions = task.decode(task.scores(outputs))
    assert measure(task, outputs, targets) == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(targets, predictions),
            "rmse": metrics.root_mean_squared_error(targets, predictions),
            "r2": metrics.r2_score(targets, predictions),
        },
        rel=1e-4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("config", ["digits_mlp", "diabetes"])
def test_two_processes_measure_what_one_does(config: str, project: Path) -> None:
    few = ["--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", "--figures.enabled", "false"]
    assert child("fit", "--config", f"configs/{config}.yaml", *few, cwd=project).code == 0
    path = project / f"lightning_logs/{config}/version_0"
    alone = json.loads((path / "results.json").read_text())["test"]
    pair = child("test", "--run", path, "--trainer.accelerator", "cpu", "--trainer.devices", 2, cwd=project)
    assert pair.code == 0, pair.err
    both = json.loads((path / "test/results.json").read_text())["test"]
    assert both == pytest.approx(alone, rel=1e-4)
    assert "auroc" in both or "r2" in both


def test_metrics_of_a_whole_split_are_not_asked_of_a_batch() -> None:
    task, names = build(Classification(), 3), ["accuracy", "f1", "precision", "recall"]
    assert sorted(task.batch_metrics(random(9, 3), torch.arange(9) % 3)) == [f"train/{name}" for name in names]
    assert names_in(task.train_metrics) == names


class Focal(Classification):
    def __init__(self, gamma: float = 2.0, **classification: Any) -> None:
        super().__init__(**classification)
        self.gamma = gamma


class Forgetful(Classification):
    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()


def test_a_users_task_names_its_arguments() -> None:
    expected = {"class_weights": None, "gamma": 2.0, "label_smoothing": 0.1, "loss": None, "metrics": None}
    assert plain("task", Focal(label_smoothing=0.1))["init_args"] == expected
    with pytest.raises(ValueError, match="Forgetful must keep its argument gamma as self.gamma"):
        plain("task", Forgetful())


def test_a_tasks_loss_is_named_with_its_arguments() -> None:
    named = plain("task", Classification(loss=FocalLoss(gamma=1.0)))["init_args"]["loss"]
    assert named == {"class_path": "my_project.losses.focal.FocalLoss", "init_args": {"gamma": 1.0}}


def test_a_task_for_classes_saves_nothing_in_the_weights() -> None:
    assert build(Classification(class_weights=[1, 2, 3]), 3).state_dict() == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(label_smoothing=1.0), "label_smoothing is 1.0: expected a fraction"),
        (
            lambda: build(Classification(class_weights=[1.0]), 3),
            "class_weights has 1 values: expected one for each of 3",
        ),
        (
            lambda: Classification().build("numeric targets", 1),
            "Classification needs data with one class a sample: for numeric targets use task Regression",
        ),
        (
            lambda: Regression().build("one class a sample", 2),
            "Regression needs data with numeric targets: for one class a sample use task Classification",
        ),
        (lambda: Classification().build("several classes a sample", 2), "use task MultilabelClassification"),
        (lambda: build(BinaryClassification(), 3), "BinaryClassification needs data with two classes, not 3"),
    ],
)
def test_bad_arguments(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_mixed_targets() -> None:
    mixed, logits = torch.tensor([[0.3, 0.7], [1.0, 0.0]]), random(2, 2)
    expected = -(mixed * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(build(Classification(), 2).loss_of(logits, mixed), expected)


def test_mixed_targets_need_cross_entropy() -> None:
    data = Digits(augment=ImageAugmentation(mixup=0.4))
    build(Classification(), 10).start(data)
    for task in (build(Classification(loss=FocalLoss()), 10), build(BinaryClassification(), 2)):
        with pytest.raises(MisconfigurationException, match="mixup and cutmix need"):
            task.start(data)


class Labels:
    """Data as a task sees it at the start of a training."""

    augment = None

    def __init__(self, targets: torch.Tensor) -> None:
        self.train_targets = targets


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    targets = torch.tensor([0] * 6 + [1] * 3 + [2])
    task = Classification(class_weights="balanced")
    task.build("one class a sample", 3)
    task.start(Labels(targets))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets.numpy())
    np.testing.assert_allclose(task.criterion.weight.numpy(), expected, rtol=1e-6)
    binary = BinaryClassification(positive_weight="balanced")
    binary.build("one class a sample", 2)
    binary.start(Labels(torch.tensor([0, 0, 0, 1])))
    assert binary.criterion.pos_weight.tolist() == pytest.approx([3])
    several = MultilabelClassification(positive_weight="balanced")
    several.build("several classes a sample", 2)
    several.start(Labels(torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0]])))
    assert several.criterion.pos_weight.tolist() == pytest.approx([1 / 3, 3])
    copy = Classification(class_weights="balanced")
    copy.build("one class a sample", 3)
    copy.load_state_dict(task.state_dict())  # a checkpoint keeps them
    assert torch.equal(copy.criterion.weight, task.criterion.weight)


def test_predictions_as_columns() -> None:
    names = ["a", "b", "c"]
    one = Classification().columns(torch.tensor([[0.1, 0.7, 0.2]]), names)
    assert one["prediction"] == ["b"]
    assert one["probability_b"].tolist() == pytest.approx([0.7])
    two = BinaryClassification(threshold=0.8).columns(torch.tensor([0.75, 0.9]), names[:2])
    assert two["prediction"] == ["a", "b"]
    assert two["probability_a"].tolist() == pytest.approx([0.25, 0.1])
    several = MultilabelClassification().columns(torch.tensor([[0.9, 0.1, 0.6], [0.1, 0.2, 0.3]]), names)
    assert several["prediction"] == ["a;c", ""]
    number = Regression().columns(torch.tensor([[1.0, 2.0]]), ["x", "y"])
    assert {name: column.tolist() for name, column in number.items()} == {"prediction_x": [1.0], "prediction_y": [2.0]}
    assert one.keys() == {"prediction", "probability_a", "probability_b", "probability_c"}


def test_targets_as_columns() -> None:
    names = ["a", "b"]
    assert Classification().target_columns(torch.tensor([1, 0]), names) == {"target": ["b", "a"]}
    several = MultilabelClassification().target_columns(torch.tensor([[1, 1], [0, 1]]), names)
    assert several == {"target": ["a;b", "b"]}
    number = Regression().target_columns(torch.tensor([[1.0, 2.0]]), names)
    assert {name: column.tolist() for name, column in number.items()} == {"target_a": [1.0], "target_b": [2.0]}


def test_each_kind_of_targets_has_its_task() -> None:
    assert {targets: task.__name__ for targets, task in DEFAULT_TASKS.items()} == TASK_FOR


class Masks(Task):
    """A class for each pixel, without metrics: all that a task must have is a loss."""

    fits = "masks"

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)


@pytest.mark.parametrize("targets", [*TASK_FOR, "anything"])
def test_a_task_with_a_word_of_its_own_is_given_any_data(targets: str) -> None:
    task = Masks()
    task.build(targets, 3)
    assert task.num_outputs == 3


def test_a_task_for_known_targets_is_refused_for_words_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="needs data with one class a sample: for masks use task of your own"):
        Classification().build("masks", 3)


def test_a_task_that_says_little_measures_its_loss_alone() -> None:
    task, outputs, targets = build(Masks(), 3), random(5, 3, 4, 4), torch.zeros(5, 4, 4).long()
    assert (len(task.train_metrics), len(task.val_metrics), len(task.test_metrics)) == (0, 0, 0)
    assert task.batch_metrics(outputs, targets) == {}
    task.val_metrics.update(task.scores(outputs), targets)
    task.val_loss.update(task.loss_of(outputs, targets), len(targets))
    assert task.val_metrics.compute() == {}
    assert torch.equal(task.decode(task.scores(outputs)), outputs)
    assert float(task.val_loss.compute()) == pytest.approx(float(F.cross_entropy(outputs, targets)))
    assert not any(task.declares(method) for method in ("scores", "columns", "prepare"))
    assert task.declares("loss_of")
    assert task.figures == ()
    task.start(Labels(targets))
    with pytest.raises(MisconfigurationException, match="mixup and cutmix need"):
        task.start(Digits(augment=ImageAugmentation(mixup=0.4)))


def test_what_a_batch_holds_is_the_tasks_to_say() -> None:
    batch = (torch.zeros(2, 3), torch.ones(2), torch.full((2,), 7))
    assert Masks().inputs_of(batch) == batch[:-1]
    assert Masks().targets_of(batch) is batch[-1]


class Tried(Masks):
    """Tries its loss on outputs that have too few dimensions for it."""

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, 1, 4, 4), torch.ones(2, 4, 4).long() * count


def test_a_mistake_in_a_tasks_own_loss_keeps_its_words() -> None:
    with pytest.raises((IndexError, RuntimeError), match=r"(?i)out of bounds|target"):
        build(Tried(), 3)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("task", [Classification, MultilabelClassification, Regression])
def test_examples_are_what_the_loss_takes(task: type[Task], count: int) -> None:
    outputs, targets = build(task(), count).example(count)
    assert outputs.shape == (count + 1, count)
    assert len(targets) == count + 1


def test_training_metrics_of_a_single_sample() -> None:
    found = build(Classification(), 3).batch_metrics(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([1]))
    assert float(found["train/accuracy"]) == 1
    one = {
        name: float(value)
        for name, value in build(Regression(), 1).batch_metrics(torch.ones(1, 1), torch.zeros(1, 1)).items()
    }
    assert one == pytest.approx({"train/mae": 1, "train/rmse": 1, "train/r2": math.nan}, nan_ok=True)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 4), (4,), (4, 3, 2)])
def test_outputs_of_another_shape_are_none_that_it_can_speak_of(shape: tuple[int, ...]) -> None:
    outputs = torch.zeros(shape)
    for task in (build(Classification(), 3), build(Regression(), 3), build(MultilabelClassification(), 3)):
        task.check_outputs(torch.zeros(4, 3))
        with pytest.raises(UsageError, match=rf"{type(task).__name__} is for outputs of shape \(batch, 3\), but the"):
            task.check_outputs(outputs)
    build(Masks(), 3).check_outputs(outputs)


def test_outputs_that_are_no_tensor() -> None:
    with pytest.raises(UsageError, match="but the model gives tuple"):
        build(Classification(), 3).check_outputs((torch.zeros(4, 3), torch.zeros(4, 3)))
