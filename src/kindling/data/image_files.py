"""Reads image files: any format, mode and size becomes uint8 pixels of one shape."""

import os
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kindling.data.batches import of_workers

# What a file may hold, whatever its name says: PIL knows other formats, one of which (EPS) starts another program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
BATCH = 32  # images that a worker reads at once
DRAFT = 2  # a JPEG is decoded at this many times the size that is wanted, or more: see `_draft`
# Which sides of a stored image become left, top, right and bottom, once turned as an EXIF orientation says.
SIDES = {
    2: (2, 1, 0, 3),
    3: (2, 3, 0, 1),
    4: (0, 3, 2, 1),
    5: (1, 0, 3, 2),
    6: (3, 0, 1, 2),
    7: (3, 2, 1, 0),
    8: (1, 2, 3, 0),
}

SIDEWAYS = (5, 6, 7, 8)  # orientations that make a wide image tall

Box = tuple[float, float, float, float]  # left, top, right and bottom, in pixels
Read = Callable[[str, tuple[int, ...], str], np.ndarray]  # reads a file as pixels of a shape, by a way to resize


def sides_of(image_size: int | list[int]) -> list[int]:
    """Height and width from one number for both, or [height, width]; a ValueError if it is neither."""
    sides = [image_size] * 2 if isinstance(image_size, int) else image_size
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size is {image_size}: expected pixels, as one number or [height, width]")
    return sides


def read_pixels(file: str | Path | bytes, shape: tuple[int, ...], resize: str) -> np.ndarray:
    """`pixels` of a file, or of its content; a ValueError with the reason if it can't be read."""
    try:
        with _opened(BytesIO(file) if isinstance(file, bytes) else file) as image:
            return _pixels_of_file(image, shape, resize)
    except Image.UnidentifiedImageError:
        size = len(file) if isinstance(file, bytes) else os.path.getsize(file)
        reason = "it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM" if size else "it is empty"
        raise ValueError(reason) from None
    except Exception as error:  # a damaged file can make a decoder fail in any way
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(reason or type(error).__name__) from None


def pixels(image: Image.Image, shape: tuple[int, ...], resize: str) -> np.ndarray:
    """The pixels of an image, (1 or 3, H, W) uint8, turned as its EXIF data says; what is transparent becomes white.

    A JPEG that is not decoded yet is decoded as `read_pixels` does it, separately from the image, which stays as it is.

    Raises:
        ValueError: if the shape has a number of channels other than 1 or 3, or the pixels are floats.
    """
    if isinstance(image, JpegImageFile) and image.fp and image.tile and not image.tell():  # not decoded, first frame
        with _opened(image.fp) as same:
            return _pixels_of_file(same, shape, resize)
    return _pixels(image, shape, resize)


def _opened(file: str | Path | IO[bytes]) -> Image.Image:
    Image.preinit()  # the common formats: otherwise `open` imports all of them
    return Image.open(file, formats=FORMATS)


def _pixels_of_file(image: Image.Image, shape: tuple[int, ...], resize: str) -> np.ndarray:
    region = _draft(image, shape, resize) if isinstance(image, JpegImageFile) else None
    return _pixels(image, shape, resize, region)


