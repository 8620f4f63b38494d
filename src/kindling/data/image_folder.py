"""Your own images, in a folder: `kindling fit --model CNN --data ImageFolder --data.path photos`."""

import hashlib
import json
import os
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from kindling.core.files import whole_file
from kindling.core.progress import progress
from kindling.data.base import Data
from kindling.data.batches import MappedArray
from kindling.data.image_files import find_images, read_images

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ORDER = ("train", "val", "test")


class ImageFolder(Data):
    """Image files in a folder a class: `path/cat/1.jpg`, or `path/train/cat/1.jpg` beside `val` and `test`.

    JPEG, PNG, WebP, BMP, TIFF and GIF of any size; grey, palette, alpha and 16-bit images too. They become (1 or 3,
    height, width) pixels, and what is transparent becomes white. Without a folder `val` or `test` that split is drawn.
    All images are decoded once, in worker processes, before the training: 64×64 pixels in colour take 12 KB each.

    Args:
        path: the folder.
        image_size: height and width, in pixels: one number for both, or [height, width].
        colour: three channels, or one of grey.
        resize: how to bring images to this size: crop what is too long, pad what is too short (with black), or stretch.
        broken: what to do with files that can't be read: refuse to train, or skip them.
        cache: folder to keep the decoded images in, memory-mapped, so that later runs decode none; null for the memory.
        group: a regular expression that finds in a file's path what no split may cut, such as 'patient(\\d+)'.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize, augment: see Data.

    Raises:
        ValueError: if the folder holds no images by class, or a file that can't be read.
    """

    def __init__(
        self,
        path: str,
        image_size: int | list[int] = 64,
        colour: bool = True,
        resize: Literal["crop", "pad", "stretch"] = "crop",
        broken: Literal["refuse", "skip"] = "refuse",
        cache: str | None = None,
        group: str | None = None,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        size = [image_size] * 2 if isinstance(image_size, int) else image_size
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"image_size is {image_size}: expected pixels, as one number or [height, width]")
        self.root, self.shape, self.resize = Path(path), (3 if colour else 1, *size), resize
        self.broken, self.cache = broken, cache
        try:
            self.group = re.compile(group) if group else None
        except re.error as error:
            raise ValueError(f"group is {group!r}: expected a regular expression ({error})") from None
        if not self.root.is_dir():
            raise ValueError(f"path is {path!r}: there is no such folder")
        self.files = self._find()  # (split, class, file), in the order train, val, test
        self.preparation = {"resize": resize}

    def _find(self) -> list[tuple[str, str, Path]]:
        own = [folder for folder in _folders(self.root) if folder.name.lower() in SPLITS]
        parts = {split: folder for split in ORDER for folder in own if SPLITS[folder.name.lower()] == split}
        if len(parts) < len(own):
            raise ValueError(f"{self.root} has the folders {', '.join(each.name for each in own)}: keep one a split")
        if parts and "train" not in parts:
            raise ValueError(f"{self.root} has a folder {own[0].name}, and no folder train beside it")
        parts = parts or {"train": self.root}
        self.classes = [folder.name for folder in _folders(parts["train"])]
        files = []
        for split, folder in parts.items():
            if not _folders(folder):
                loose = (
                    f"{len(find_images(folder)):,} images but no folder a class" if find_images(folder) else "no images"
                )
                raise ValueError(f"{folder} has {loose}: expected {folder}/<class>/<image>")
            for kind in _folders(folder):
                if kind.name not in self.classes:
                    raise ValueError(f"{kind} is a class that {parts['train']} lacks: it has {', '.join(self.classes)}")
                found = find_images(kind)
                if not found:
                    raise ValueError(f"{kind} has no images (JPEG, PNG …): put some in, or remove the folder")
                files += [(split, kind.name, file) for file in found]
        if len(self.classes) < 2:
            raise ValueError(
                f"{parts['train']} has one class, {self.classes[0]}: expected a folder for each of several"
            )
        return files

    def load(self) -> tuple[MappedArray, Tensor]:
        pixels, reasons = self._decoded()
        bad = [file for _, _, file in self.files if str(file) in reasons]
        if bad and self.broken == "refuse":
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise ValueError(
                f"{bad[0]} can't be read: {reasons[str(bad[0])]}{more}; --data.broken skip leaves such out"
            )
        if bad:
            self.notes = [
                f"left out, since they can't be read: {len(bad):,}, such as {bad[0]} ({reasons[str(bad[0])]})"
            ]
        files = [entry for entry in self.files if str(entry[2]) not in reasons]
        if missing := set(self.classes or []) - {kind for split, kind, _ in files if split == "train"}:
            raise ValueError(f"{self.root} has no image of {min(missing)} that can be read")
        if missing := {split for split, _, _ in self.files} - {split for split, _, _ in files}:
            raise ValueError(f"{self.root} has no image for {min(missing)} that can be read")
        self.own_val, self.own_test = (sum(split == name for split, _, _ in files) for name in ("val", "test"))
        self.names = [str(file.relative_to(self.root)) for _, _, file in files]
        if self.group:
            matches = [self.group.search(name) for name in self.names]
            found = [match and match[self.group.groups and 1] for match in matches]
            if None in found:
                raise ValueError(
                    f"group is {self.group.pattern!r}, which finds nothing in {self.names[found.index(None)]}"
                )
            self.groups = np.array(found)
        labels = {name: index for index, name in enumerate(self.classes or [])}
        return MappedArray(pixels), torch.tensor([labels[kind] for _, kind, _ in files])

    def _decoded(self) -> tuple[np.ndarray, dict[str, str]]:
        """The pixels (N, C, H, W) of all images that can be read, and why others can't; from the cache if possible."""
        if not self.cache:
            buffer = BytesIO()
            reasons = self._decode(buffer)
            return np.frombuffer(buffer.getbuffer(), np.uint8).reshape(-1, *self.shape), reasons
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for _, _, file in self.files]
        key = hashlib.sha256(json.dumps([stats, self.shape, self.resize]).encode()).hexdigest()[:16]
        path = Path(self.cache, f"{self.root.resolve().name}-{key}.pixels")
        with suppress(OSError, ValueError):  # not there, or damaged
            pixels, reasons = self._mapped(path)
            again = read_images([Path(file) for file in reasons], self.shape, self.resize)
            if not any("" in why for _, why, _ in again):  # or a file has been restored
                return pixels, reasons
        with whole_file(path) as part, part.open("wb") as file:
            reasons = self._decode(file)
        with whole_file(path.with_suffix(".json")) as part:
            part.write_text(json.dumps(reasons))
        return self._mapped(path)

    def _mapped(self, path: Path) -> tuple[np.ndarray, dict[str, str]]:
        reasons = json.loads(path.with_suffix(".json").read_text())
        shape = (len(self.files) - len(reasons), *self.shape)
        return np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8), reasons

    def _decode(self, file: BinaryIO) -> dict[str, str]:
        """Write the pixels of the images that can be read, one after the other; return why others can't."""
        reasons = dict[str, str]()
        paths = [path for _, _, path in self.files]
        batches = read_images(paths, self.shape, self.resize, workers=min(4, os.cpu_count() or 1))
        for some, why, pixels in progress(batches, f"reading {len(paths):,} images", -(-len(paths) // 64)):
            file.write(pixels.numpy().tobytes())
            reasons |= {str(path): reason for path, reason in zip(some, why, strict=True) if reason}
        return reasons


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] != ".")
