import pytest
import torch
from sklearn.linear_model import LinearRegression

from kindling.data.base import Data
from my_project.data.tables import BreastCancer, Diabetes, Wine


@pytest.mark.parametrize(
    ("cls", "shape", "counts"),
    [(BreastCancer, (569, 30), [357, 212]), (Wine, (178, 13), [59, 71, 48]), (Diabetes, (442, 10), None)],
)
def test_a_table_is_whole(cls: type[Data], shape: tuple[int, ...], counts: list[int] | None) -> None:
    data = cls()
    inputs, targets = data.load()
    assert inputs.shape == shape
    assert inputs.dtype == torch.float32
    if counts:
        assert torch.bincount(targets).tolist() == counts
        assert data.classes is not None
        assert len(data.classes) == len(counts)
    else:
        assert targets.shape == (442, 1)
        assert (float(targets.min()), float(targets.max())) == (25, 346)


def test_the_linear_regression_that_the_readme_compares_with() -> None:
    data = Diabetes()
    inputs, targets = (tensor.numpy() for tensor in data.samples)
    parts = {name: indices.numpy() for name, indices in data.splits.items()}
    model = LinearRegression().fit(inputs[parts["train"]], targets[parts["train"]])
    scores = [model.score(inputs[parts[name]], targets[parts[name]]) for name in ("val", "test")]
    assert scores == pytest.approx([0.5362, 0.3450], abs=2e-4)


def test_malignant_is_the_positive_class() -> None:
    data = BreastCancer()
    inputs, targets = data.load()
    assert data.classes == ["benign", "malignant"]
    assert inputs[targets == 1][:, 0].mean() > inputs[targets == 0][:, 0].mean()  # larger nuclei
