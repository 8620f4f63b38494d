"""Reads an image file with its mask: the number of a class for each pixel, in a PNG or another file without losses."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from kindling.data.image_files import FORMATS, read_pixels, resized, size_of
from kindling.tasks.segmentation import IGNORED

LOSSY = (".jfif", ".jpe", ".jpeg", ".jpg", ".webp")  # these may change the numbers
MODES = ("1", "L", "P", "I;16", "I")  # of an image with one whole number per pixel


class PairReader:
    """Reads an image and its mask as one more channel, so that nothing can part them: (C + 1, H, W) uint8.

    Args:
        masks: the path of each image's mask.
        values: the pixel value of each class; None if they are 0, 1, 2 …
        classes: how many there are; None for any number.
    """

    def __init__(self, masks: dict[str, str], values: list[int] | None, classes: int | None) -> None:
        self.masks = masks
        self.class_of = {value: index for index, value in enumerate(values or range(classes or IGNORED))}
        self.class_of.setdefault(IGNORED, IGNORED)

    def __call__(self, path: str, shape: tuple[int, ...], resize: str) -> np.ndarray:
        """A ValueError with the reason if one of them can't be read, or they differ in size."""
        pixels = read_pixels(path, (shape[0] - 1, *shape[1:]), resize)
        mask = self._read_mask(self.masks[path], size_of(path))
        nearest = Image.Resampling.NEAREST
        small = resized(Image.fromarray(mask), shape[2], shape[1], resize, resample=nearest, border=IGNORED)
        return np.concatenate([pixels, np.asarray(small)[None]])

    def _read_mask(self, path: str, size: tuple[int, int]) -> np.ndarray:
        """The class of each pixel (H, W) uint8, of a mask that must have a size in pixels, (width, height)."""
        values = _values(path)
        if values.shape != size[::-1]:
            width, height = values.shape[::-1]
            raise ValueError(f"its mask {path} has {width}×{height} pixels, but the image has {size[0]}×{size[1]}")
        table = np.zeros(256, np.uint8)
        for value in np.unique(values).tolist():
            if value not in self.class_of:
                raise ValueError(f"its mask {path} holds the value {value}: expected {self._expected()}")
            table[value] = self.class_of[value]
        return table[values]

    def _expected(self) -> str:
        known = [str(value) for value in sorted(self.class_of)]
        return ", ".join(known if len(known) <= 10 else [*known[:3], "…", *known[-2:]])


def _values(path: str) -> np.ndarray:
    """The numbers in a mask, (H, W) uint8; a ValueError with the reason if it can't be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            mode, values = image.mode, np.asarray(image)
    except Exception as error:  # a damaged file can make a decoder fail in any way
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"its mask {path} can't be read: {reason}") from None
    if mode not in MODES:
        raise ValueError(f"its mask {path} is an image of mode {mode}: expected one whole number per pixel")
    if values.size and values.max() > 255:
        raise ValueError(f"its mask {path} holds the value {values.max()}: expected at most 255")
    return values.astype(np.uint8)


def paired(images: list[str], masks: list[str], image_root: Path, mask_root: Path) -> dict[str, str]:
    """The path of each image's mask: the same name in the other folder, except for the ending.

    Args:
        images: names of the images, below their folder.
        masks: names of the masks, below theirs.
        image_root: the folder of the images.
        mask_root: the folder of the masks.

    Raises:
        ValueError: if an image has no mask, or several, or one in a format that changes numbers.
    """
    by_name: dict[str, list[str]] = {}
    for mask in masks:
        by_name.setdefault(os.path.splitext(mask)[0], []).append(mask)
    pairs = {}
    for image in images:
        stem = os.path.splitext(image)[0]
        found = by_name.get(stem, [])
        path, expected = os.path.join(image_root, image), os.path.join(mask_root, f"{stem}.png")
        if not found:
            raise ValueError(f"{path} has no mask: expected {expected}")
        if len(found) > 1:
            raise ValueError(f"{path} has several masks: {', '.join(found)} in {mask_root}: keep one")
        if found[0].lower().endswith(LOSSY):
            raise ValueError(
                f"{os.path.join(mask_root, found[0])} is in a format that changes numbers: expected {expected}"
            )
        pairs[path] = os.path.join(mask_root, found[0])
    return pairs
