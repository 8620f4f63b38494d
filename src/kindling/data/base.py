"""What all data shares: seeded splits, normalisation with training statistics, and loaders of whole batches."""

import os
from collections.abc import Iterator
from functools import cached_property

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class Data(L.LightningDataModule):
    """Base of all data. A subclass defines `load` and sets `classes` or `targets`; splits and loaders come from here.

    The splits are disjoint, drawn with `split_seed` (never with the seed of the training), and stratified when there
    are classes. Statistics for the normalisation come from the training split alone.

    Args:
        batch_size: samples a batch; the last, smaller batch of a training epoch is left out.
        val_fraction: share of all samples used for validation, in (0, 1).
        test_fraction: share of all samples held out for the test, in (0, 1).
        split_seed: seed of the split.
        normalize: bring the inputs to mean 0 and variance 1, per channel of an image and per column of a vector.

    Raises:
        ValueError: if the batch size is not positive or the fractions leave no sample for training.
    """

    classes: list[str] | None = None  # names of the classes
    targets: list[str] | None = None  # or names of the numeric targets

    def __init__(
        self,
        batch_size: int = 64,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: expected a positive integer")
        if val_fraction <= 0 or test_fraction <= 0 or val_fraction + test_fraction >= 1:
            raise ValueError(
                f"val_fraction is {val_fraction} and test_fraction is {test_fraction}: "
                "expected positive fractions that leave samples for training"
            )
        self.batch_size = batch_size
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.split_seed = split_seed
        self.normalize = normalize
        self.save_hyperparameters(logger=False)

    def load(self) -> tuple[Tensor, Tensor]:
        """Inputs (N, *input_shape) float32, and class indices (N,) int64 or numeric targets (N, T) float32."""
        raise NotImplementedError

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor]:
        return self.load()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.samples[0].shape[1:])

    @cached_property
    def splits(self) -> dict[str, Tensor]:
        """Sample indices of the splits `train`, `val` and `test`."""
        labels = self.samples[1].numpy() if self.classes else None

        def cut(indices: np.ndarray, fraction: float) -> list[np.ndarray]:
            stratify = None if labels is None else labels[indices]
            return train_test_split(indices, test_size=fraction, random_state=self.split_seed, stratify=stratify)

        rest, test = cut(np.arange(len(self.samples[1])), self.test_fraction)
        train, val = cut(rest, self.val_fraction / (1 - self.test_fraction))
        return {"train": torch.from_numpy(train), "val": torch.from_numpy(val), "test": torch.from_numpy(test)}

    def setup(self, stage: str) -> None:
        inputs, targets = self.samples
        if self.normalize:
            train = inputs[self.splits["train"]]
            dims = [0, *range(2, train.dim())]  # all but the channel or column
            std, mean = torch.std_mean(train, dim=dims, keepdim=True)
            inputs = (inputs - mean) / std.clamp_min(1e-6)
        self.sets = {name: TensorBatches(inputs[index], targets[index]) for name, index in self.splits.items()}

    def train_dataloader(self) -> DataLoader:
        return self.loader("train")

    def val_dataloader(self) -> DataLoader:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader:
        return self.loader("test")

    def loader(self, split: str) -> DataLoader:
        """A loader of (inputs, targets) batches, shuffled if `split` is `train`."""
        sampler = BatchIndices(len(self.splits[split]), self.batch_size, shuffle=split == "train")
        # batch_size=None: the sampler's items are whole batches already, ten times cheaper than collating samples.
        return DataLoader(self.sets[split], sampler=sampler, batch_size=None, pin_memory=torch.cuda.is_available())


class TensorBatches(Dataset):
    """Samples in memory, indexed by whole batches: indices (B,) → inputs (B, *input_shape), targets (B, …)."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.inputs[indices], self.targets[indices]


class BatchIndices(DistributedSampler):
    """Yields the indices of whole batches. The order depends on the seed of the run and the epoch, and on nothing else.

    With several processes each takes every n-th sample; in training all take equally many.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool) -> None:
        distributed = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if distributed else 0
        self.num_replicas = dist.get_world_size() if distributed else 1
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # Lightning's name for the seed of the run
        self.epoch = 0  # Lightning calls set_epoch

    def __iter__(self) -> Iterator[Tensor]:
        indices = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
            indices = torch.randperm(self.size, generator=generator)
        # A generator: on a resume Lightning calls set_epoch after iter(), and before the first batch is asked for.
        yield from indices[self.rank :: self.num_replicas].split(self.batch_size)[: len(self)]

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, self.size // self.num_replicas // self.batch_size)
        return -(-len(range(self.rank, self.size, self.num_replicas)) // self.batch_size)
