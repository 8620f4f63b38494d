"""What the tasks measure against scikit-learn: random classes, units and batches, and what is undefined."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.calibration import calibration_curve

from kindling.tasks import BinaryClassification, Classification, MultilabelClassification, Regression, Task
from kindling.tasks.measures import BINS, WeightedMean

SEEDS = range(12)


def measured(task: Task, scores: torch.Tensor, targets: torch.Tensor, size: int) -> dict[str, float]:
    """What the validation says of scores and targets that come in batches of a size."""
    for start in range(0, len(targets), size):
        task.val_metrics.update(scores[start : start + size], targets[start : start + size])
    found = {name.removeprefix("val/"): float(value) for name, value in task.val_metrics.compute().items()}
    task.take_notes(task.val_metrics)
    task.val_metrics.reset()
    return found


def built(task: Task, count: int) -> Task:
    task.build(task.fits, count)
    return task


def of_classes(truths: np.ndarray, predictions: np.ndarray, **means: Any) -> dict[str, float]:
    """Precision, recall and F1 by scikit-learn."""
    scores = metrics.precision_recall_fscore_support(truths, predictions, zero_division=np.nan, **means)
    return dict(zip(("precision", "recall", "f1"), scores, strict=False))


def area(truths: np.ndarray, scores: np.ndarray) -> float:
    one_sided = len(np.unique(truths)) < 2  # where scikit-learn warns and gives NaN
    return math.nan if one_sided else float(metrics.roc_auc_score(truths, scores))


def mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def gap(right: np.ndarray, sureness: np.ndarray) -> float:
    """The calibration error from scikit-learn's curve."""
    share, sure = calibration_curve(right, sureness, n_bins=BINS)
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    counts = np.bincount(np.searchsorted(inner, sureness), minlength=BINS)
    return float(np.abs(share - sure) @ counts[counts > 0] / len(right))


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_of_any_balance_some_of_which_are_not_there(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, samples, size = int(random.integers(2, 8)), int(random.integers(1, 300)), int(random.integers(1, 100))
    there, guessed = (random.permutation(count)[: random.integers(1, count + 1)] for _ in range(2))
    targets, favoured = random.choice(there, samples), random.choice(guessed, samples)
    logits = random.normal(size=(samples, count)) + 3 * np.eye(count)[favoured]
    scores = torch.from_numpy(logits).float().softmax(dim=1)
    p = scores.double().numpy()
    predictions, labels = p.argmax(axis=1), np.unique(targets)
    expected = {
        "accuracy": metrics.accuracy_score(targets, predictions),
        **of_classes(targets, predictions, average="macro", labels=labels),
        "auroc": mean([area(targets == index, p[:, index]) for index in range(count)]),
        "calibration_error": gap(predictions == targets, p.max(axis=1)),
    }
    task = built(Classification(), count)
    found = measured(task, scores, torch.from_numpy(targets), size)
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert found == pytest.approx(measured(task, scores, torch.from_numpy(targets), 7), abs=0, nan_ok=True)
    assert ("val/recall" in task.notes) == (len(labels) < count)
    assert {name for name, value in found.items() if math.isnan(value)} <= {each[4:] for each in task.notes}


@pytest.mark.parametrize("seed", SEEDS)
def test_yes_and_no_of_any_balance(seed: int) -> None:
    random = np.random.default_rng(seed)
    samples, share = int(random.integers(1, 300)), random.choice([0.0, 0.02, 0.5, 1.0])
    targets = (random.random(samples) < share).astype(int)
    threshold = float(random.choice([0.1, 0.5, 0.99]))
    scores = torch.from_numpy(random.random(samples).round(2)).float()  # with ties
    p = scores.double().numpy()
    predictions = (scores > threshold).numpy().astype(int)
    expected = {
        "accuracy": metrics.accuracy_score(targets, predictions),
        **of_classes(targets, predictions, average="binary"),
        "auroc": area(targets, p),
        "calibration_error": gap(targets, p),
    }
    found = measured(built(BinaryClassification(threshold=threshold), 2), scores, torch.from_numpy(targets), 32)
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_several_classes_a_sample_some_of_which_are_not_there(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, samples = int(random.integers(1, 6)), int(random.integers(1, 200))
    targets = (random.random((samples, count)) < random.choice([0.0, 0.05, 0.6, 1.0], count)).astype(int)
    scores = torch.from_numpy(random.random((samples, count)) * random.choice([0.4, 1.0], count)).float()
    p, labels = scores.double().numpy(), np.flatnonzero(targets.any(axis=0))
    predictions = (scores > 0.5).numpy().astype(int)
    of_each = [of_classes(targets[:, k], predictions[:, k], average="binary") for k in labels]
    expected = {
        "accuracy": float((predictions == targets).mean()),
        **{name: mean([each[name] for each in of_each]) for name in ("precision", "recall", "f1")},
        "auroc": mean([area(targets[:, k], p[:, k]) for k in range(count)]),
    }
    found = measured(built(MultilabelClassification(), count), scores, torch.from_numpy(targets), 32)
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("offset", [0.0, 1.0, -311_030.0, 1e9])
@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 7.0, 1e9])
def test_numbers_in_any_unit_and_far_from_zero(unit: float, offset: float) -> None:
    random = np.random.default_rng(0)
    targets = offset + unit * random.normal(size=(301, 2))
    targets = torch.from_numpy(targets).float()
    task = built(Regression(), 2)
    task.start(SimpleNamespace(augment=None, train_targets=targets))
    scores = task.scores(torch.from_numpy(random.normal(size=(301, 2))).float())
    y, p = targets.double().numpy(), scores.double().numpy()
    of_each = metrics.r2_score(y, p, multioutput="raw_values", force_finite=False)
    varies = np.ptp(y, axis=0) > 0
    expected = {
        "mae": metrics.mean_absolute_error(y, p),
        "rmse": metrics.root_mean_squared_error(y, p),
        "r2": float(of_each[varies].mean()) if varies.any() else math.nan,
    }
    for size in (301, 10):
        assert measured(task, scores, targets, size) == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_r2_of_a_target_that_is_all_alike_is_left_out() -> None:
    task = built(Regression(), 2)
    targets = torch.stack([torch.full((50,), 0.1), torch.arange(50.0)], dim=1)
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    found = measured(task, targets + noise, targets, 50)
    assert found["r2"] == pytest.approx(metrics.r2_score(targets[:, 1], (targets + noise)[:, 1]), abs=1e-6)
    left_out = "a mean over 1 of 2 targets: it is undefined where all targets are equal"
    assert task.notes == {"val/r2": left_out}
    found = measured(built(alone := Regression(), 1), noise[:, :1], targets[:, :1], 50)
    assert math.isnan(found["r2"])
    assert alone.notes == {"val/r2": "undefined where all targets are equal"}


