"""What all data shares: seeded splits, normalisation with training statistics, and loaders of whole batches."""

import math
import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from kindling.hyperparameters import plain


class Augmentation(nn.Module):
    """Base of what changes training batches at random: `forward(inputs, targets, num_classes)` → inputs, targets.

    Randomness comes from torch's global generator, which is seeded anew for every batch: each repeats on a resume.
    """


class Data(L.LightningDataModule):
    """Base of all data. A subclass defines `load` and sets `classes` or `targets`; splits and loaders come from here.

    The splits are disjoint, drawn with `split_seed` (never with the seed of the training), and stratified when every
    sample has one class. Statistics for the normalisation come from the training split alone.

    Args:
        batch_size: samples a batch; the last, smaller batch of a training epoch is left out.
        val_fraction: share of all samples used for validation, in (0, 1).
        test_fraction: share of all samples held out for the test, in (0, 1), unless the data has a test split.
        split_seed: seed of the split.
        normalize: bring the inputs to mean 0 and variance 1, per channel of an image and per column of a vector.
        augment: changes training batches at random, such as ImageAugmentation; null for none.

    Raises:
        ValueError: if the batch size is not positive or the fractions leave no sample for training.
    """

    classes: list[str] | None = None  # names of the classes
    targets: list[str] | None = None  # or names of the numeric targets
    multilabel = False  # whether a sample can have several classes
    vocabulary: int | None = None  # number of different tokens, if the inputs are tokens
    own_test = 0  # how many of the last samples are the data's own test split

    def __init__(
        self,
        batch_size: int = 64,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        normalize: bool = True,
        augment: Augmentation | None = None,
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
        self.normalize, self.augment = normalize, augment
        self.save_hyperparameters(logger=False)
        if isinstance(self.hparams["augment"], Augmentation):  # built in Python rather than by the command line
            self.hparams["augment"] = plain("augment", augment)

    def load(self) -> tuple[Tensor, ...]:
        """Inputs (N, *input_shape), and class indices (N,) int64, 0/1 labels (N, K) or numeric targets (N, T) float32.

        Inputs are float32, or tokens int64. Between inputs and targets come the lengths (N,) of padded sequences.
        """
        raise NotImplementedError

    @cached_property
    def samples(self) -> tuple[Tensor, ...]:
        return self.load()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.samples[0].shape[1:])

    @property
    def train_targets(self) -> Tensor:
        return self.samples[-1][self.splits["train"]]

    @cached_property
    def splits(self) -> dict[str, Tensor]:
        """Sample indices of the splits `train`, `val` and `test`."""
        targets = self.samples[-1]
        stratified = bool(self.classes) and not self.multilabel

        def cut(indices: Tensor, fraction: float) -> list[Tensor]:
            count = math.ceil(fraction * len(targets) - 1e-6)
            labels = targets[indices] if stratified else None
            pieces = train_test_split(indices.numpy(), test_size=count, random_state=self.split_seed, stratify=labels)
            return [torch.from_numpy(piece) for piece in pieces]

        if self.own_test:
            rest, test = torch.arange(len(targets)).tensor_split([-self.own_test])
        else:
            rest, test = cut(torch.arange(len(targets)), self.test_fraction)
        train, val = cut(rest, self.val_fraction)
        return {"train": train, "val": val, "test": test}

    def setup(self, stage: str) -> None:
        inputs, *others = self.samples
        if self.normalize and inputs.is_floating_point():
            inputs = self._normalized(inputs, *others[:-1])
        self.sets = {name: TensorBatches(inputs, *others, indices=index) for name, index in self.splits.items()}

    def _normalized(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        sequences = inputs.dim() == 3  # (N, L, F); vectors are (N, F), images (N, C, H, W)
        real = torch.ones(inputs.shape[:2] if sequences else len(inputs), dtype=torch.bool)
        if lengths is not None:
            real = torch.arange(inputs.shape[1]) < lengths[:, None]  # false where padded
        train = inputs[self.splits["train"]][real[self.splits["train"]]]  # (…, F) or (N, C, H, W)
        std, mean = torch.std_mean(train, dim=[0, *range(2, train.dim())], keepdim=True)
        normalized = (inputs - mean) / std.clamp_min(1e-6)
        return normalized if lengths is None else normalized * real[:, :, None]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.augment is None or not self.trainer or not self.trainer.training or isinstance(batch, Tensor):
            return batch  # a lone tensor is the summary's example
        batch_idx = self.trainer.fit_loop.batch_idx + 1  # of this batch: Lightning counts it after the transfer
        place = _run_seed(), self.trainer.current_epoch, batch_idx, self.trainer.global_rank
        inputs, *others, targets = batch
        with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
            torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
            inputs, targets = self.augment(inputs, targets, len(self.classes or []))
        return inputs, *others, targets

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
    """Samples in memory, by whole batches: positions (B,) in `indices` → inputs (B, *input_shape), …, targets."""

    def __init__(self, *tensors: Tensor, indices: Tensor) -> None:
        self.tensors, self.indices = tensors, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, ...]:
        indices = self.indices[positions]
        return tuple(tensor[indices] for tensor in self.tensors)


class BatchIndices(DistributedSampler):
    """Yields the indices of whole batches. The order depends on the seed of the run and the epoch, and on nothing else.

    With several processes each takes every n-th sample; in training all take equally many.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool) -> None:
        distributed = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if distributed else 0
        self.num_replicas = dist.get_world_size() if distributed else 1
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed = _run_seed()
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


def _run_seed() -> int:
    return int(os.environ.get("PL_GLOBAL_SEED", 0))  # Lightning's name for the seed of the run
