"""Reads image files: any format, mode and size becomes uint8 pixels of one shape."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kindling.data.batches import start_worker

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def find_images(folder: Path) -> list[Path]:
    """All image files in a folder and below, in the order of their names; hidden ones are left out."""
    images = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in images if not _is_hidden(path.relative_to(folder)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def pixels(image: Image.Image, shape: tuple[int, ...], resize: str) -> np.ndarray:
    """The pixels of an image, (1 or 3, H, W) uint8, turned as its EXIF data says; what is transparent becomes white.

    Raises:
        ValueError: if the shape has another number of channels, or the pixels are floats.
    """
    if shape[0] not in (1, 3):
        raise ValueError(f"an image file has 1 or 3 channels, and the model takes {shape[0]}")
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats: expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, of which PIL would cut off the lower 8
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = resized(image.convert("L" if shape[0] == 1 else "RGB"), shape[2], shape[1], resize)
    return np.asarray(image).reshape(shape[1], shape[2], -1).transpose(2, 0, 1)


def resized(image: Image.Image, width: int, height: int, resize: str) -> Image.Image:
    """Bring an image to a size: stretch it, crop what is too long in the middle, or pad what is too short in black."""
    if resize == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if resize == "pad":
        scale = min(width / image.width, height / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        corner = round((width - size[0]) / 2), round((height - size[1]) / 2)
        padded = Image.new(image.mode, (width, height))
        padded.paste(image.resize(size, Image.Resampling.BILINEAR), corner)
        return padded
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def read_pixels(path: Path, shape: tuple[int, ...], resize: str) -> np.ndarray:
    """`pixels` of a file; a ValueError with the reason if it can't be read."""
    try:
        with Image.open(path) as image:
            return pixels(image, shape, resize)
    except Image.UnidentifiedImageError:
        raise ValueError("it is empty" if not path.stat().st_size else "it is not an image") from None
    except Exception as error:  # a damaged file can make a decoder fail in any way
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(reason or type(error).__name__) from None


class _Reader(Dataset):
    def __init__(self, paths: list[Path], shape: tuple[int, ...], resize: str) -> None:
        self.paths, self.shape, self.resize = paths, shape, resize

    def __getitem__(self, indices: list[int]) -> tuple[list[Path], list[str], Tensor]:
        paths = [self.paths[index] for index in indices]
        reasons, images = [], []
        for path in paths:
            try:
                images.append(torch.from_numpy(read_pixels(path, self.shape, self.resize)))
                reasons.append("")
            except ValueError as error:
                reasons.append(str(error))
        return paths, reasons, torch.stack(images) if images else torch.empty(0, *self.shape, dtype=torch.uint8)


def read_images(
    paths: list[Path], shape: tuple[int, ...], resize: str, batch_size: int = 64, workers: int = 0
) -> Iterator[tuple[list[Path], list[str], Tensor]]:
    """Read files in batches, in order: paths, why each can't be read ("" if it can), pixels (read, C, H, W) uint8."""
    batches = torch.arange(len(paths)).split(batch_size) if paths else ()
    workers = max(0, min(workers, len(batches) - 1))  # another process would cost more than it reads
    yield from DataLoader(
        _Reader(paths, shape, resize),
        sampler=[batch.tolist() for batch in batches],
        batch_size=None,  # sampled as batches
        num_workers=workers,
        worker_init_fn=start_worker,
        generator=torch.Generator(),  # of its own: a model's weights don't depend on what was read
    )
