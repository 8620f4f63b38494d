"""Image files that are decoded when a batch asks for them, and their names in little memory."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from kindling.core.errors import UnreadableSample
from kindling.data.image_files import read_pixels
from kindling.data.lazy_inputs import LazyInputs


class PackedNames(Sequence[str]):
    """Names as one string of bytes: each takes its length and 8 bytes, where a list takes 57 bytes more.

    Worker processes share it, since reading an array writes nothing, unlike reading a list.

    Args:
        parts: lists of names, one after the other.
    """

    bytes: np.ndarray
    ends: np.ndarray

    def __init__(self, parts: Iterable[Sequence[str]]) -> None:
        packed, lengths = [np.empty(0, np.uint8)], [np.zeros(1, np.int64)]
        for names in parts:
            if isinstance(names, PackedNames):
                packed.append(names.bytes)
                lengths.append(np.diff(names.ends))
                continue
            encoded = [os.fsencode(name) for name in names]
            packed.append(np.frombuffer(b"".join(encoded), np.uint8))
            lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        self.bytes = np.concatenate(packed)
        self.ends = np.cumsum(np.concatenate(lengths))

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = range(len(self))[place]  # counts from the end too, and refuses what is beyond it
        return os.fsdecode(self.bytes[self.ends[number] : self.ends[number + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))


class LazyImages(LazyInputs):
    """Image files by their number, (N, C, H, W) uint8; each is decoded by whoever asks for it, such as a worker.

    Args:
        root: the folder that all lie in.
        names: of the files, below the root.
        shape: (channels, height, width) of the pixels.
        resize: how to bring images to it: crop, pad or stretch.
    """

    is_slow = True

    def __init__(self, root: str, names: Sequence[str], shape: tuple[int, ...], resize: str) -> None:
        self.root, self.names, self.resize = root, names, resize
        self.shape, self.dtype = (len(names), *shape), torch.uint8

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Some images: indices (B,) → (B, C, H, W) uint8.

        Raises:
            UnreadableSample: if a file can't be read.
        """
        pixels = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for row, index in enumerate(indices.tolist()):
            path = os.path.join(self.root, self.names[index])
            try:
                pixels[row] = read_pixels(path, self.shape[1:], self.resize)
            except ValueError as error:
                raise UnreadableSample(
                    f"{path} can't be read: {error}; fix or remove it, or leave out data.lazy and set data.broken skip"
                ) from None
        return torch.from_numpy(pixels)

    def place_of(self, index: int) -> str:
        return self.names[index]
