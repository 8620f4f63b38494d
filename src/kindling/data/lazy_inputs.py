"""Inputs that stay where they are, such as in a mapped file, until a batch asks for them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHUNK = 2**22  # numbers that are held at once while statistics are taken


def rows(inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """All positions of vectors, sequences (without their padding) or images as rows of features: (M, F)."""
    if inputs.dim() == 4:
        return inputs.transpose(0, 1).flatten(1).T
    if lengths is not None:
        return inputs[torch.arange(inputs.shape[1]) < lengths[:, None]]
    return inputs.flatten(0, -2)


class LazyInputs:
    """Inputs (N, …) that are read when a batch asks for them: like a tensor, by samples. A subclass reads them.

    Attributes:
        shape: (N, *input_shape).
        dtype: uint8, from 0 to 255, float32, or int64 for tokens.
        is_slow: whether reading one takes so long that a command does not go through all before the training.
        files: the image file of each, whose size a predicted mask gets; None for none.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_slow = False
    files: list[str] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Some samples: indices (B,) → (B, *input_shape)."""
        raise NotImplementedError

    def place_of(self, index: int) -> str:
        """What a user calls a sample."""
        return f"sample {index} (from 0)"

    def statistics(self, indices: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standard deviation and mean of each feature or channel over some samples; uint8 is taken for 0 to 1."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for part in indices.sort().values.split(max(1, CHUNK // math.prod(self.shape[1:]))):
            features = rows(self[part], None if lengths is None else lengths[part]).double()  # (M, F)
            count += len(features)
            total, squares = total + features.sum(dim=0), squares + features.square().sum(dim=0)
        deviation = ((squares - total.square() / count).clamp_min(0) / max(1, count - 1)).sqrt()
        unit = 255 if self.dtype == torch.uint8 else 1
        return deviation / unit, total / count / unit


class MappedArray(LazyInputs):
    """Arrays (N, …) one after the other. Memory-mapped ones can be larger than memory.

    Args:
        *arrays: of the same shape and type but for their lengths.
        arrange: brings a batch of them to (B, *input_shape), such as channels first; None if they have that shape.
        names: what a user calls each of them; None for inputs.
        files: the image file of each sample; None if they are not from files.
    """

    def __init__(
        self,
        *arrays: Any,
        arrange: Callable[[Tensor], Tensor] | None = None,
        names: list[str] | None = None,
        files: list[str] | None = None,
    ) -> None:
        self.files = files
        self.arrays, self.arrange, self.names = arrays, arrange, names or ["inputs"] * len(arrays)
        self.ends = np.cumsum([len(array) for array in arrays])
        first = self[torch.arange(int(self.ends[-1] > 0))]
        self.shape, self.dtype = (int(self.ends[-1]), *first.shape[1:]), first.dtype

    def __getitem__(self, indices: Tensor) -> Tensor:
        rows = indices.numpy()
        batch = np.empty((len(rows), *self.arrays[0].shape[1:]), self.arrays[0].dtype.newbyteorder("="))
        for array, end in zip(self.arrays, self.ends, strict=True):
            inside = (rows < end) & (rows >= end - len(array))
            batch[inside] = array[rows[inside] - (end - len(array))]
        return self.arrange(torch.from_numpy(batch)) if self.arrange else torch.from_numpy(batch)

    def place_of(self, index: int) -> str:
        """A sample by the name of its array and its number there, such as `x_val, sample 3 (from 0)`."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        start = self.ends[number] - len(self.arrays[number])
        return f"{self.names[number]}, sample {index - start} (from 0)"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "arrays": list(map(as_place, self.arrays))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.arrays = tuple(map(from_place, self.arrays))


def as_place(array: Any) -> Any:
    """An array for a worker process, which maps a file itself rather than getting a copy of it all."""
    if not isinstance(array, np.memmap):
        return array
    order = "C" if array.flags.c_contiguous else "F"
    return array.filename, array.dtype, "r", array.offset, array.shape, order


def from_place(array: Any) -> Any:
    """What `as_place` was given."""
    return np.memmap(*array) if isinstance(array, tuple) else array


def first_non_finite(inputs: Tensor | LazyInputs, indices: Tensor) -> int | None:
    """The first of some samples that holds NaN or infinity; None if none does."""
    if not inputs.dtype.is_floating_point:
        return None
    for part in indices.split(max(1, CHUNK // max(1, math.prod(inputs.shape[1:])))):
        is_fine = inputs[part].isfinite().flatten(1).all(dim=1)
        if not is_fine.all():
            return int(part[~is_fine][0])
    return None
