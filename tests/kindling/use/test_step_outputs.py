"""What a module's `predict_step` returns, in a file that holds it as it is."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kindling.use.step_outputs import suffix_for, write_outputs

FIRST, SECOND = torch.arange(6.0).reshape(3, 2), torch.arange(4.0).reshape(2, 2)


def arrays(path: Path, *batches: Any) -> dict[str, np.ndarray]:
    """What an .npz has of these batches."""
    assert suffix_for(list(batches)) == ".npz"
    write_outputs(list(batches), path / "file.npz", ".npz")
    with np.load(path / "file.npz") as file:
        return dict(file)


def table(path: Path, *batches: Any) -> list[list[str]]:
    assert suffix_for(list(batches)) == ".csv"
    write_outputs(list(batches), path / "file.csv", ".csv")
    with open(path / "file.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_tensors_are_joined(tmp_path: Path) -> None:
    (name,) = found = arrays(tmp_path, FIRST, SECOND)
    assert name == "predictions"
    assert found[name].tolist() == [*FIRST.tolist(), *SECOND.tolist()]


def test_nested_tensors_have_the_names_of_their_places(tmp_path: Path) -> None:
    def batch(tensor: torch.Tensor) -> Any:
        return {"a": {"mean": tensor.mean(dim=1)}, "b": (tensor, [tensor[:, :1].numpy()])}

    found = arrays(tmp_path, batch(FIRST), batch(SECOND))
    assert {name: array.shape for name, array in found.items()} == {"a.mean": (5,), "b.0": (5, 2), "b.1.0": (5, 1)}
    assert found["a.mean"].tolist() == [0.5, 2.5, 4.5, 0.5, 2.5]


def test_a_number_a_batch_becomes_a_row(tmp_path: Path) -> None:
    assert arrays(tmp_path, FIRST.sum(), SECOND.sum())["predictions"].tolist() == [15, 6]


def test_numbers_that_numpy_lacks_become_floats(tmp_path: Path) -> None:
    found = arrays(tmp_path, FIRST.bfloat16(), SECOND.bfloat16())["predictions"]
    assert (found.dtype, found.shape) == (np.float32, (5, 2))


def test_columns_become_a_table(tmp_path: Path) -> None:
    first = {"sum": FIRST.sum(dim=1), "word": ["a", "b", "c, d"], "index": np.arange(3)}
    second = {"sum": SECOND.sum(dim=1), "word": ["é", ""], "index": np.arange(2)}
    rows = [["1.0", "a", "0"], ["5.0", "b", "1"], ["9.0", "c, d", "2"], ["1.0", "é", "0"], ["5.0", "", "1"]]
    assert table(tmp_path, first, second) == [["sum", "word", "index"], *rows]


def test_texts_become_a_table(tmp_path: Path) -> None:
    assert table(tmp_path, ["one", "two"], ["three"]) == [["prediction"], ["one"], ["two"], ["three"]]


@pytest.mark.parametrize(
    "batches",
    [
        [[{"boxes": FIRST}, {"boxes": SECOND}], [{"boxes": SECOND}]],  # a list for each sample
        [FIRST, SECOND[:, :1]],  # of other widths
        [{"a": FIRST}, {"b": SECOND}],
        [{"a": FIRST.sum(dim=1), "b": ["x"]}, {"a": SECOND.sum(dim=1), "b": ["x"]}],  # columns of unequal length
        [{"a": FIRST, "epoch": 3}, {"a": SECOND, "epoch": 3}],
        [None, FIRST],
        [{"file": FIRST}, {"file": SECOND}],  # a name that np.savez has for itself
        [1.5, None],
    ],
)
def test_anything_else_is_kept_as_it_is(batches: list[Any], tmp_path: Path) -> None:
    assert suffix_for(batches) == ".pt"
    write_outputs(batches, tmp_path / "file.pt", ".pt")
    assert str(torch.load(tmp_path / "file.pt", weights_only=True)) == str(batches)


def test_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="^objects of type: expected tensors, numbers, text, or dicts and lists$"):
        suffix_for([{"a": [FIRST, Path]}])
