"""Learns from the training split how raw inputs become what a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kindling.data.lazy_inputs import rows
from kindling.data.preprocessing import Preprocessing

if TYPE_CHECKING:
    from kindling.data.base import Data


def learn_preprocessing(data: Data) -> Preprocessing:
    """The preprocessing of raw inputs, with the statistics of the training split.

    Raises:
        Stopped: if it holds values that are not finite numbers.
        ValueError: if its mean is not one, though they are.
    """
    inputs, *others, _ = data.samples
    lengths = others[: int(data.lengths)]  # one, or none
    train = data.splits["train"]
    arguments: dict[str, Any] = {"lengths": data.lengths, "further_inputs": len(others) - len(lengths)}
    normalises = data.normalize and inputs.dtype != torch.int64
    if isinstance(inputs, Tensor):
        train_inputs = inputs[train]
        if train_inputs.dim() == 4:
            arguments["bounded"] = bool(train_inputs.min() >= 0 and train_inputs.max() <= 1)
        if normalises:
            arguments |= _scale(data, *statistics(train_inputs, *(each[train] for each in lengths)))
    elif normalises:  # read in parts
        arguments |= _scale(data, *inputs.statistics(some_of_train(data, inputs), *lengths))
    dtype = str(inputs.dtype).removeprefix("torch.")
    return Preprocessing(data.input_shape, dtype, **{**arguments, **data.preparation})


def some_of_train(data: Data, values: Any) -> Tensor:
    """What to look at of the training split before the training: all, or some at random where each has to be read."""
    train = data.splits["train"]
    if hasattr(train, "some"):  # rows that are cheap to read only side by side
        return train.some(data.statistics_samples)
    if not getattr(values, "is_slow", False) or len(train) <= data.statistics_samples:
        return train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(data.split_seed))
    return train[order[: data.statistics_samples]]


def _scale(data: Data, deviation: Tensor, mean: Tensor) -> dict[str, list[float]]:
    """The `mean` and `std` that Preprocessing takes, from those of the training split, (F,) each."""
    if not mean.isfinite().all():
        data.refuse_non_finite(["train"])
        raise ValueError("the inputs of the training split are too large: their mean is not a finite number")
    if data.scaled is not None:
        unscaled = ~torch.tensor(data.scaled)
        mean, deviation = mean.masked_fill(unscaled, 0.0), deviation.masked_fill(unscaled, 1.0)
    # Features that are constant except for rounding, or have one sample (deviation NaN), are left in their unit.
    constant = ~(deviation > 1e-6 * mean.abs())
    return {"mean": mean.tolist(), "std": deviation.float().masked_fill(constant, 1.0).tolist()}


def statistics(inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean of each feature of vectors or sequences, or of each channel of images, (F,) each."""
    if inputs.dim() == 3:
        inputs = rows(inputs, lengths)
    return torch.std_mean(inputs, dim=[0, *range(2, inputs.dim())])
