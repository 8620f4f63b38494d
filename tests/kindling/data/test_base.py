import multiprocessing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from kindling.data.base import Data
from kindling.data.batches import Batches, BatchIndices, of_workers
from kindling.data.lazy_inputs import MappedArray
from my_project.data.digits import Digits
from my_project.data.memory import Memory
from my_project.data.synthetic import SyntheticClassification, SyntheticMultilabel, SyntheticRegression
from my_project.data.tables import Diabetes

DATA = [Digits, SyntheticClassification, SyntheticRegression, SyntheticMultilabel, Memory, Diabetes]


def whole(data: Data, split: str) -> torch.Tensor:
    """The inputs of a split."""
    return data.sets[split][slice(None)][0]  # type: ignore[index]


@pytest.mark.parametrize("cls", DATA)
def test_splits_are_disjoint_and_complete(cls: type[Data]) -> None:
    data = cls()
    splits = [set(indices.tolist()) for indices in data.splits.values()]
    assert sum(map(len, splits)) == len(set.union(*splits)) == len(data.samples[-1])
    assert len(splits[1]) == pytest.approx(0.15 * len(data.samples[-1]), abs=1)
    assert len(splits[2]) == pytest.approx(0.2 * len(data.samples[-1]), abs=1)


@pytest.mark.parametrize("cls", [Digits, SyntheticClassification])
def test_splits_are_stratified(cls: type[Data]) -> None:
    data = cls()
    targets = data.samples[1]
    whole = torch.bincount(targets) / len(targets)
    for indices in data.splits.values():
        share = torch.bincount(targets[indices]) / len(indices)
        torch.testing.assert_close(share, whole, atol=0.005, rtol=0)


def test_the_split_depends_on_its_own_seed_alone() -> None:
    torch.manual_seed(1)
    first = Digits().splits["test"]
    torch.manual_seed(2)
    assert torch.equal(first, Digits().splits["test"])
    assert not torch.equal(first, Digits(split_seed=1).splits["test"])


def test_inputs_are_normalised_with_statistics_of_the_training_split() -> None:
    data = SyntheticRegression(size=100)
    data.setup("fit")
    inputs = data.samples[0].numpy()
    scaler = StandardScaler().fit(inputs[data.splits["train"]])
    expected = scaler.transform(inputs[data.splits["test"]])
    np.testing.assert_allclose(whole(data, "test"), expected, rtol=0.02, atol=1e-5)  # divides by N, not N - 1
    assert abs(float(whole(data, "train").mean())) < 1e-6


def test_images_are_normalised_by_channel_and_only_if_asked() -> None:
    data = Digits()
    data.setup("fit")
    assert whole(data, "train").mean() == pytest.approx(0, abs=1e-5)
    assert whole(data, "train").std() == pytest.approx(1, abs=1e-3)
    raw = Digits(normalize=False)
    raw.setup("fit")
    assert torch.equal(whole(raw, "val"), raw.samples[0][raw.splits["val"]])


def test_an_epoch_shows_every_sample_at_most_once_and_test_every_sample_once() -> None:
    data = Digits(batch_size=100)
    data.setup("fit")
    sizes = [len(targets) for _, targets in data.train_dataloader()]
    assert sizes == [100] * 11  # of 1,167: the rest is left out
    assert sum(len(targets) for _, targets in data.test_dataloader()) == 360
    inputs = torch.cat([inputs for inputs, _ in data.test_dataloader()])
    assert torch.equal(inputs, whole(data, "test"))


def test_a_transform_of_ones_own_is_applied() -> None:
    data = Digits()
    data.setup("fit")
    data.sets["val"].transform = torch.zeros_like
    assert {float(inputs.abs().sum()) for inputs, _ in data.val_dataloader()} == {0.0}


def test_fewer_samples_than_a_batch_make_one_batch() -> None:
    assert [len(batch) for batch in BatchIndices(10, 64, shuffle=True)] == [10]


def test_the_order_is_a_function_of_seed_and_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        sampler = BatchIndices(100, 10, shuffle=True)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler)).tolist()

    assert order(0, 0) == order(0, 0)
    assert sorted(order(0, 0)) == list(range(100))
    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_samples(shuffle: bool) -> None:
    samplers = [BatchIndices(101, 10, shuffle) for _ in range(2)]
    for rank, sampler in enumerate(samplers):
        sampler.rank, sampler.num_replicas = rank, 2
    parts = [torch.cat(list(sampler)).tolist() for sampler in samplers]
    assert not set(parts[0]) & set(parts[1])
    assert [len(list(sampler)) for sampler in samplers] == [len(sampler) for sampler in samplers]
    if shuffle:
        assert len(parts[0]) == len(parts[1]) == 50
    else:
        assert len(parts[0]) + len(parts[1]) == 101


