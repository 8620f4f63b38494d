"""Samples of map-style data sets, which are read one by one when a batch asks for them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset

from kindling.core.progress import progress
from kindling.data.batches import BatchIndices
from kindling.data.lazy_inputs import LazyInputs
from kindling.data.position import Seeded, run_seed, seed_of

SMALL = 64  # numbers in a target: larger ones, such as masks, are not read before the training

Change = Callable[[Any], Any]


class LazySamples:
    """The samples of a data set, each a tuple (input, …, target), and their parts.

    Args:
        dataset: with a length, and a sample for each index.

    Raises:
        ValueError: if it is not such a data set.
    """

    def __init__(self, dataset: Any) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise ValueError(
                f"load() gives {type(dataset).__name__}, which has no length, so no split can be drawn from it: "
                "write a LightningDataModule with one loader per split"
            )
        self.dataset, self.shape = dataset, (len(dataset),)
        first = dataset[0] if len(dataset) else None
        if not isinstance(first, tuple | list) or len(first) < 2:
            raise ValueError(
                f"sample 0 of {type(dataset).__name__} is {type(first).__name__}: expected (input, target)"
            )
        if hasattr(first[0], "getbands"):  # of PIL
            raise ValueError(
                f"the input of sample 0 of {type(dataset).__name__} is a PIL image: expected a tensor, such as "
                "transform=torchvision.transforms.v2.PILToTensor() makes"
            )
        if not is_array(first[-1]):
            raise ValueError(
                f"the target of sample 0 of {type(dataset).__name__} is {type(first[-1]).__name__}: expected the "
                "number of a class, or an array of numbers"
            )
        self.first = first

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def parts(self) -> tuple[Any, ...]:
        """Inputs (N, …), further inputs, and targets (N, …), as `Data.load` gives them.

        Where inputs are not arrays, but a dict or a text, these samples themselves stand for them.
        """
        inputs = SamplePart(self, 0) if is_array(self.first[0]) else self
        others = [SamplePart(self, place) for place in range(1, len(self.first) - 1)]
        return inputs, *others, self._targets()

    def _targets(self) -> Any:
        """The targets (N, …): small ones as a tensor, from where torchvision's data sets keep them or from all samples.

        Others are read when they are asked for.
        """
        kept = targets_kept_by(self.dataset)
        if kept is not None and torch.equal(as_targets(kept)[:1], as_targets(as_tensor(self.first[-1])[None])):
            return as_targets(kept)  # which are those of the samples
        if as_tensor(self.first[-1]).numel() > SMALL:
            return SamplePart(self, len(self.first) - 1)
        samples = (self.dataset[index] for index in range(len(self)))
        read = [as_tensor(sample[-1]) for sample in progress(samples, f"reading {len(self):,} targets", len(self))]
        return as_targets(torch.stack(read))


class SamplePart(LazyInputs):
    """One of the things that each sample holds, such as the input: like a tensor (N, …), by samples.

    Args:
        samples: of a data set.
        place: of the thing in a sample, from 0.
    """

    is_slow = True

    def __init__(self, samples: LazySamples, place: int) -> None:
        self.samples, self.place = samples, place
        first = as_tensor(samples.first[place])
        self.shape, self.dtype = (len(samples), *first.shape), first.dtype

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Some samples' part, (B, …).

        Raises:
            ValueError: if their shapes differ.
        """
        parts = [as_tensor(self.samples[index][self.place]) for index in indices.tolist()]
        if len({part.shape for part in parts}) > 1:
            shapes = sorted({str(tuple(part.shape)) for part in parts})
            raise ValueError(
                f"part {self.place} of the samples has different shapes, such as {shapes[0]} and {shapes[1]}: bring "
                "them to one shape, or set data.normalize false and define collate"
            )
        return torch.stack(parts) if parts else torch.empty(0, *self.shape[1:], dtype=self.dtype)


class ArraySamples:
    """The samples of arrays that `Data.load` gives, one by one.

    Args:
        parts: inputs (N, …), further inputs, and targets.
    """

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(part[torch.tensor([index])][0] for part in self.parts)


