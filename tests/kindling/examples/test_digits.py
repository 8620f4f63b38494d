import pytest
import torch
from sklearn.datasets import load_digits

from my_project.data.digits import Digits


def test_the_images_are_scikit_learns() -> None:
    inputs, targets = Digits().load()
    images, labels = load_digits(return_X_y=True)
    assert inputs.shape == (1797, 1, 8, 8)
    assert torch.equal(inputs.flatten(1) * 16, torch.from_numpy(images).float())
    assert targets.tolist() == labels.tolist()
    assert Digits().input_shape == (1, 8, 8)
    assert {name: len(indices) for name, indices in Digits().splits.items()} == {"train": 1167, "val": 270, "test": 360}


def test_a_choice_of_classes_is_renumbered() -> None:
    data = Digits(classes=[8, 3])
    _, targets = data.load()
    _, labels = load_digits(return_X_y=True)
    assert data.classes == ["8", "3"]
    assert targets.tolist() == [[8, 3].index(label) for label in labels if label in (3, 8)]


@pytest.mark.parametrize("classes", [[], [1], [1, 1], [1, 10]])
def test_bad_classes(classes: list[int]) -> None:
    with pytest.raises(ValueError, match="expected at least two different digits from 0 to 9"):
        Digits(classes=classes)