def _draft(image: JpegImageFile, shape: tuple[int, ...], resize: str) -> Box | None:
    """Have a large JPEG decoded at 1/2, 1/4 or 1/8 of its size; returns which part of it, once turned, is the image.

    libjpeg then computes fewer of the pixels. Each side keeps at least twice as many as are wanted, so that the filter
    still has plenty to average. test_large_jpegs.py bounds the change: for a photograph of 12 megapixels at 224×224
    it is at most 4 of 255, and 0.3 on average; where just twice as many are kept, 15 and 0.8.
    None if the image is not large enough for that: it is decoded as it is.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    wanted = (shape[2], shape[1])
    if resize == "pad":
        wanted = _size_inside(*_swapped(image.size, orientation), *wanted)
    across, down = _swapped(wanted, orientation)
    if image.width < 2 * DRAFT * across or image.height < 2 * DRAFT * down:
        return None
    drafted = image.draft("L" if shape[0] == 1 else None, (DRAFT * across, DRAFT * down))
    if drafted is None:
        return None
    # The last column and row can lie across the edge of the image, such as at 1000.25 of 1001 pixels.
    _, (_, _, right, bottom) = drafted
    stored = (0, 0, image.width - right, image.height - bottom)  # what lies outside, on each side
    outside = [stored[side] for side in SIDES.get(orientation, range(4))]
    width, height = _swapped(image.size, orientation)
    return outside[0], outside[1], width - outside[2], height - outside[3]


def _swapped(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """The size of a turned image from that of the stored one, or the other way round."""
    return (size[1], size[0]) if orientation in SIDEWAYS else size


def _pixels(image: Image.Image, shape: tuple[int, ...], resize: str, region: Box | None = None) -> np.ndarray:
    """The pixels of an image, perhaps of a region of it only, in coordinates of the image once it is turned."""
    if shape[0] not in (1, 3):
        raise ValueError(f"an image file has 1 or 3 channels, but the model takes {shape[0]}")
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats: expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip to 8
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if shape[0] == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    image = resized(image, shape[2], shape[1], resize, region)
    return np.asarray(image).reshape(shape[1], shape[2], -1).transpose(2, 0, 1)


def resized(
    image: Image.Image,
    width: int,
    height: int,
    resize: str,
    region: Box | None = None,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
    border: int | tuple[int, ...] = 0,
) -> Image.Image:
    """Bring an image to a size: stretch it, crop what is too long to its middle, or pad what is too short with black.

    Args:
        image: of any size.
        width: in pixels.
        height: in pixels.
        resize: stretch, crop or pad.
        region: the part of the image that is taken; None for all.
        resample: how a pixel is computed from those of the image.
        border: what is padded with; 0 for black.
    """
    region = region or (0, 0, *image.size)
    if resize == "pad":
        size = _size_inside(region[2] - region[0], region[3] - region[1], width, height)
        corner = round((width - size[0]) / 2), round((height - size[1]) / 2)
        padded = Image.new(image.mode, (width, height), border)
        padded.paste(image.resize(size, resample, region), corner)
        return padded
    if resize == "crop":
        region = _middle(region, width / height)
    return image.resize((width, height), resample, region)


def restored(image: Image.Image, width: int, height: int, resize: str, border: int) -> Image.Image:
    """Bring what was computed from a `resized` image to the size before, by nearest neighbour.

    Args:
        image: of integers, one for each pixel of the resized image.
        width: before it was resized, in pixels.
        height: before it was resized, in pixels.
        resize: how it was resized: stretch, crop or pad.
        border: the value of what had been cropped away.
    """
    if resize == "pad":
        inside = _size_inside(width, height, *image.size)
        left, top = round((image.width - inside[0]) / 2), round((image.height - inside[1]) / 2)
        image = image.crop((left, top, left + inside[0], top + inside[1]))
    region: Box = (0, 0, width, height)
    if resize == "crop":
        region = _middle(region, image.width / image.height)
    left, top, right, bottom = map(round, region)
    whole = Image.new(image.mode, (width, height), border)
    whole.paste(image.resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    return whole


def size_of(path: str) -> tuple[int, int]:
    """Width and height of an image in pixels, turned as its EXIF data says."""
    with _opened(path) as image:
        return _swapped(image.size, image.getexif().get(ExifTags.Base.Orientation, 1))


def _size_inside(width: float, height: float, most_width: int, most_height: int) -> tuple[int, int]:
    """The largest size of the same proportions that fits into another."""
    scale = min(most_width / width, most_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _middle(region: Box, ratio: float) -> Box:
    """The largest part in the middle of a region whose width is `ratio` of its height."""
    left, top, right, bottom = region
    width, height = min(right - left, (bottom - top) * ratio), min(bottom - top, (right - left) / ratio)
    left, top = left + (right - left - width) / 2, top + (bottom - top - height) / 2
    return left, top, left + width, top + height


class _Reader(Dataset):
    """Batches of files, by their number: why each can't be read ("" if it can), and the pixels of the others."""

    def __init__(self, batches: list[Sequence[str]], shape: tuple[int, ...], resize: str, read: Read) -> None:
        self.batches, self.shape, self.resize, self.read = batches, shape, resize, read

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[list[str], Tensor]:
        paths = self.batches[number]
        images, count = np.empty((len(paths), *self.shape), np.uint8), 0
        reasons = [""] * len(paths)
        for index, path in enumerate(paths):
            try:
                images[count] = self.read(path, self.shape, self.resize)
                count += 1
            except ValueError as error:
                reasons[index] = str(error)
        return reasons, torch.from_numpy(images[:count])


def read_images(
    paths: Sequence[str],
    shape: tuple[int, ...],
    resize: str,
    batch_size: int = BATCH,
    workers: int = 0,
    read: Read | None = None,
) -> Iterator[tuple[Sequence[str], list[str], Tensor]]:
    """Read files in batches, in order: paths, why each can't be read ("" if it can), pixels (read, C, H, W) uint8.

    `read` gives the pixels of a file, and a ValueError with the reason if it can't; None for `read_pixels`.
    """
    batches = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    workers = max(0, min(workers, len(batches) - 1))  # another process would cost more than it reads
    loader = DataLoader(
        _Reader(batches, shape, resize, read or read_pixels),
        batch_size=None,  # read as batches
        **of_workers(workers),
        generator=torch.Generator(),  # of its own: a model's weights don't depend on what was read
    )
    for batch, (reasons, images) in zip(batches, loader, strict=True):
        yield batch, reasons, images
