"""Inputs to predict, batch by batch: here from a run's own test split, in input_files.py from the user's files."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from kindling.data.base import Data
from kindling.data.lazy_inputs import LazyInputs


@dataclass
class InputBatch:
    """Consecutive inputs.

    Args:
        names: what each is called: its file, or its row counted from 0.
        reasons: why each can't be read; "" if it can.
        tensors: those that can be read, as `Predictor.scores` takes them: raw inputs, then lengths and the like.
        targets: the true values, if they are given.
        counts: what was missing or never seen, as columns.encode counts it.
        files: the image file of each that can be read, to bring a mask to its size; empty if there are none.
    """

    names: list[str]
    reasons: list[str]
    tensors: tuple[Tensor, ...]
    targets: Any = None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)


@dataclass
class Predictions:
    """What a model makes of consecutive inputs.

    Args:
        names: what each is called.
        reasons: why each can't be read; "" if it can.
        scores: those of the inputs that can be read, as the model's task gives them.
        targets: the true values, if they are given.
        counts: what was missing or never seen.
        files: the image file of each input that can be read; empty if there are none.
    """

    names: list[str]
    reasons: list[str]
    scores: Any
    targets: Any = None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)


@dataclass
class InputBatches:
    """Batches to go through once, and how many inputs there are in all, if that is known in advance."""

    total: int | None
    batches: Iterator[InputBatch]


def has_raw_samples(data: Any) -> bool:
    """Whether data keeps its raw inputs as one tensor or array, and its targets as another."""
    if not isinstance(data, Data) or not isinstance(data.samples, tuple):
        return False
    inputs, targets = data.samples[0], data.samples[-1]
    return isinstance(inputs, Tensor | LazyInputs) and isinstance(targets, Tensor)


def finite(raw: Tensor) -> tuple[list[str], Any]:
    """Why each sample can't be predicted, "" if it can; and which can, (N,)."""
    is_finite = raw.isfinite().flatten(1).all(dim=1)
    reasons = ["" if fine else "it contains values that are not finite" for fine in is_finite.tolist()]
    return reasons, is_finite


def of_test_split(data: Data, size: int) -> InputBatches:
    """The raw samples of the data's test split, in batches of at most `size`."""
    indices = data.splits["test"]

    def batches() -> Iterator[InputBatch]:
        *inputs, targets = data.samples
        for rows in indices.split(size):
            names = [data.names[row] if data.names else str(row) for row in rows.tolist()]
            raw, *others = (each[rows] for each in inputs)
            reasons, is_fine = finite(raw) if data.takes_only_finite else ([""] * len(rows), slice(None))
            tensors = tuple(each[is_fine] for each in (raw, *others))
            of_files = getattr(inputs[0], "files", None)
            readable = [row for row, reason in zip(rows.tolist(), reasons, strict=True) if not reason]
            files = [of_files[row] for row in readable] if of_files else []
            yield InputBatch(names, reasons, tensors, targets[rows][is_fine], files=files)

    return InputBatches(len(indices), batches())
