"""Each loss equals its formula."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kindling.tasks import BinaryClassification, Classification, MultilabelClassification, Regression
from my_project.losses.focal import FocalLoss
from my_project.losses.mse_mae import MSEMAELoss

generator = torch.Generator().manual_seed(0)
OUTPUTS, TARGETS = torch.randn(20, 2, generator=generator), torch.randn(20, 2, generator=generator)
LOGITS, CLASSES = torch.randn(50, 3, generator=generator), torch.randint(3, (50,), generator=generator)
ERROR = OUTPUTS - TARGETS

FORMULAS = {
    "null": (None, ERROR.square().mean()),
    "mse": (nn.MSELoss(), ERROR.square().mean()),
    "mae": (nn.L1Loss(), ERROR.abs().mean()),
    "huber": (
        nn.HuberLoss(delta=0.5),
        torch.where(ERROR.abs() < 0.5, ERROR.square() / 2, 0.5 * (ERROR.abs() - 0.25)).mean(),
    ),
    "smooth l1": (
        nn.SmoothL1Loss(beta=0.5),
        torch.where(ERROR.abs() < 0.5, ERROR.square(), ERROR.abs() - 0.25).mean(),
    ),
    "combined": (MSEMAELoss(alpha=0.7), 0.7 * ERROR.square().mean() + 0.3 * ERROR.abs().mean()),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_regression_losses(name: str) -> None:
    loss, expected = FORMULAS[name]
    task = Regression(loss)
    task.build("numeric targets", 2)
    torch.testing.assert_close(task.loss_of(OUTPUTS, TARGETS), expected)


def test_the_loss_sees_standardised_targets_and_the_metrics_the_targets_unit() -> None:
    task = Regression()
    task.build("numeric targets", 2)
    targets = 100 + 10 * TARGETS
    task.start(SimpleNamespace(augment=None, train_targets=targets))
    std, mean = torch.std_mean(targets, dim=0)
    torch.testing.assert_close(task.loss_of(OUTPUTS, targets), F.mse_loss(OUTPUTS, (targets - mean) / std))
    torch.testing.assert_close(task.scores(OUTPUTS), OUTPUTS * std + mean)
    assert set(task.state_dict()) == {"mean", "std"}  # a checkpoint needs them to predict


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
def test_focal_loss(weights: list[float] | None) -> None:
    task = Classification(loss=FocalLoss(gamma=1.5), class_weights=weights)
    task.build("one class a sample", 3)
    p = LOGITS.softmax(1)[torch.arange(50), CLASSES]
    w = torch.tensor(weights or [1.0, 1.0, 1.0])[CLASSES]
    expected = (-w * (1 - p) ** 1.5 * p.log()).sum() / w.sum()
    torch.testing.assert_close(task.loss_of(LOGITS, CLASSES), expected)


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    torch.testing.assert_close(FocalLoss(gamma=0.0)(LOGITS, CLASSES), F.cross_entropy(LOGITS, CLASSES))


def test_focal_loss_of_binary_and_multilabel_targets() -> None:
    targets = (TARGETS > 0).long()
    p = torch.where(targets == 1, OUTPUTS.sigmoid(), 1 - OUTPUTS.sigmoid())
    expected = (-((1 - p) ** 2) * p.log()).mean()
    multilabel = MultilabelClassification(loss=FocalLoss())
    multilabel.build("several classes a sample", 2)
    torch.testing.assert_close(multilabel.loss_of(OUTPUTS, targets), expected)
    binary = BinaryClassification(loss=FocalLoss())
    binary.build("one class a sample", 2)
    p0 = p[:, 0]
    torch.testing.assert_close(binary.loss_of(OUTPUTS[:, :1], targets[:, 0]), (-((1 - p0) ** 2) * p0.log()).mean())


def test_binary_cross_entropy_with_a_positive_weight() -> None:
    task = BinaryClassification(positive_weight=3.0)
    task.build("one class a sample", 2)
    logits, targets = OUTPUTS[:, :1], (TARGETS[:, 0] > 0).long()
    p, y = logits[:, 0].sigmoid(), targets.float()
    expected = -(3 * y * p.log() + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(task.loss_of(logits, targets), expected)
    assert task.state_dict() == {}


def test_an_even_guess_costs_log_two() -> None:
    task = BinaryClassification()
    task.build("one class a sample", 2)
    assert float(task.loss_of(torch.zeros(4, 1), torch.tensor([0, 1, 1, 0]))) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Classification(loss=nn.MSELoss()).build("one class a sample", 3),
            "loss is MSELoss, which Classification can't use",
        ),
        (lambda: FocalLoss(gamma=-1), "gamma is -1: expected at least 0"),
        (lambda: MSEMAELoss(alpha=2), r"alpha is 2: expected a fraction in \[0, 1\]"),
        (
            lambda: Classification(label_smoothing=0.1, loss=FocalLoss()),
            "label_smoothing is 0.1: expected a fraction in .0, 1., and 0 if loss is set",
        ),
        (lambda: Classification(class_weights=[1], loss=nn.GaussianNLLLoss()), "GaussianNLLLoss takes no weights"),
        (lambda: BinaryClassification(positive_weight=0), "positive_weight is 0: expected a positive weight"),
        (lambda: BinaryClassification(threshold=1), r"threshold is 1: expected a probability in \(0, 1\)"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