def test_batches_hold_matching_inputs_and_targets() -> None:
    batches = Batches(torch.arange(10.0)[:, None], torch.arange(10), indices=torch.arange(9, -1, -1))
    inputs, targets = batches[torch.tensor([7, 2])]
    assert inputs[:, 0].tolist() == targets.tolist() == [2, 7]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("features", [3, 5000])  # many batches at once, and one
def test_a_loader_from_memory_gives_the_batches_of_a_data_loader(split: str, features: int) -> None:
    found = []
    for workers in (0, 1):
        data = SyntheticClassification(size=400, features=features, num_classes=3, batch_size=37, workers=workers)
        data.setup("fit")
        loader = data.loader(split)
        loader.sampler.position = SimpleNamespace(epoch=2, seen=1)  # type: ignore[union-attr]  # as on a resume
        found.append(list(loader))
    assert isinstance(data.loader("train"), DataLoader)
    assert len(found[0]) == len(found[1]) > 0
    for batch, expected in zip(*found, strict=True):
        assert all(map(torch.equal, batch, expected))


def test_padded_sequences_are_normalised_without_their_padding() -> None:
    data = Memory(size=400)
    data.setup("fit")
    inputs, lengths, _ = data.sets["train"][slice(None)]  # type: ignore[index]
    real = torch.arange(data.length) < lengths[:, None]
    torch.testing.assert_close(inputs[real].mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs[real].std(dim=0), torch.ones(2), atol=1e-4, rtol=0)
    assert (inputs[~real] == 0).all()


class Pairs(Data):
    """Sequences and a row of a table beside each, which are no lengths of theirs."""

    classes = ["a", "b"]

    def __init__(self, mapped: bool) -> None:
        super().__init__()
        self.mapped = mapped

    def load(self) -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(0)
        inputs, row = torch.randn(100, 5, 3, generator=generator) + 7, torch.arange(100) % 5 + 1
        return MappedArray(inputs.numpy()) if self.mapped else inputs, row, torch.arange(100) % 2


@pytest.mark.parametrize("mapped", [False, True])
def test_further_inputs_are_not_taken_for_lengths(mapped: bool) -> None:
    data = Pairs(mapped)
    data.setup("fit")
    assert (data.preprocessing.lengths, data.preprocessing.further_inputs) == (False, 1)
    inputs, rows, _ = data.sets["train"][torch.arange(len(data.splits["train"]))]
    assert torch.equal(rows, data.samples[1][data.splits["train"]])
    flat = data.samples[0][data.splits["train"]].flatten(0, 1)
    expected = (flat - flat.mean(dim=0)) / flat.std(dim=0)
    torch.testing.assert_close(inputs.flatten(0, 1), expected, atol=1e-4, rtol=1e-4)


class Masked(Data):
    """A class for each of four pixels; 255 is none."""

    classes = ["a", "b"]

    def load(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(20, 1, 2, 2), torch.tensor([[[0, 1], [0, 255]]]).repeat(20, 1, 1)


def test_masks_are_counted_by_pixels_and_not_stratified() -> None:
    counts = Masked().class_counts
    assert counts == {"train": {"a": 26, "b": 13}, "val": {"a": 6, "b": 3}, "test": {"a": 8, "b": 4}}


def test_what_a_data_says_of_lengths_is_kept_for_prediction() -> None:
    assert (Memory(size=100).preprocessing.lengths, Memory(size=100).preprocessing.further_inputs) == (True, 0)
    plain = SyntheticClassification(size=100).preprocessing.plain
    assert (plain["lengths"], plain["further_inputs"]) == (False, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0: expected a positive integer"),
        ({"val_fraction": 0.9}, "val_fraction is 0.9 and test_fraction is 0.2: expected positive fractions"),
        ({"test_fraction": 0}, "test_fraction is 0: expected positive fractions"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Digits(**arguments)


@pytest.mark.parametrize(
    ("method", "workers", "imports"), [("forkserver", 2, True), ("forkserver", 0, False), ("spawn", 2, False)]
)
def test_a_server_of_workers_imports_once_what_they_need(
    method: str, workers: int, imports: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)  # that of Linux from Python 3.14 on
    monkeypatch.setattr(multiprocessing, "set_forkserver_preload", told.append)
    options = of_workers(workers)
    assert (options["num_workers"], options["persistent_workers"]) == (workers, workers > 0)
    assert told == [["__main__", "kindling.data.base", "torchvision.transforms.v2"]] * imports
