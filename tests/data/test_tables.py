import pytest
import torch

from kindling.data.base import Data
from kindling.data.tables import BreastCancer, Diabetes, Wine


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


def test_malignant_is_the_positive_class() -> None:
    data = BreastCancer()
    inputs, targets = data.load()
    assert data.classes == ["benign", "malignant"]
    assert inputs[targets == 1][:, 0].mean() > inputs[targets == 0][:, 0].mean()  # larger nuclei
