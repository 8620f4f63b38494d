"""Draws splits that don't leak: stratified, by group, in the order of time, and as one of several folds."""

import math
import zlib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import model_selection as ms
from torch import Tensor

Indices = np.ndarray[Any, np.dtype[np.int64]]


class Splitter:
    """Splits samples once the data has told what it knows of them.

    Args:
        labels: class of each sample (N,), by which the splits are stratified; None for none.
        groups: group of each sample (N,), such as a patient: no group is in two splits; None for none.
        times: when each sample was taken (N,): training comes before validation, and that before test; None for none.
        seed: of the draw.
        names: of the classes.

    Raises:
        ValueError: if groups and times are both given, or there is too little to split.
    """

    def __init__(
        self, labels: Any = None, groups: Any = None, times: Any = None, seed: int = 0, names: list[str] | None = None
    ) -> None:
        if groups is not None and times is not None:
            raise ValueError("group and time are both given: a split follows one or the other")
        self.labels, self.groups, self.times, self.seed, self.names = labels, groups, times, seed, names

    def name(self, label: Any) -> str:
        return f"class {self.names[int(label)] if self.names else label}"

    def cut(self, indices: Indices, count: int) -> tuple[Indices, Indices]:
        """Take about `count` of the samples away: what is left, and what was taken."""
        if self.times is not None:
            times = self.times[indices]
            late = times >= np.sort(times)[-count:][:1]  # the same moment is never on both sides
            return indices[~late], indices[late]
        if self.groups is not None:
            limit, _ = self._limit(indices)
            if limit < 2:
                raise ValueError("there are too few groups: train, val and test need at least one each")
            folds = max(2, min(round(len(indices) / count), limit))
            parts = [self.fold(indices, folds, fold) for fold in range(folds)]
            return min(parts, key=lambda part: abs(len(part[1]) - count))  # groups can be of very unequal sizes
        stratify = self.labels[indices] if self.labels is not None else None
        if stratify is not None and len(stratify):
            labels, counts = np.unique(stratify, return_counts=True)
            if counts.min() < 2:
                label = labels[counts.argmin()]
                size = (self.labels == label).sum()
                raise ValueError(f"{self.name(label)} has too few samples ({size}): train, val and test need some each")
        rest, taken = ms.train_test_split(indices, test_size=count, random_state=self.seed, stratify=stratify)
        return rest, taken

    def fold(self, indices: Indices, folds: int, fold: int) -> tuple[Indices, Indices]:
        """Split into `folds` parts: all but one, and that one. In the order of time: what comes before it, and it."""
        labels, groups = (None if each is None else each[indices] for each in (self.labels, self.groups))
        limit, what = self._limit(indices)
        if folds > limit:
            raise ValueError(f"folds is {folds}: expected at most {limit}, since the data has {what} besides the test")
        random = {"shuffle": True, "random_state": self.seed}
        if self.times is not None:
            moments, when = np.unique(self.times[indices], return_inverse=True)
            before, within = list(ms.TimeSeriesSplit(folds).split(moments))[fold]
            return indices[np.isin(when, before)], indices[np.isin(when, within)]
        if groups is not None:
            splitter = (ms.GroupKFold if labels is None else ms.StratifiedGroupKFold)(folds, **random)
        else:
            splitter = (ms.KFold if labels is None else ms.StratifiedKFold)(folds, **random)
        rest, taken = list(splitter.split(indices, labels, groups))[fold]
        return indices[rest], indices[taken]

    def _limit(self, indices: Indices) -> tuple[int, str]:
        """The largest number of folds, and what makes it that."""
        if self.times is not None:
            count = len(np.unique(self.times[indices]))
            return count - 1, f"{count} moments"
        limits = [(len(indices), f"{len(indices)} samples")]
        if self.groups is not None:
            count = len(np.unique(self.groups[indices]))
            limits.append((count, f"{count} groups"))
        if self.labels is not None:
            count = int(np.bincount(self.labels[indices]).max(initial=0))
            limits.append((count, f"{count} samples of its largest class"))
        return min(limits)


def draw_splits(
    splitter: Splitter, size: int, own_val: int, own_test: int, val: float, test: float, folds: int, fold: int
) -> dict[str, Tensor]:
    """Indices of the splits `train`, `val` and `test` of `size` samples.

    The last `own_test` samples and the `own_val` before them are splits of their own. The fractions `val` and `test`
    are of all samples. With `folds`, validation is fold number `fold` of all that is not for the test.
    """
    if folds and own_val:
        raise ValueError("folds is set, but the data has a validation split of its own")
    rest, validation, testing = np.split(np.arange(size), [size - own_val - own_test, size - own_test])
    if not own_test:
        rest, testing = splitter.cut(rest, math.ceil(test * size - 1e-6))
    if folds:
        rest, validation = splitter.fold(rest, folds, fold)
    elif not own_val:
        rest, validation = splitter.cut(rest, math.ceil(val * size - 1e-6))
    parts = {"train": rest, "val": validation, "test": testing}
    if empty := [name for name, part in parts.items() if not len(part)]:
        raise ValueError(f"the split leaves no sample for {empty[0]}: the data is too small, or of too few moments")
    labels, groups = splitter.labels, splitter.groups
    if labels is not None and (lost := set(labels.tolist()) - set(labels[rest].tolist())):
        raise ValueError(f"{splitter.name(min(lost))} has no sample in train: too few groups or moments have it")
    if groups is not None and len(groups) == size:  # of the data's own splits too
        for one, other in combinations(parts, 2):
            if both := set(groups[parts[one]].tolist()) & set(groups[parts[other]].tolist()):
                raise ValueError(f"group {min(both)} is in {one} and in {other}: it belongs in one of them")
    return {name: torch.from_numpy(part) for name, part in parts.items()}


def fingerprint(targets: Tensor, names: list[str] | None) -> int:
    """Tells whether the samples are still the same, and in the same order."""
    return zlib.crc32(targets.contiguous().numpy().tobytes() + "\n".join(names or []).encode())


def save_splits(path: Path, splits: dict[str, Tensor], samples: int) -> None:
    """Write the indices of the splits, and the fingerprint of the `samples` that they are of."""
    arrays: dict[str, Any] = {name: part.numpy() for name, part in splits.items()}
    np.savez(path, samples=samples, **arrays)


def read_splits(path: str, samples: int) -> dict[str, Tensor]:
    """Read what `save_splits` wrote; a ValueError if it is of other samples."""
    try:
        with np.load(path) as file:
            same = file["samples"] == samples
            splits = {name: torch.from_numpy(file[name]) for name in ("train", "val", "test")}
    except Exception as error:  # a damaged archive fails in many ways
        reason = getattr(error, "strerror", None) or "it is not what a run keeps as splits.npz"
        raise ValueError(f"split_file is {path!r}: can't be read ({reason})") from None
    if not same:
        raise ValueError(
            f"the data has changed since the split in {path} was drawn: bring the old files back or start a new run; "
            "kindling predict --input takes new ones"
        )
    return splits
