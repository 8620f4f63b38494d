from typing import Any

import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from kindling.data.base import Data
from my_project.data.memory import Memory
from my_project.data.shapes import Shapes, ShapesMasks
from my_project.data.synthetic import SyntheticClassification, SyntheticMultilabel, SyntheticRegression


@pytest.mark.parametrize(
    "cls", [SyntheticRegression, SyntheticClassification, SyntheticMultilabel, Shapes, ShapesMasks, Memory]
)
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


def test_a_sine_bends_the_linear_map() -> None:
    data = SyntheticRegression(kind="sine", size=5000, features=1, noise=0.0)
    inputs, targets = data.load()
    torch.testing.assert_close(targets.abs(), (3 * inputs).sin().abs())


@pytest.mark.parametrize(("kind", "classes"), [("moons", 2), ("circles", 2), ("spirals", 3)])
def test_the_curved_kinds_are_separable_but_not_by_a_line(kind: Any, classes: int) -> None:
    data = SyntheticClassification(kind=kind, size=1200, noise=0.01)
    inputs, targets = data.load()
    assert inputs.shape == (1200, 2)
    assert torch.bincount(targets).tolist() == [1200 // classes] * classes
    assert LogisticRegression().fit(inputs, targets).score(inputs, targets) < 0.95
    assert KNeighborsClassifier(3).fit(inputs, targets).score(inputs, targets) > 0.99


def test_each_label_is_a_side_of_a_plane() -> None:
    inputs, labels = SyntheticMultilabel(size=4000, num_classes=3, noise=0.0).load()
    assert labels.shape == (4000, 3)
    for label in labels.T:
        assert 0.4 < float(label.float().mean()) < 0.6
        assert LogisticRegression(C=1e4).fit(inputs, label).score(inputs, label) > 0.99


@pytest.mark.parametrize("colour", [False, True])
def test_shapes_are_balanced_and_each_is_its_own(colour: bool) -> None:
    data = Shapes(size=100, side=24, colour=colour, noise=0.0)
    images, labels = data.load()
    assert images.shape == (100, 3 if colour else 1, 24, 24)
    assert torch.bincount(labels).tolist() == [20] * 5
    covered = (images.amax(dim=1) > 0).float().mean(dim=(1, 2))
    assert 0.02 < float(covered.min()) < float(covered.max()) < 0.7
    assert len({tuple(image.flatten().tolist()) for image in images}) > 90


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("question", ["parity", "sum"])
def test_the_answer_is_in_the_marked_bits(question: Any, tokens: bool) -> None:
    data = Memory(question=question, size=500, length=12, marked=3, tokens=tokens)
    inputs, lengths, targets = data.load()
    assert set(lengths.tolist()) == set(range(6, 13))
    for sequence, length, target in zip(inputs, lengths.tolist(), targets, strict=True):
        assert (sequence[length:] == 0).all()
        bits = (sequence[:length] - 1) % 2 if tokens else sequence[:length, 0]
        marks = (sequence[:length] - 1) // 2 if tokens else sequence[:length, 1]
        assert int(marks.sum()) == 3
        answer = int((bits * marks).sum())
        assert float(target) == (answer % 2 if question == "parity" else answer)
    assert data.vocabulary == (5 if tokens else None)


@pytest.mark.parametrize("cls", [SyntheticRegression, SyntheticClassification, SyntheticMultilabel, Memory])
def test_a_million_rows_are_made_in_vectorised_code(cls: type[Data]) -> None:
    data = cls(size=1_000_000)  # type: ignore[call-arg]
    with torch.profiler.profile() as profile:
        assert len(data.load()[0]) == 1_000_000
    assert len(profile.events()) < 1000  # operations, far fewer than rows


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (SyntheticRegression, {"size": 0}, "size is 0 and features is 10: expected positive integers"),
        (SyntheticRegression, {"num_targets": 0}, "num_targets is 0: expected a positive integer"),
        (SyntheticClassification, {"kind": "moons", "num_classes": 3}, "num_classes is 3: moons have 2"),
        (SyntheticClassification, {"kind": "spirals", "features": 3}, "features is 3: spirals have 2"),
        (SyntheticMultilabel, {"num_classes": 0}, "num_classes is 0: expected a positive integer"),
        (Shapes, {"side": 4}, "side is 4"),
        (Memory, {"marked": 11}, "marked is 11: expected 1 ≤ marked ≤ length / 2"),
        (SyntheticRegression, {"noise": -1.0}, "noise is -1.0: expected a standard deviation"),
        (SyntheticClassification, {"num_classes": 1}, "num_classes is 1: expected at least 2"),
    ],
)
def test_bad_arguments(cls: type[Data], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


def test_masks_say_which_shape_is_where() -> None:
    data = ShapesMasks(size=50, side=24, noise=0.0)
    images, masks = data.load()
    _, labels = Shapes(size=50, side=24, noise=0.0).load()
    assert masks.dtype == torch.uint8
    assert torch.equal(masks > 0, images[:, 0] > 0)
    assert torch.equal(masks.flatten(1).amax(dim=1).long(), labels + 1)
    assert data.classes == ["background", *Shapes.classes]
