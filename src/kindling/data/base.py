"""What all data shares: seeded splits, normalisation with training statistics, and loaders of whole batches."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from kindling.core.errors import Stopped
from kindling.core.plain_values import plain
from kindling.data.augmentation import Augmentation
from kindling.data.batches import (
    Batches,
    BatchIndices,
    MemoryLoader,
    on_gpu,
    start_worker,
)
from kindling.data.fingerprint import changes_of, fingerprint, has_look, look_of
from kindling.data.lazy_inputs import LazyInputs, first_non_finite, rows
from kindling.data.position import Position, Seeded
from kindling.data.preprocessing import LEARNT, Preprocessing
from kindling.data.splits import SPLITS, Splitter, draw_splits, read_saved, read_splits

SPLITS_OF_STAGE = {"validate": ("val",), "test": ("test",), "predict": ("test",)}  # what a stage of Lightning's reads


class Data(L.LightningDataModule):
    """Base of all data. A subclass defines `load` and sets `classes` or `targets`; splits and loaders come from here.

    The splits are disjoint, drawn with `split_seed` (never with the seed of the training), and stratified when every
    sample has one class. Statistics for the normalisation come from the training split alone.

    Args:
        batch_size: samples a batch; the last, smaller batch of a training epoch is left out.
        val_fraction: share of the samples used for validation, in (0, 1), unless the data has a validation split; of
            all samples, or of those that are not in the data's own test split.
        test_fraction: share of all samples held out for the test, in (0, 1), unless the data has a test split.
        split_seed: seed of the split.
        folds: number of folds of all samples that are not for the test, at least 2; 0 for none.
        fold: which of them is the validation split, from 0 on.
        split_file: takes the split from here instead, such as the `splits.npz` of a run; null to draw it.
        normalize: bring the inputs to mean 0 and variance 1, per channel of an image and per column of a vector.
        augment: changes training batches at random, such as ImageAugmentation; null for none.
        workers: processes that load batches; 0 to load them in the training's own.
        statistics_samples: how many samples of the training split mean and variance are taken from, at most, where each
            has to be read for that, such as of a lazy folder of images.

    Raises:
        ValueError: if an argument is out of range or the fractions leave no sample for training.
    """

    classes: list[str] | None = None  # names of the classes
    targets: list[str] | None = None  # or names of the numeric targets
    multilabel = False  # whether a sample can have several classes
    vocabulary: int | None = None  # number of different tokens, if the inputs are tokens
    lengths = False  # whether the inputs are padded sequences, whose lengths come after them
    names: Sequence[str] | None = None  # of the samples, such as files
    own_val = own_test = 0  # the data's own splits: the last samples are for the test, those before for validation
    groups: Any = None  # group of each sample, which no split cuts; for the splits
    times: Any = None  # when each sample was taken; for the splits
    preparation: dict[str, Any] = {}  # arguments of Preprocessing besides the statistics
    scaled: list[bool] | None = None  # which features are normalised; None for all
    notes: list[str] = []  # what a user should know of the data, a sentence each

    def __init__(
        self,
        batch_size: int = 64,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        folds: int = 0,
        fold: int = 0,
        split_file: str | None = None,
        normalize: bool = True,
        augment: Augmentation | None = None,
        workers: int = 0,
        statistics_samples: int = 2000,
    ) -> None:
        super().__init__()
        self.learnt = LEARNT.get()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: expected a positive integer")
        if val_fraction <= 0 or test_fraction <= 0 or val_fraction + test_fraction >= 1:
            raise ValueError(
                f"val_fraction is {val_fraction} and test_fraction is {test_fraction}: "
                "expected positive fractions that leave samples for training"
            )
        if folds == 1 or folds < 0 or not 0 <= fold < max(1, folds):
            raise ValueError(f"fold is {fold} and folds is {folds}: expected two folds or more, and one of them from 0")
        if workers < 0:
            raise ValueError(f"workers is {workers}: expected a number of processes, or 0")
        if statistics_samples < 1:
            raise ValueError(f"statistics_samples is {statistics_samples}: expected a positive number")
        self.batch_size, self.workers, self.statistics_samples = batch_size, workers, statistics_samples
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.split_seed, self.folds, self.fold, self.split_file = split_seed, folds, fold, split_file
        self.normalize, self.augment = normalize, augment
        self.save_hyperparameters(logger=False)
        if isinstance(self.hparams["augment"], Augmentation):  # built in Python rather than by the command line
            self.hparams["augment"] = plain("augment", augment)

    def load(self) -> tuple[Any, ...]:
        """Inputs (N, *input_shape), and class indices (N,) int64, 0/1 labels (N, K) or numeric targets (N, T) float32.

        Inputs are float32, or tokens int64; a tensor, or LazyInputs, which can be uint8 (0 to 255) too. Between
        inputs and targets come the lengths (N,) of padded sequences, if `lengths` says that there are some; any others
        are further inputs of a sample, such as the row of a table beside an image, and stay as they are.

        It may set `notes`, `preparation` and `scaled`, and `splits` if it has to know which samples are for training.
        """
        raise NotImplementedError

    @cached_property
    def samples(self) -> tuple[Any, ...]:
        samples = self.load()
        if self.split_file:
            kept = read_saved(self.split_file)
            self.notes = [*self.notes, *(changes_of(kept, self.look_of_inputs(samples[0])) if has_look(kept) else [])]
        return samples

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
        set_by_load = vars(self).get("splits")
        return set_by_load or self.split(targets)

    def split(self, targets: Tensor) -> dict[str, Tensor]:
        """Draw the splits, or read them, for all targets (N, …). For a `load` that has to know what is for training."""
        if self.split_file:
            return read_splits(self.split_file, fingerprint(targets, self.names))
        one_class_each = self.classes and not self.multilabel and targets.dim() == 1  # rather than a mask of classes
        labels = targets.numpy() if one_class_each else None
        splitter = Splitter(labels, self.groups, self.times, self.split_seed, self.classes)
        own = self.own_val, self.own_test
        return draw_splits(splitter, len(targets), *own, self.val_fraction, self.test_fraction, self.folds, self.fold)

    def look_of_inputs(self, inputs: Any) -> dict[str, Any]:
        """What the inputs, those of the samples, look like: see look_of."""
        return look_of(inputs, self.source_files())

    def source_files(self) -> list[str]:
        """The files that the samples are read from, if any."""
        return []

    @property
    def class_counts(self) -> dict[str, dict[str, int]]:
        """How many samples (of masks: pixels) of each class each split has; empty for numeric targets."""
        counts: dict[str, dict[str, int]] = {}
        if not self.classes:
            return counts
        for split, indices in self.splits.items():
            targets = self.samples[-1][indices]
            if self.multilabel:
                sizes = targets.sum(dim=0)
            else:  # without what is no class, such as the 255 of a pixel that does not count
                sizes = torch.bincount(targets.flatten(), minlength=len(self.classes))[: len(self.classes)]
            counts[split] = dict(zip(self.classes, sizes.tolist(), strict=True))
        return counts

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What brings raw inputs to what the model takes, with the statistics of the training split.

        Where a checkpoint is measured, they are those of the checkpoint: see `learnt`.
        """
        inputs, *others, _ = self.samples
        lengths = others[: int(self.lengths)]  # one, or none
        train = self.splits["train"]
        train_inputs = inputs[train] if isinstance(inputs, Tensor) else None  # a mapped array is read in parts
        arguments: dict[str, Any] = {"lengths": self.lengths, "further_inputs": len(others) - len(lengths)}
        if train_inputs is not None and train_inputs.dim() == 4:
            arguments["bounded"] = bool(train_inputs.min() >= 0 and train_inputs.max() <= 1)
        if self.normalize and inputs.dtype != torch.int64:
            if train_inputs is None:
                deviation, mean = inputs.statistics(self._measured(inputs, train), *lengths)
            else:
                deviation, mean = statistics(train_inputs, *(each[train] for each in lengths))
            arguments |= self._scale(deviation, mean)
        dtype = str(inputs.dtype).removeprefix("torch.")
        own = Preprocessing(self.input_shape, dtype, **{**arguments, **self.preparation})
        return Preprocessing(**self.learnt) if self.learnt and own.is_alike(self.learnt) else own

    def _measured(self, inputs: LazyInputs, train: Tensor) -> Tensor:
        """What of the training split its statistics are taken from: all, or some at random if that takes long."""
        if not inputs.is_slow or len(train) <= self.statistics_samples:
            return train
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.split_seed))
        return train[order[: self.statistics_samples]]

    def _scale(self, deviation: Tensor, mean: Tensor) -> dict[str, list[float]]:
        """The `mean` and `std` that Preprocessing takes, from those of the training split, (F,) each."""
        if not mean.isfinite().all():
            self._refuse_non_finite(["train"])
            raise ValueError("the inputs of the training split are too large: their mean is no finite number")
        if self.scaled is not None:
            unscaled = ~torch.tensor(self.scaled)
            mean, deviation = mean.masked_fill(unscaled, 0.0), deviation.masked_fill(unscaled, 1.0)
        # What is constant but for rounding, or has one sample (whose deviation is NaN), is left in its unit.
        constant = ~(deviation > 1e-6 * mean.abs())
        return {"mean": mean.tolist(), "std": deviation.float().masked_fill(constant, 1.0).tolist()}

    @property
    def takes_only_finite(self) -> bool:
        """Whether NaN or infinity in the inputs is a mistake, rather than for a model that may know what they mean."""
        return self.normalize or isinstance(self.samples[0], LazyInputs)

    def _refuse_non_finite(self, splits: Iterable[str]) -> None:
        """End the command if the inputs of a split hold NaN or infinity, before they spoil its metrics."""
        inputs = self.samples[0]
        if getattr(inputs, "is_slow", False):
            return
        for split in splits:
            index = first_non_finite(inputs, self.splits[split]) if self.takes_only_finite else None
            if index is not None:
                place = inputs.place_of(index) if isinstance(inputs, LazyInputs) else f"sample {index} (from 0)"
                raise Stopped(f"{place} holds a value that is no finite number, and is for {split}: correct it")

    def setup(self, stage: str) -> None:
        inputs, *others = self.samples
        transform: Any = self.preprocessing
        self._refuse_non_finite(SPLITS_OF_STAGE.get(stage, ("val", "test") if self.normalize else SPLITS))
        if isinstance(inputs, Tensor):  # in memory: transformed once and for all
            inputs, transform = transform(inputs, *others[:-1]), None
            if self.trainer and not self.workers:  # no process that loads batches could share a GPU's memory
                inputs, *others = on_gpu([inputs, *others], self.trainer.strategy.root_device)
        self.sets = {
            name: Batches(inputs, *others, indices=index, transform=transform) for name, index in self.splits.items()
        }

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.augment is None or not self.trainer or not self.trainer.training or isinstance(batch, Tensor):
            return batch  # a lone tensor is the summary's example
        return self.augmented(batch, *Position(self.trainer).place)

    def augmented(self, batch: Any, *place: int) -> Any:
        """Augment a batch at random; the same at the same `place` (seed, epoch, batch and process)."""
        assert self.augment
        inputs, *others, targets = batch
        seed = int(np.random.SeedSequence(place).generate_state(1)[0])
        with Seeded(seed, inputs.device):
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
        training = split == "train"
        position = Position(self.trainer) if training and self.trainer else None
        sampler = BatchIndices(len(self.splits[split]), self.batch_size, shuffle=training, position=position)
        pinned = self.trainer.strategy.root_device.type == "cuda" if self.trainer else torch.cuda.is_available()
        options: dict[str, Any] = {"batch_size": None, "pin_memory": pinned}  # sampled as batches
        options |= {"num_workers": self.workers, "persistent_workers": self.workers > 0, "worker_init_fn": start_worker}
        options["generator"] = torch.Generator()  # dropout and the like don't depend on how batches are loaded
        plain = isinstance(self.samples[0], Tensor) and not self.workers and self.sets[split].transform is None
        kind = MemoryLoader if plain else DataLoader
        return kind(self.sets[split], sampler=sampler, **options)


def statistics(inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean of each feature of vectors or sequences, or of each channel of images, (F,) each."""
    if inputs.dim() == 3:
        inputs = rows(inputs, lengths)
    return torch.std_mean(inputs, dim=[0, *range(2, inputs.dim())])
