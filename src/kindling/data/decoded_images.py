"""All images of a folder as pixels, decoded once: in memory, or in a file that later runs map."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from kindling.core.files import made_by_one, whole_file
from kindling.core.progress import progress
from kindling.data.image_files import BATCH, DRAFT, read_images


class Decoder:
    """Decodes image files to pixels of one shape.

    Args:
        paths: of all files.
        shape: (channels, height, width) of the pixels.
        resize: how to bring images to it: crop, pad or stretch.
    """

    def __init__(self, paths: list[str], shape: tuple[int, ...], resize: str) -> None:
        self.paths, self.shape, self.resize = paths, shape, resize
        self.reasons = dict[str, str]()  # why a file can't be read

    def in_memory(self) -> np.ndarray:
        """The pixels (N, C, H, W) of the images that can be read; sets `reasons` for the others."""
        pixels, count = np.empty((len(self.paths), *self.shape), np.uint8), 0
        for batch in self._decode():
            pixels[count : count + len(batch)] = batch
            count += len(batch)
        return pixels[:count]

    def in_cache(self, folder: str, name: str) -> np.ndarray:
        """The same, but in a file of a folder, whose name begins with `name`; only mapped if it is there already."""
        path = Path(folder, f"{name}-{self._digest()}.pixels")
        if (pixels := self._kept(path)) is not None:
            return pixels
        with made_by_one(path):
            if (pixels := self._kept(path)) is None:
                self._keep(path)
                pixels = self._mapped(path)
        return pixels

    def _kept(self, path: Path) -> np.ndarray | None:
        """The pixels in a file; None if it is not there or damaged, or if an image has been mended since."""
        with suppress(OSError, ValueError):
            pixels = self._mapped(path)
            if not self._is_any_restored():
                return pixels
        self.reasons = {}
        return None

    def _keep(self, path: Path) -> None:
        with whole_file(path) as part, part.open("wb") as file:
            for batch in self._decode():
                file.write(batch.data)
        with whole_file(path.with_suffix(".json")) as part:
            part.write_text(json.dumps(self.reasons), encoding="utf-8")

    def _digest(self) -> str:
        """What identifies these images as they are now, in this size."""
        content = hashlib.sha256(json.dumps([self.shape, self.resize, f"JPEG drafted to {DRAFT}"]).encode())
        for path in self.paths:
            stat = os.stat(path)
            content.update(os.fsencode(f"{path}\n{stat.st_size} {stat.st_mtime_ns}\n"))
        return content.hexdigest()[:16]

    def _mapped(self, path: Path) -> np.ndarray:
        self.reasons = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        shape = (len(self.paths) - len(self.reasons), *self.shape)
        return np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)

    def _is_any_restored(self) -> bool:
        """Whether a file that could not be read can be read now, such as one whose permissions have changed."""
        batches = read_images(list(self.reasons), self.shape, self.resize)
        return any("" in reasons for _, reasons, _ in batches)

    def _decode(self) -> Iterator[np.ndarray]:
        """The pixels of the images that can be read, in batches; sets `reasons` for the others."""
        batches = read_images(self.paths, self.shape, self.resize, workers=min(4, os.cpu_count() or 1))
        count = math.ceil(len(self.paths) / BATCH)
        for paths, reasons, pixels in progress(batches, f"reading {len(self.paths):,} images", count):
            self.reasons |= {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}
            yield pixels.numpy()
