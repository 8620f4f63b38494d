from typing import Any

import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from kindling.data.base import Data
from kindling.data.synthetic import SyntheticClassification, SyntheticRegression


@pytest.mark.parametrize("cls", [SyntheticRegression, SyntheticClassification])
def test_the_seed_decides(cls: type[Data]) -> None:
    for first, second in zip(cls(seed=3).load(), cls(seed=3).load(), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(cls(seed=3).load()[0], cls(seed=4).load()[0])


def test_regression_is_linear_with_the_noise_asked_for() -> None:
    data = SyntheticRegression(size=20_000, features=5, num_targets=3, noise=0.5)
    inputs, targets = data.load()
    assert inputs.shape == (20_000, 5)
    assert targets.shape == (20_000, 3)
    assert data.targets == ["y0", "y1", "y2"]
    residuals = targets.numpy() - LinearRegression().fit(inputs, targets).predict(inputs)
    assert residuals.std() == pytest.approx(0.5, rel=0.02)


def test_classification_without_noise_is_separable_and_balanced() -> None:
    data = SyntheticClassification(size=1000, num_classes=4, noise=0.1)
    inputs, targets = data.load()
    assert torch.bincount(targets).tolist() == [250] * 4
    assert LogisticRegression().fit(inputs, targets).score(inputs, targets) == 1.0


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (SyntheticRegression, {"size": 0}, "size is 0: expected a positive integer"),
        (SyntheticRegression, {"noise": -1.0}, "noise is -1.0: expected a standard deviation"),
        (SyntheticClassification, {"num_classes": 1}, "num_classes is 1: expected at least 2"),
    ],
)
def test_bad_arguments(cls: type[Data], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**arguments)
