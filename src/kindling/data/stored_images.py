"""Image files with a target each, wherever the targets come from: what ImageFolder and Images share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kindling.data.base import Data
from kindling.data.decoded_images import Decoder
from kindling.data.fingerprint import evenly, look_of
from kindling.data.image_files import sides_of
from kindling.data.lazy_images import LazyImages
from kindling.data.lazy_inputs import LazyInputs, MappedArray

SOME = 1000  # images by which to judge how dark they are,
FEW = 50  # or this many if each has to be decoded for that
LOOKED_AT = 10_000  # files whose sizes and times tell whether a lazy folder has changed
DARK = 32  # of 255: 16-bit images that use 12 bits go up to 15


class StoredImages(Data, ABC):
    """Image files below a folder. A subclass defines `find` and calls it at the end of its constructor.

    JPEG, PNG, WebP, BMP, TIFF, GIF and PPM of any size; grey, palette, alpha and 16-bit images too. They become (1 or
    3, height, width) pixels, and what is transparent becomes white. All images are decoded once, in worker processes,
    before the training: 64×64 pixels in colour take 12 KB each. With `lazy` each is decoded whenever a batch asks for
    it, by `workers`; there can then be any number of them. JPEGs much larger than that are decoded at a fraction of
    their size, which changes no pixel visibly.

    Args:
        path: the folder.
        image_size: height and width, in pixels: one number for both, or [height, width].
        colour: three channels, or one of grey.
        resize: how to bring images to this size: crop what is too long, pad what is too short (with black), or stretch.
        broken: what to do with files that can't be read: refuse to train, or skip them.
        lazy: whether to decode an image when a batch asks for it, rather than all before the training.
        cache: folder to keep the decoded images in, memory-mapped, so that later runs decode none; of a lazy folder,
            the names of its files, so that later runs need not look for them; null to keep nothing.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize, augment: see Data.

    Raises:
        ValueError: if there is no such folder, or a file that can't be read.
    """

    files: Sequence[str]  # all images by their names below the folder, in the order train, val, test
    values: Tensor  # the target of each

    def __init__(
        self,
        path: str,
        image_size: int | list[int] = 64,
        colour: bool = True,
        resize: Literal["crop", "pad", "stretch"] = "crop",
        broken: Literal["refuse", "skip"] = "refuse",
        lazy: bool = False,
        cache: str | None = None,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        self.root, self.shape, self.resize = Path(path), (3 if colour else 1, *sides_of(image_size)), resize
        self.broken, self.lazy, self.cache = broken, lazy, cache
        if lazy and broken == "skip":
            raise ValueError("broken is skip and lazy is true: which files can't be read is known once all are decoded")
        if not self.root.is_dir():
            raise ValueError(f"path is {path!r}: there is no such folder")
        self.preparation = {"resize": resize}

    @abstractmethod
    def find(self) -> None:
        """Set `files`, `values`, `classes` or `targets`, the sizes of own splits, groups or times, and the notes."""

    def load(self) -> tuple[LazyInputs, Tensor]:
        self.names = self.files
        inputs = LazyImages(str(self.root), self.files, self.shape, self.resize) if self.lazy else self._decoded()
        self._note_dark(inputs)
        return inputs, self.values

    def _decoded(self) -> LazyInputs:
        """All images that can be read."""
        decoder = Decoder(self._paths(self.files), self.shape, self.resize)
        name = self.root.resolve().name
        pixels = decoder.in_cache(self.cache, name) if self.cache else decoder.in_memory()
        if decoder.reasons:
            self._note_broken(decoder.reasons)
            self._leave_out(decoder.reasons)
        return MappedArray(pixels)

    def _leave_out(self, reasons: dict[str, str]) -> None:
        """Keep the names, targets, groups and times of the images that can be read; refuse a split without any."""
        is_left = np.array([path not in reasons for path in self._paths(self.files)])
        self.names = [name for name, left in zip(self.files, is_left, strict=True) if left]
        self.values = self.values[torch.from_numpy(is_left)]
        self.groups, self.times = (each if each is None else each[is_left] for each in (self.groups, self.times))
        ends = [len(is_left) - self.own_val - self.own_test, len(is_left) - self.own_test]
        before = dict(zip(("train", "val", "test"), np.split(is_left, ends), strict=True))
        left = {split: int(part.sum()) for split, part in before.items()}
        self._refuse_lost_class(left["train"])
        for split, part in before.items():
            if len(part) and not left[split]:
                raise ValueError(f"{self.root} has no image for {split} that can be read")
        self.own_val, self.own_test = left["val"], left["test"]

    def _refuse_lost_class(self, train: int) -> None:
        if self.classes and self.values.dim() == 1:
            there = {*self.values[:train].tolist()}
            if lost := [name for number, name in enumerate(self.classes) if number not in there]:
                raise ValueError(f"{self.root} has no image of {lost[0]} that can be read")

    def source_files(self) -> list[str]:
        """The files, readable or not; of a lazy folder, an evenly spaced selection."""
        if not self.lazy:
            return self._paths(self.files)
        return self._paths([self.files[number] for number in evenly(len(self.files), LOOKED_AT).tolist()])

    def look_of_inputs(self, inputs: Any) -> dict[str, Any]:
        """A look at the sizes of the files rather than at pixels, whose last bits depend on the decoder."""
        return look_of(inputs, self.source_files(), looks_at_values=False)

    def _paths(self, names: Sequence[str]) -> list[str]:
        root = os.path.join(self.root, "")
        return [root + name for name in names]

    def _note_broken(self, reasons: dict[str, str]) -> None:
        """Refuse files that can't be read, or note that they are left out, as `broken` says."""
        first, reason = next(iter(reasons.items()))  # in the order of the files
        if self.broken == "refuse":
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise ValueError(f"{first} can't be read: {reason}{more}; --data.broken skip leaves such files out")
        told = f"left out, since they can't be read: {len(reasons):,}, such as {first} ({reason})"
        self.notes = [*self.notes, told]

    def _note_dark(self, inputs: LazyInputs) -> None:
        """Note if hardly any grey values are left, as some of the images are enough to judge."""
        some = inputs[evenly(len(inputs), FEW if inputs.is_slow else SOME)]
        brightest = int(some.max()) if len(some) else 0
        if len(some) and brightest < DARK:
            told = f"dark: of {len(some):,} images no pixel is above {brightest} of 255"
            why = "bring 16-bit files that use fewer bits to their full range first"
            self.notes = [*self.notes, f"{told}; {why}"]