def test_what_a_model_that_has_diverged_gives_is_no_number() -> None:
    scores, targets = torch.full((9, 3), math.nan), torch.arange(9) % 3
    found = measured(built(task := Classification(), 3), scores, targets, 9)
    assert math.isnan(found["auroc"])
    assert task.notes == {}
    assert math.isnan(measured(built(Regression(), 3), scores, scores, 9)["mae"])


@pytest.mark.parametrize(
    ("weights", "smoothing"), [(None, 0.1), ([1.0, 20.0, 0.5], 0.1), ([1.0, 20.0, 0.5], 0.0), ([1.0, 20.0, 0.0], 0.0)]
)
def test_the_loss_of_a_split_does_not_depend_on_its_batches(weights: list[float] | None, smoothing: float) -> None:
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(100, 3, generator=random), torch.randint(3, (100,), generator=random)
    targets[:10] = 2  # a batch that can weigh nothing
    task = built(Classification(class_weights=weights, label_smoothing=smoothing), 3)
    whole = float(task.loss_of(logits, targets))
    for size in (1, 10, 33):
        for part in torch.arange(100).split(size):
            weight = task.loss_weight(targets[part])
            task.val_loss.update(task.loss_of(logits[part], targets[part]), len(part) if weight is None else weight)
        assert float(task.val_loss.compute()) == pytest.approx(whole, rel=1e-6)
        task.val_loss.reset()


def test_a_loss_that_is_no_number_is_not_left_out() -> None:
    loss = WeightedMean()
    loss.update(torch.tensor(math.nan), 3)
    loss.update(torch.tensor(1.0), 3)
    assert math.isnan(loss.compute())