class SampleBatches(Dataset):
    """Batches of samples: (epoch, positions (B,) in `indices`) → what `collate` makes of them.

    Args:
        samples: of all splits.
        indices: of this split.
        collate: makes a batch of a list of samples.
        prepare: turns the raw inputs of a batch, and what comes after them, into the model's; None to leave them.
        change: changes a sample at random, as in training: alike in the same epoch, whoever reads it; None for none.
    """

    def __init__(
        self,
        samples: LazySamples | ArraySamples,
        indices: Tensor,
        collate: Callable[[list[Any]], Any],
        prepare: Callable[..., Tensor] | None = None,
        change: Change | None = None,
    ) -> None:
        self.samples, self.indices, self.collate = samples, indices, collate
        self.prepare, self.change = prepare, change

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: tuple[int, Tensor]) -> Any:
        epoch, positions = place
        batch = self.collate([self._sample(epoch, index) for index in self.indices[positions].tolist()])
        if not self.prepare or not isinstance(batch, tuple | list) or not isinstance(batch[0], Tensor):
            return batch
        inputs, *others = batch
        return self.prepare(inputs, *others[:-1]), *others

    def _sample(self, epoch: int, index: int) -> Any:
        sample = self.samples[index]
        if self.change is None:
            return sample
        with Seeded(seed_of(run_seed(), epoch, index)):
            return self.change(sample)


class EpochIndices(BatchIndices):
    """Yields the epoch beside the indices of a batch, since a worker process that lives on doesn't know it."""

    def __iter__(self) -> Any:
        for positions in super().__iter__():
            yield self.epoch, positions


def joined(datasets: Mapping[str, Any]) -> tuple[Any, int, int]:
    """Data sets of splits as one, and how many of its last samples are for validation and for the test.

    Raises:
        ValueError: if a split is unknown, or there is none for training.
    """
    if unknown := set(datasets) - {"train", "val", "test"}:
        raise ValueError(f"load() gives a data set for {min(map(str, unknown))}: expected train, val and test")
    if "train" not in datasets:
        raise ValueError(f"load() gives data sets for {', '.join(datasets)}: one for train is missing")
    there = [LazySamples(datasets[split]).dataset for split in ("train", "val", "test") if split in datasets]
    sizes = [len(datasets.get(split, ())) for split in ("val", "test")]
    return ConcatDataset(there), sizes[0], sizes[1]


def targets_kept_by(dataset: Any) -> Any:
    """The `targets` or `labels` that a data set, or each of its parts, keeps, one per sample; None if they don't."""
    if isinstance(dataset, ConcatDataset):
        kept = [targets_kept_by(each) for each in dataset.datasets]
        return None if any(each is None for each in kept) else torch.cat([as_tensor(each) for each in kept])
    if getattr(dataset, "target_transform", None):
        return None  # the samples have others
    for name in ("targets", "labels"):
        values = getattr(dataset, name, None)
        if values is not None and is_array(values) and len(values) == len(dataset):
            return values
    return None


def as_targets(values: Any) -> Tensor:
    """Class indices (N,) int64, 0/1 labels (N, K) int64, or numbers (N, T) float32."""
    targets = as_tensor(values)
    if not targets.is_floating_point():
        return targets.long()
    return targets.float().reshape(len(targets), -1) if targets.dim() < 2 else targets.float()


def as_tensor(value: Any) -> Tensor:
    """Numbers as a tensor; float64 becomes float32, as models take it."""
    tensor = torch.as_tensor(np.asarray(value) if not isinstance(value, Tensor) else value)
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def is_array(value: Any) -> bool:
    """Whether something is a number, or an array of numbers of one shape; a PIL image is not."""
    if isinstance(value, Tensor):
        return True
    if not isinstance(value, np.ndarray | np.generic | int | float | list | tuple):
        return False
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # of different lengths
        return False


def classes_of(dataset: Any) -> list[str] | None:
    """The names of the classes, where torchvision's data sets keep them."""
    first = dataset.datasets[0] if isinstance(dataset, ConcatDataset) else dataset
    names: Iterable[Any] | None = getattr(first, "classes", None)
    return [str(name) for name in names] if names else None
