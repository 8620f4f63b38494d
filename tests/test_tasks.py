from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F

from kindling.tasks import Classification, Regression, Task

CLASSES = ["a", "b", "c"]


def build(task: Task) -> Task:
    classification = isinstance(task, Classification)
    task.build(CLASSES if classification else None, None if classification else ["x", "y"])
    return task


def logits_and_classes(size: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, generator=generator), torch.randint(3, (size,), generator=generator)


def test_cross_entropy_with_smoothing_and_weights_equals_its_formula() -> None:
    logits, targets = logits_and_classes()
    weights = torch.tensor([1.0, 2.0, 3.0])
    task = build(Classification(label_smoothing=0.1, class_weights=weights.tolist()))
    log_p = logits.log_softmax(1)
    right = -weights[targets] * log_p[torch.arange(100), targets]
    smooth = -(weights * log_p).sum(1) / 3
    expected = (0.9 * right + 0.1 * smooth).sum() / weights[targets].sum()
    torch.testing.assert_close(task.loss(logits, targets), expected)


def test_by_default_it_is_plain_cross_entropy() -> None:
    logits, targets = logits_and_classes()
    torch.testing.assert_close(build(Classification()).loss(logits, targets), F.cross_entropy(logits, targets))


def test_classification_metrics_equal_scikit_learns_in_batches_of_odd_sizes() -> None:
    logits, targets = logits_and_classes()
    task = build(Classification())
    for start, stop in [(0, 33), (33, 34), (34, 100)]:
        task.val_metrics.update(logits[start:stop], targets[start:stop])
    values = {name: float(value) for name, value in task.val_metrics.compute().items()}
    predictions = task.decode(logits)
    assert values == pytest.approx(
        {
            "val/accuracy": metrics.accuracy_score(targets, predictions),
            "val/f1": metrics.f1_score(targets, predictions, average="macro"),
        }
    )


def test_regression_loss_and_metrics_equal_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(50, 2, generator=generator), torch.randn(50, 2, generator=generator)
    task = build(Regression())
    assert float(task.loss(outputs, targets)) == pytest.approx(metrics.mean_squared_error(targets, outputs))
    for start, stop in [(0, 7), (7, 50)]:
        task.test_metrics.update(outputs[start:stop], targets[start:stop])
    values = {name: float(value) for name, value in task.test_metrics.compute().items()}
    assert values == pytest.approx(
        {
            "test/mae": metrics.mean_absolute_error(targets, outputs),
            "test/rmse": np.sqrt(metrics.mean_squared_error(targets, outputs)),
            "test/r2": metrics.r2_score(targets, outputs),
        }
    )


class Focal(Classification):
    def __init__(self, gamma: float = 2.0, **classification: Any) -> None:
        super().__init__(**classification)
        self.gamma = gamma


class Forgetful(Classification):
    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()


def test_a_users_task_names_its_arguments() -> None:
    assert Focal(label_smoothing=0.1).arguments() == {"class_weights": None, "gamma": 2.0, "label_smoothing": 0.1}
    with pytest.raises(ValueError, match="Forgetful must keep its argument gamma as self.gamma"):
        Forgetful().arguments()


def test_a_task_saves_nothing_in_the_weights() -> None:
    assert build(Classification(class_weights=[1, 2, 3])).state_dict() == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(label_smoothing=1.0), "label_smoothing is 1.0: expected a fraction"),
        (lambda: build(Classification(class_weights=[1.0])), "class_weights has 1 values: expected one for each of 3"),
        (lambda: Classification().build(None, ["y"]), "Classification needs data with classes"),
        (lambda: Regression().build(["a"], None), "Regression needs data with numeric targets"),
    ],
)
def test_bad_arguments(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()
