"""Your own images with masks: `kindling fit --model UNet --data Masks --data.path images --data.masks masks`."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kindling.core.progress import progress
from kindling.data.base import Data
from kindling.data.fingerprint import look_of
from kindling.data.image_files import BATCH, read_images, sides_of
from kindling.data.image_listing import Listing
from kindling.data.lazy_inputs import MappedArray
from kindling.data.mask_files import PairReader, paired
from kindling.data.split_folders import order_by_split
from kindling.tasks.segmentation import IGNORED


class Masks(Data):
    """Image files and a mask for each, a class for each pixel: `images/cat/1.jpg` and `masks/cat/1.png`.

    A mask has the size of its image, and its name except for the ending. It holds one whole number per pixel, grey or
    by a palette: 0, 1, 2 … for the classes, or `values`; 255 is a pixel that does not count, unless `values` has it.
    Images and masks are brought to one size together, masks without mixing neighbours. Where all images are in folders
    `train`, `val` and `test`, those are the splits; without `val` or `test` that split is drawn.

    Args:
        path: the folder of the images: JPEG, PNG, WebP, BMP, TIFF, GIF or PPM.
        masks: the folder of the masks: PNG, BMP, TIFF, GIF or PPM.
        classes: names of the classes, in the order of their numbers; null for the numbers that the masks hold.
        values: the number of each class in the masks, such as [0, 255] for two classes; null for 0, 1, 2 …
        image_size: height and width, in pixels: one number for both, or [height, width].
        colour: three channels, or one of grey.
        resize: how to bring images to this size: crop what is too long, pad what is too short (with black, which does
            not count), or stretch.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize, augment: see Data.

    Raises:
        ValueError: if a file can't be read, a mask is missing or of another size, or a value is of no class.
    """

    def __init__(
        self,
        path: str,
        masks: str,
        classes: list[str] | None = None,
        values: list[int] | None = None,
        image_size: int | list[int] = 64,
        colour: bool = True,
        resize: Literal["crop", "pad", "stretch"] = "crop",
        **data: Any,
    ) -> None:
        super().__init__(**data)
        if values and (len(set(values)) < len(values) or not all(0 <= value <= 255 for value in values)):
            raise ValueError(f"values is {values}: expected different numbers from 0 to 255")
        if values and classes and len(values) != len(classes):
            raise ValueError(f"values has {len(values)} numbers, but classes has {len(classes)} names")
        self.root, self.mask_root = Path(path), Path(masks)
        self.shape, self.resize = (3 if colour else 1, *sides_of(image_size)), resize
        self.preparation = {"resize": resize}
        for name, folder in {"path": self.root, "masks": self.mask_root}.items():
            if not folder.is_dir():
                raise ValueError(f"{name} is {str(folder)!r}: there is no such folder")
        self.values = values
        self.names = self._find()
        self.classes = classes or [str(value) for value in values or []] or None
        self.classes = self.classes or self._classes_by_value()

    def _find(self) -> list[str]:
        """The names of all images, split by split; sets their masks, the data's own splits, and the notes."""
        listing, mask_listing = Listing(self.root), Listing(self.mask_root)
        images, masks = [*listing.images()], [*mask_listing.images()]
        if not images:
            raise ValueError(f"{self.root} has no images (JPEG, PNG …)")
        self.mask_of = paired(images, masks, self.root, self.mask_root)
        self.notes = [*listing.notes(), *mask_listing.notes()]
        if unused := len(masks) - len(set(self.mask_of.values())):
            self.notes = [*self.notes, f"masks without an image, which are not used: {unused:,} in {self.mask_root}"]
        places, self.own_val, self.own_test = order_by_split(images, self.root)
        return [images[place] for place in places]

    def _classes_by_value(self) -> list[str]:
        """The numbers from 0 to the largest that a mask holds."""
        masks = self.samples[-1]
        largest = int(masks.where(masks != IGNORED, 0).max())
        if not largest:
            beside = f" and {IGNORED}, which is not a class unless you say --data.values '[0, {IGNORED}]'"
            raise ValueError(f"{self.mask_root} has one class: its masks hold only 0{beside * bool(masks.max())}")
        told = f"the masks hold values from 0 to {largest}: {largest + 1} classes; name them with --data.classes"
        self.notes = [*self.notes, told]
        return [str(number) for number in range(largest + 1)]

    def load(self) -> tuple[MappedArray, Tensor]:
        paths = self._paths()
        pixels = np.empty((len(paths), *self.shape), np.uint8)
        masks = np.empty((len(paths), *self.shape[1:]), np.uint8)
        done = 0
        for both in self._decoded(paths):
            part = slice(done, done + len(both))
            pixels[part], masks[part] = both[:, :-1], both[:, -1]
            done += len(both)
        return MappedArray(pixels, files=paths), torch.from_numpy(masks)

    def _decoded(self, paths: list[str]) -> Iterator[np.ndarray]:
        """Images, their masks being the last channel, in batches; a ValueError at the first that can't be used."""
        reader = PairReader(self.mask_of, self.values, len(self.classes) if self.classes else None)
        shape = (self.shape[0] + 1, *self.shape[1:])
        batches = read_images(paths, shape, self.resize, workers=min(4, os.cpu_count() or 1), read=reader)
        count = math.ceil(len(paths) / BATCH)
        for names, reasons, both in progress(batches, f"reading {len(paths):,} images and masks", count):
            for name, reason in zip(names, reasons, strict=True):
                if reason:
                    raise ValueError(f"{name} can't be used: {reason}")
            yield both.numpy()

    def source_files(self) -> list[str]:
        paths = self._paths()
        return [*paths, *(self.mask_of[path] for path in paths)]

    def look_of_inputs(self, inputs: Any) -> dict[str, Any]:
        """A look at the sizes of the files rather than at pixels, whose last bits depend on the decoder."""
        return look_of(inputs, self.source_files(), looks_at_values=False)

    def _paths(self) -> list[str]:
        return [os.path.join(self.root, name) for name in self.names or []]
