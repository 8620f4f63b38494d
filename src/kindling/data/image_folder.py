"""Your own images, in a folder: `kindling fit --model CNN --data ImageFolder --data.path photos`."""

import hashlib
import json
import math
import os
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kindling.core.files import whole_file
from kindling.core.progress import progress
from kindling.data.base import Data
from kindling.data.batches import MappedArray
from kindling.data.image_files import find_images, read_images

# The split that a folder is for, by its name in lower case; in the order of the splits.
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
BATCH = 64  # images that are decoded at once


class ImageFile(NamedTuple):
    """An image on disk: which split and which class its folder stands for."""

    split: str
    label: str
    path: Path


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
        self.files = self._find()  # in the order train, val, test
        self.preparation = {"resize": resize}

    def _find(self) -> list[ImageFile]:
        """All images; sets the classes, which are the folders of the training split."""
        folders = self._split_folders()
        self.classes = [folder.name for folder in _folders(folders["train"])]
        files = []
        for split, split_folder in folders.items():
            labels = _folders(split_folder)
            if not labels:
                count = len(find_images(split_folder))
                content = f"{count:,} images but no folder a class" if count else "no images"
                raise ValueError(f"{split_folder} has {content}: expected {split_folder}/<class>/<image>")
            for folder in labels:
                if folder.name not in self.classes:
                    raise ValueError(
                        f"{folder} is a class that {folders['train']} lacks: it has {', '.join(self.classes)}"
                    )
                paths = find_images(folder)
                if not paths:
                    raise ValueError(f"{folder} has no images (JPEG, PNG …): put some in, or remove the folder")
                files += [ImageFile(split, folder.name, path) for path in paths]
        if len(self.classes) < 2:
            raise ValueError(
                f"{folders['train']} has one class, {self.classes[0]}: expected a folder for each of several"
            )
        return files

    def _split_folders(self) -> dict[str, Path]:
        """The folder of each split, in the order train, val, test; the whole folder is for training if it has none."""
        own = [folder for folder in _folders(self.root) if folder.name.lower() in SPLITS]
        if not own:
            return {"train": self.root}
        folders = {SPLITS[folder.name.lower()]: folder for folder in own}
        if len(folders) < len(own):
            raise ValueError(f"{self.root} has the folders {', '.join(each.name for each in own)}: keep one a split")
        if "train" not in folders:
            raise ValueError(f"{self.root} has a folder {own[0].name}, and no folder train beside it")
        return {split: folders[split] for split in dict.fromkeys(SPLITS.values()) if split in folders}

    def load(self) -> tuple[MappedArray, Tensor]:
        pixels, reasons = self._pixels()
        self._note_broken(reasons)
        files = [file for file in self.files if str(file.path) not in reasons]
        if missing := set(self.classes or []) - {file.label for file in files if file.split == "train"}:
            raise ValueError(f"{self.root} has no image of {min(missing)} that can be read")
        if missing := {file.split for file in self.files} - {file.split for file in files}:
            raise ValueError(f"{self.root} has no image for {min(missing)} that can be read")
        self.own_val, self.own_test = (sum(file.split == split for file in files) for split in ("val", "test"))
        self.names = [str(file.path.relative_to(self.root)) for file in files]
        if self.group:
            self.groups = np.array([self._group_of(name, self.group) for name in self.names])
        numbers = {name: number for number, name in enumerate(self.classes or [])}
        return MappedArray(pixels), torch.tensor([numbers[file.label] for file in files])

    def _note_broken(self, reasons: dict[str, str]) -> None:
        """Refuse files that can't be read, or note that they are left out, as `broken` says."""
        broken = [str(file.path) for file in self.files if str(file.path) in reasons]
        if not broken:
            return
        first, reason = broken[0], reasons[broken[0]]
        if self.broken == "refuse":
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise ValueError(f"{first} can't be read: {reason}{more}; --data.broken skip leaves such out")
        self.notes = [f"left out, since they can't be read: {len(broken):,}, such as {first} ({reason})"]

    @staticmethod
    def _group_of(name: str, pattern: re.Pattern[str]) -> str:
        """What the pattern's first group finds in the name of a file, or all that it finds."""
        match = pattern.search(name)
        found = match and match[1 if pattern.groups else 0]
        if found is None:
            raise ValueError(f"group is {pattern.pattern!r}, which finds nothing in {name}")
        return found

    def _pixels(self) -> tuple[np.ndarray, dict[str, str]]:
        """The pixels (N, C, H, W) of all images that can be read, and why others can't; from the cache if possible."""
        if not self.cache:
            buffer = BytesIO()
            reasons = self._decode(buffer)
            return np.frombuffer(buffer.getbuffer(), np.uint8).reshape(-1, *self.shape), reasons
        path = self._cache_file(self.cache)
        with suppress(OSError, ValueError):  # not there, or damaged
            pixels, reasons = self._mapped(path)
            if not self._is_any_restored(reasons):
                return pixels, reasons
        with whole_file(path) as part, part.open("wb") as file:
            reasons = self._decode(file)
        with whole_file(path.with_suffix(".json")) as part:
            part.write_text(json.dumps(reasons))
        return self._mapped(path)

    def _cache_file(self, cache: str) -> Path:
        """The file in the cache that holds these images as they are now, in this size."""
        stats = [(str(file.path), file.path.stat()) for file in self.files]
        content = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
        key = hashlib.sha256(json.dumps([content, self.shape, self.resize]).encode()).hexdigest()[:16]
        return Path(cache, f"{self.root.resolve().name}-{key}.pixels")

    def _is_any_restored(self, reasons: dict[str, str]) -> bool:
        """Whether a file that could not be read can be read now, such as one whose permissions have changed."""
        batches = read_images([Path(path) for path in reasons], self.shape, self.resize)
        return any("" in new_reasons for _, new_reasons, _ in batches)

    def _mapped(self, path: Path) -> tuple[np.ndarray, dict[str, str]]:
        reasons = json.loads(path.with_suffix(".json").read_text())
        shape = (len(self.files) - len(reasons), *self.shape)
        return np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8), reasons

    def _decode(self, file: BinaryIO) -> dict[str, str]:
        """Write the pixels of the images that can be read, one after the other; return why others can't."""
        reasons = dict[str, str]()
        paths = [image.path for image in self.files]
        batches = read_images(paths, self.shape, self.resize, BATCH, workers=min(4, os.cpu_count() or 1))
        count = math.ceil(len(paths) / BATCH)
        for batch_paths, batch_reasons, pixels in progress(batches, f"reading {len(paths):,} images", count):
            file.write(pixels.numpy().tobytes())
            reasons |= {str(path): reason for path, reason in zip(batch_paths, batch_reasons, strict=True) if reason}
        return reasons


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] != ".")
