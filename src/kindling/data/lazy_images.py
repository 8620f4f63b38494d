"""Image files that are decoded when a batch asks for them."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kindling.core.errors import UnreadableSample
from kindling.data.image_files import read_pixels
from kindling.data.lazy_inputs import LazyInputs


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
