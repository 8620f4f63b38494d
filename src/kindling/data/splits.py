"""Draws splits that don't leak: stratified, by group, in the order of time, and as one of several folds."""

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import model_selection as ms
from torch import Tensor

Indices = np.ndarray[Any, np.dtype[np.int64]]
SPLITS = ("train", "val", "test")


class Splitter:
    """Splits samples by what the data says about them: their classes, their groups, or when they were taken.

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
            return self._cut_by_time(indices, count)
        if self.groups is not None:
            return self._cut_by_group(indices, count)
        stratify = None if self.labels is None else self.labels[indices]
        if stratify is not None and len(stratify):
            self._check_class_sizes(stratify)
        rest, taken = ms.train_test_split(indices, test_size=count, random_state=self.seed, stratify=stratify)
        return rest, taken

    def _cut_by_time(self, indices: Indices, count: int) -> tuple[Indices, Indices]:
        times = self.times[indices]
        first_taken = np.sort(times)[-count:][:1]
        is_taken = times >= first_taken  # the same moment is never on both sides
        return indices[~is_taken], indices[is_taken]

    def _cut_by_group(self, indices: Indices, count: int) -> tuple[Indices, Indices]:
        limit, _ = self._most_folds(indices)
        if limit < 2:
            raise ValueError("there are too few groups: train, val and test need at least one each")
        folds = max(2, min(round(len(indices) / count), limit))
        candidates = [self.fold(indices, folds, fold) for fold in range(folds)]
        # Groups can be of very unequal sizes: take the fold whose size is nearest.
        return min(candidates, key=lambda candidate: abs(len(candidate[1]) - count))

    def _check_class_sizes(self, labels: Indices) -> None:
        classes, counts = np.unique(labels, return_counts=True)
        if counts.min() < 2:
            smallest = classes[counts.argmin()]
            size = (self.labels == smallest).sum()
            raise ValueError(f"{self.name(smallest)} has too few samples ({size}): train, val and test need some each")

    def fold(self, indices: Indices, folds: int, fold: int) -> tuple[Indices, Indices]:
        """Split into `folds` parts: all but one, and that one. With times: what comes before it, and it."""
        limit, reason = self._most_folds(indices)
        if folds > limit:
            raise ValueError(
                f"folds is {folds}: expected at most {limit}, since the data has {reason} outside the test split"
            )
        if self.times is not None:
            moments, moment_of = np.unique(self.times[indices], return_inverse=True)
            before, within = list(ms.TimeSeriesSplit(folds).split(moments))[fold]
            return indices[np.isin(moment_of, before)], indices[np.isin(moment_of, within)]
        labels = None if self.labels is None else self.labels[indices]
        groups = None if self.groups is None else self.groups[indices]
        if groups is not None:
            fold_class = ms.GroupKFold if labels is None else ms.StratifiedGroupKFold
        else:
            fold_class = ms.KFold if labels is None else ms.StratifiedKFold
        splitter = fold_class(folds, shuffle=True, random_state=self.seed)
        rest, taken = list(splitter.split(indices, labels, groups))[fold]
        return indices[rest], indices[taken]

    def _most_folds(self, indices: Indices) -> tuple[int, str]:
        """The largest number of folds, and what limits it."""
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
    are of all samples, except those of the data's own test. With `folds`, validation is fold number `fold` of all that
    is not for the test.
    """
    if folds and own_val:
        raise ValueError("folds is set, but the data has a validation split of its own")
    train, validation, testing = np.split(np.arange(size), [size - own_val - own_test, size - own_test])
    if not own_test:
        train, testing = splitter.cut(train, math.ceil(test * size - 1e-6))
    if folds:
        train, validation = splitter.fold(train, folds, fold)
    elif not own_val:
        train, validation = splitter.cut(train, math.ceil(val * (size - own_test) - 1e-6))
    splits = {"train": train, "val": validation, "test": testing}
    _check(splits, splitter, size)
    return {name: torch.from_numpy(indices) for name, indices in splits.items()}


def _check(splits: dict[str, Indices], splitter: Splitter, size: int) -> None:
    """Refuse an empty split, a class that is not trained on, and a group in two splits (they can be the data's own)."""
    if empty := [name for name, indices in splits.items() if not len(indices)]:
        raise ValueError(f"the split leaves no sample for {empty[0]}: the data is too small or has too few moments")
    labels, groups = splitter.labels, splitter.groups
    if labels is not None and (untrained := set(labels.tolist()) - set(labels[splits["train"]].tolist())):
        raise ValueError(f"{splitter.name(min(untrained))} has no sample in train: too few groups or moments have it")
    if groups is not None and len(groups) == size:
        groups_of = {name: set(groups[indices].tolist()) for name, indices in splits.items()}
        for one, other in combinations(splits, 2):
            if shared := groups_of[one] & groups_of[other]:
                raise ValueError(f"group {min(shared)} is in {one} and in {other}: it belongs in one of them")


def save_splits(path: Path, splits: dict[str, Tensor], samples: int, **look: Any) -> None:
    """Write the indices of the splits, the fingerprint of the `samples` that they index, and what those look like."""
    arrays: dict[str, Any] = {name: indices.numpy() for name, indices in splits.items()}
    np.savez(path, samples=samples, **arrays, **look)


def read_splits(path: str, samples: int) -> dict[str, Tensor]:
    """Read what `save_splits` wrote; a ValueError if it is of other samples."""
    content = read_saved(path)
    if content["samples"] != samples:
        raise ValueError(
            f"the data has changed since the split in {path} was drawn: bring the old files back or start a new run; "
            "kindling predict --input takes new ones"
        )
    return {name: torch.from_numpy(content[name]) for name in SPLITS}


def read_saved(path: str) -> dict[str, Any]:
    """All that `save_splits` wrote: older splits have no look of the inputs."""
    try:
        with np.load(path) as file:
            content = dict(file)
        lacking = {*SPLITS, "samples"} - {*content}
    except Exception as error:  # a damaged archive fails in many ways
        reason, lacking = getattr(error, "strerror", None), {path}
    else:
        reason = None
    if lacking:
        reason = reason or "it is not what a run keeps as splits.npz"
        raise ValueError(f"split_file is {path!r}: can't be read ({reason})")
    return content
