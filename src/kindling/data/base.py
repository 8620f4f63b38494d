"""What all data shares: seeded splits, normalisation with training statistics, and loaders of whole batches."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, reduce
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from kindling.core.errors import Stopped
from kindling.core.plain_values import plain
from kindling.data.augmentation import Augmentation
from kindling.data.batches import Batches, BatchIndices, MemoryLoader, of_workers, on_gpu
from kindling.data.fingerprint import changes_of, fingerprint, has_look, look_of
from kindling.data.lazy_inputs import LazyInputs, first_non_finite
from kindling.data.lazy_samples import ArraySamples, EpochIndices, LazySamples, SampleBatches, classes_of, joined
from kindling.data.learn_preprocessing import learn_preprocessing, some_of_train
from kindling.data.position import Position, Seeded
from kindling.data.preprocessing import LEARNT, Preprocessing
from kindling.data.splits import SPLITS, Splitter, draw_splits, read_saved, read_splits

SPLITS_OF_STAGE = {"validate": ("val",), "test": ("test",), "predict": ("test",)}  # what a Lightning stage reads


class Data(L.LightningDataModule):
    """Base of all data. A subclass defines `load` and sets `classes` or `targets`; splits and loaders come from here.

    The splits are disjoint, drawn with `split_seed` (never with the seed of the training), and stratified when every
    sample has one class. Statistics for the normalisation come from the training split alone.

    Args:
        batch_size: samples per batch; the last, smaller batch of a training epoch is left out.
        val_fraction: share of the samples used for validation, in (0, 1), unless the data has a validation split; of
            all samples, or of those that are not in the data's own test split.
        test_fraction: share of all samples held out for the test, in (0, 1), unless the data has a test split.
        split_seed: seed of the split.
        folds: number of folds, at least 2, of all samples that are not for the test; 0 for none.
        fold: which of them is the validation split, counted from 0.
        split_file: a file to take the split from instead, such as the `splits.npz` of a run; null to draw it.
        normalize: bring the inputs to mean 0 and variance 1, per channel of an image and per column of a vector.
        augment: changes training batches at random, such as ImageAugmentation; null for none.
        transforms: random changes to the input of each training sample, in this order, before it is normalised: of
            torchvision.transforms.v2, by path; they run where samples are read, so give `workers` as well.
        workers: processes that load batches; 0 to load them in the training process itself.
        statistics_samples: the most training samples that mean and variance are taken from, where each has to be read
            for that, as in a lazy folder of images.

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
    lazy_samples: LazySamples | None = None  # if `load` gives a data set
    preparation: dict[str, Any] = {}  # arguments of Preprocessing besides the statistics
    scaled: list[bool] | None = None  # which features are normalised; None for all
    notes: list[str] = []  # what a user should know of the data, one sentence each

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
        transforms: list[Callable[..., Any]] = [],  # noqa: B006 (read only)
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
        self.normalize, self.augment, self.transforms = normalize, augment, transforms
        self.save_hyperparameters(logger=False)
        # Built in Python rather than by the command line, they are objects, which a checkpoint can't hold.
        if isinstance(self.hparams["augment"], Augmentation):
            self.hparams["augment"] = plain("augment", augment)
        if any(map(callable, self.hparams["transforms"])):
            del self.hparams["transforms"]

    def load(self) -> Any:
        """Inputs (N, *input_shape), and class indices (N,) int64, 0/1 labels (N, K) or numeric targets (N, T) float32.

        Inputs are float32, or tokens int64; a tensor, or LazyInputs, which can be uint8 (0 to 255) too. Between
        inputs and targets come the lengths (N,) of padded sequences, if `lengths` says that there are some; any others
        are further inputs of a sample, such as the row of a table beside an image, and stay as they are.

        Or a map-style data set of samples (input, …, target), each of which is read when a batch asks for it; or a dict
        of one for `train` and, if there are any, `val` and `test`. Its `classes` and `targets` are used.

        It may set `notes`, `preparation` and `scaled`, and `splits` if it has to know which samples are for training.
        """
        raise NotImplementedError

    @cached_property
    def samples(self) -> tuple[Any, ...]:
        samples = self.load()
        if not isinstance(samples, tuple):
            samples = self._samples_of(samples)
        if self.split_file:
            kept = read_saved(self.split_file)
            self.notes = [*self.notes, *(changes_of(kept, self.look_of_inputs(samples[0])) if has_look(kept) else [])]
        return samples

    def _samples_of(self, loaded: Any) -> tuple[Any, ...]:
        """Inputs, …, targets of a data set, or of one a split."""
        if isinstance(loaded, dict):
            loaded, self.own_val, self.own_test = joined(loaded)
        if not (self.classes or self.targets):
            self.classes = classes_of(loaded)
        self.lazy_samples = LazySamples(loaded)
        return self.lazy_samples.parts()

    def collate(self, samples: list[Any]) -> Any:
        """A batch of samples of a data set, which may be any nesting; by default torch's."""
        return default_collate(samples)

    def change(self, sample: Any) -> Any:
        """Change a sample (input, …, target) of the training split at random: here, the input by `transforms`.

        It runs where samples are read, such as in a worker, with the same random numbers for the same seed of the run,
        epoch and sample. Where input and target have to change alike, like an image and its mask, override this.
        """
        first, *others = sample
        return reduce(lambda changed, transform: transform(changed), self.transforms, first), *others

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.samples[0].shape[1:])

    @property
    def has_arrays(self) -> bool:
        """Whether the inputs are arrays, rather than a dict, a text or whatever else a data set gives."""
        return isinstance(self.samples[0], Tensor | LazyInputs)

    @property
    def train_targets(self) -> Tensor:
        """The targets of the training split; if they are read one by one, at most `statistics_samples`."""
        return self.samples[-1][some_of_train(self, self.samples[-1])]

    @cached_property
    def splits(self) -> dict[str, Tensor]:
        """Sample indices of the splits `train`, `val` and `test`."""
        targets = self.samples[-1]  # which may set the splits
        return vars(self).get("splits") or self.split(targets)

    def split(self, targets: Tensor) -> dict[str, Tensor]:
        """Draw the splits, or read them, for all targets (N, …). For a `load` that has to know what is for training."""
        if self.split_file:
            return read_splits(self.split_file, fingerprint(targets, self.names))
        one_class_each = self.classes and not self.multilabel and len(targets.shape) == 1  # rather than masks
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
        """How many samples (of masks: pixels) of each class each split has; empty for numeric and lazy targets."""
        counts: dict[str, dict[str, int]] = {}
        if not self.classes or isinstance(self.samples[-1], LazyInputs):
            return counts
        for split, indices in self.splits.items():
            targets = self.samples[-1][indices]
            if self.multilabel:
                sizes = targets.sum(dim=0)
            else:  # without what is not a class, such as the 255 of a pixel that does not count
                sizes = torch.bincount(targets.flatten(), minlength=len(self.classes))[: len(self.classes)]
            counts[split] = dict(zip(self.classes, sizes.tolist(), strict=True))
        return counts

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What brings raw inputs to what the model takes, with the statistics of the training split.

        Where a checkpoint is measured, they are those of the checkpoint: see `learnt`.
        """
        own = learn_preprocessing(self)
        return Preprocessing(**self.learnt) if self.learnt and own.is_alike(self.learnt) else own

    @property
    def takes_only_finite(self) -> bool:
        """Whether NaN or infinity in the inputs is a mistake, rather than something that the model may understand."""
        return self.normalize or isinstance(self.samples[0], LazyInputs)

    def refuse_non_finite(self, splits: Iterable[str]) -> None:
        """End the command if the inputs of a split hold NaN or infinity, before they spoil its metrics."""
        inputs = self.samples[0]
        if not self.has_arrays or getattr(inputs, "is_slow", False):
            return
        for split in splits:
            index = first_non_finite(inputs, self.splits[split]) if self.takes_only_finite else None
            if index is not None:
                place = inputs.place_of(index) if isinstance(inputs, LazyInputs) else f"sample {index} (from 0)"
                raise Stopped(f"{place} holds a value that is not a finite number, and is for {split}: correct it")

    def setup(self, stage: str) -> None:
        self.refuse_non_finite(SPLITS_OF_STAGE.get(stage, ("val", "test") if self.normalize else SPLITS))
        self.sets: dict[str, Any] = {}
        if not self.lazy_samples:
            self.sets = self._whole_batches()
        self.sets |= {split: self._sample_batches(split) for split in self.splits if self._reads_samples(split)}

    def _reads_samples(self, split: str) -> bool:
        """Whether batches of a split are put together sample by sample, rather than taken whole."""
        changes = bool(self.transforms) or type(self).change is not Data.change
        return self.lazy_samples is not None or (changes and split == "train")

    def _sample_batches(self, split: str) -> SampleBatches:
        samples = self.lazy_samples or ArraySamples(self.samples)
        prepare = self.preprocessing if self.has_arrays else None
        change = self.change if split == "train" else None
        return SampleBatches(samples, self.splits[split], self.collate, prepare, change)

    def _whole_batches(self) -> dict[str, Batches]:
        inputs, *others = self.samples
        transform: Any = self.preprocessing
        if isinstance(inputs, Tensor):  # in memory: transformed once and for all
            inputs, transform = transform(inputs, *others[:-1]), None
            if self.trainer and not self.workers:  # processes that load batches can't share a GPU's memory
                inputs, *others = on_gpu([inputs, *others], self.trainer.strategy.root_device)
        return {
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
        reads_samples = self._reads_samples(split)
        order = getattr(self.splits[split], "order", EpochIndices if reads_samples else BatchIndices)
        sampler = order(len(self.splits[split]), self.batch_size, shuffle=training, position=position)
        pinned = self.trainer.strategy.root_device.type == "cuda" if self.trainer else torch.cuda.is_available()
        options: dict[str, Any] = {"batch_size": None, "pin_memory": pinned}  # sampled as batches
        options |= of_workers(self.workers)
        options["generator"] = torch.Generator()  # dropout and the like don't depend on how batches are loaded
        batches = self.sets[split]
        in_memory = isinstance(self.samples[0], Tensor) and not self.workers and not reads_samples
        kind = MemoryLoader if in_memory and batches.transform is None else DataLoader
        return kind(batches, sampler=sampler, **options)
