"""Your own images, in a folder: `kindling fit --model CNN --data ImageFolder --data.path photos`."""

import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kindling.data.base import Data
from kindling.data.decoded_images import Decoder
from kindling.data.fingerprint import evenly, look_of
from kindling.data.image_files import sides_of
from kindling.data.image_listing import Listing
from kindling.data.lazy_images import LazyImages, PackedNames
from kindling.data.lazy_inputs import LazyInputs, MappedArray

# The split that a folder is for, by its name in lower case; in the order of the splits.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# Names that no class is likely to have, such as test_images; in lower case.
LIKE_A_SPLIT = re.compile(rf"({'|'.join(SPLITS)}|dev|eval)[\W\d_]*(set|split|data|images?|imgs?)?[\W\d_]*")
SOME = 1000  # images that are looked at for how dark they are,
FEW = 50  # or so many if each has to be decoded for it
LOOKED_AT = 10_000  # files whose sizes and times tell whether a lazy folder has changed
DARK = 32  # of 255: 16-bit images of which 12 bits are used go up to 15


class ClassFolder(NamedTuple):
    """The images of a class that are of one split, by their names below the whole folder."""

    split: str
    label: str
    names: Sequence[str]


class ImageFolder(Data):
    """Image files in a folder a class: `path/cat/1.jpg`, or `path/train/cat/1.jpg` beside `val` and `test`.

    JPEG, PNG, WebP, BMP, TIFF, GIF and PPM of any size; grey, palette, alpha and 16-bit images too. They become (1 or
    3, height, width) pixels, and what is transparent becomes white. Linked folders are followed, and what is left out,
    such as hidden files and those of other formats, is told. Without a folder `val` or `test` that split is drawn.
    All images are decoded once, in worker processes, before the training: 64×64 pixels in colour take 12 KB each. With
    `lazy` each is decoded whenever a batch asks for it, by `workers`; there can be any number of them then. JPEGs much
    larger than that are decoded at a fraction of their size, which changes no pixel visibly. Images without classes,
    for a task such as Reconstruction, can lie in any folders below `path`.

    Args:
        path: the folder.
        image_size: height and width, in pixels: one number for both, or [height, width].
        colour: three channels, or one of grey.
        resize: how to bring images to this size: crop what is too long, pad what is too short (with black), or stretch.
        broken: what to do with files that can't be read: refuse to train, or skip them.
        lazy: whether to decode an image when a batch asks for it, rather than all before the training.
        cache: folder to keep the decoded images in, memory-mapped, so that later runs decode none; of a lazy folder,
            the names of its files, so that later runs need not look for them; null to keep nothing.
        labelled: false for images without classes: folders mean nothing then, but for train, val and test.
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
        lazy: bool = False,
        cache: str | None = None,
        labelled: bool = True,
        group: str | None = None,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        self.labelled = labelled
        self.root, self.shape, self.resize = Path(path), (3 if colour else 1, *sides_of(image_size)), resize
        self.broken, self.lazy, self.cache = broken, lazy, cache
        if lazy and broken == "skip":
            raise ValueError("broken is skip and lazy is true: which files can't be read is known once all are decoded")
        try:
            self.group = re.compile(group) if group else None
        except re.error as error:
            raise ValueError(f"group is {group!r}: expected a regular expression ({error})") from None
        if not self.root.is_dir():
            raise ValueError(f"path is {path!r}: there is no such folder")
        self.folders = self._find()  # in the order train, val, test
        self.preparation = {"resize": resize}

    def _find(self) -> list[ClassFolder]:
        """All images; sets the classes, which are the folders of the training split, and the notes."""
        listing = Listing(self.root, self.cache if self.lazy else None)
        top = listing.folders()
        split_folders = self._split_folders(top, listing)
        if not self.labelled:
            return self._find_unlabelled(split_folders, listing)
        labels = {split: listing.folders(name) if name else top for split, name in split_folders.items()}
        self.classes, train = labels["train"], self.root / split_folders["train"]
        found = []
        for split, split_folder in split_folders.items():
            if not labels[split]:
                self._refuse_without_classes(split_folder)
            for label in labels[split]:
                folder = os.path.join(split_folder, label)
                if label not in self.classes:
                    named = ", ".join(self.classes)
                    raise ValueError(f"{self.root / folder} is a class that {train} lacks: it has {named}")
                found.append(ClassFolder(split, label, self._images(folder, listing)))
        if len(self.classes) < 2:
            raise ValueError(f"{train} has one class, {self.classes[0]}: expected a folder for each of several")
        self.notes = [*self._notes_of_classes(), *listing.notes()]
        return found

    def _find_unlabelled(self, split_folders: dict[str, str], listing: Listing) -> list[ClassFolder]:
        """All images of each split, at any depth; sets the notes."""
        if "" in split_folders.values():
            listing = Listing(self.root, listing.cache)  # to which no image is outside of a class
        found = [ClassFolder(split, "", self._images(folder, listing)) for split, folder in split_folders.items()]
        self.classes, self.notes = None, listing.notes()
        return found

    def _split_folders(self, folders: list[str], listing: Listing) -> dict[str, str]:
        """The name of each split's folder, in the order train, val, test; "" for training alone if there is none."""
        own = [name for name in folders if name.lower() in SPLITS]
        if not own:
            if self.labelled and folders and all(map(_looks_like_a_split, folders)):
                raise ValueError(
                    f"{self.root} has the folders {', '.join(folders)}, which look like splits: "
                    "call them train, val and test, or give classes other names"
                )
            return {"train": ""}
        split_folders = {SPLITS[name.lower()]: name for name in own}
        if len(split_folders) < len(own):
            raise ValueError(f"{self.root} has the folders {', '.join(own)}: keep one a split")
        if "train" not in split_folders:
            raise ValueError(f"{self.root} has a folder {own[0]}, and no folder train beside it")
        for name in folders:
            if name not in own:
                listing.leave_out("folder beside the splits", name)
        return {split: split_folders[split] for split in dict.fromkeys(SPLITS.values()) if split in split_folders}

    def _refuse_without_classes(self, split_folder: str) -> None:
        folder = self.root / split_folder
        count = len(Listing(folder).images())
        content = f"{count:,} images but no folder a class" if count else "no images"
        without = "; for images without classes: --data.labelled false" if count else ""
        raise ValueError(f"{folder} has {content}: expected {folder}/<class>/<image>{without}")

    def _images(self, folder: str, listing: Listing) -> Sequence[str]:
        names = listing.images(folder)
        if not names:
            raise ValueError(f"{self.root / folder} has no images (JPEG, PNG …): put some in, or remove the folder")
        return PackedNames([names]) if self.lazy else names

    def _notes_of_classes(self) -> list[str]:
        alike = [name for name in self.classes or [] if _looks_like_a_split(name)]
        return [f"taken for classes, though they look like splits: {', '.join(alike)}"] * bool(alike)

    def load(self) -> tuple[LazyInputs, Tensor]:
        inputs, folders = self._lazy() if self.lazy else self._decoded()
        self._note_dark(inputs)
        if missing := set(self.classes or []) - {folder.label for folder in folders if folder.split == "train"}:
            raise ValueError(f"{self.root} has no image of {min(missing)} that can be read")
        if missing := {folder.split for folder in self.folders} - {folder.split for folder in folders}:
            raise ValueError(f"{self.root} has no image for {min(missing)} that can be read")
        named = [folder.names for folder in folders]
        counts = list(map(len, named))
        self.own_val, self.own_test = (
            sum(count for folder, count in zip(folders, counts, strict=True) if folder.split == split)
            for split in ("val", "test")
        )
        self.names = inputs.names if isinstance(inputs, LazyImages) else list(chain(*named))
        if self.group:
            self.groups = np.array([self._group_of(name, self.group) for name in self.names])
        if not self.labelled:
            return inputs, torch.zeros(len(self.names), 0)  # no number each
        numbers = {name: number for number, name in enumerate(self.classes or [])}
        labels = torch.tensor([numbers[folder.label] for folder in folders])
        return inputs, labels.repeat_interleave(torch.tensor(counts))

    def _lazy(self) -> tuple[LazyInputs, list[ClassFolder]]:
        return LazyImages(str(self.root), self._packed_names(), self.shape, self.resize), self.folders

    def _packed_names(self) -> PackedNames:
        return PackedNames(folder.names for folder in self.folders)

    def _decoded(self) -> tuple[LazyInputs, list[ClassFolder]]:
        """All images that can be read, and the folders with them."""
        decoder = Decoder(self._paths(), self.shape, self.resize)
        name = self.root.resolve().name
        pixels = decoder.in_cache(self.cache, name) if self.cache else decoder.in_memory()
        self._note_broken(decoder.reasons)
        return MappedArray(pixels), self._without(decoder.reasons)

    def source_files(self) -> list[str]:
        """The files; of a lazy folder so many that lie evenly."""
        if not self.lazy:
            return self._paths()
        names = self._packed_names()
        return [os.path.join(self.root, names[number]) for number in evenly(len(names), LOOKED_AT).tolist()]

    def look_of_inputs(self, inputs: Any) -> dict[str, Any]:
        """The sizes of the files rather than pixels, to which another decoder would give other last bits."""
        return look_of(inputs, self.source_files(), looks_at_values=False)

    def _paths(self) -> list[str]:
        """Where all images are, readable or not."""
        root = os.path.join(self.root, "")
        return [root + name for folder in self.folders for name in folder.names]

    def _without(self, reasons: dict[str, str]) -> list[ClassFolder]:
        """The folders with the images that can be read; none without any."""
        root, left = os.path.join(self.root, ""), []
        for split, label, names in self.folders:
            if readable := [name for name in names if root + name not in reasons]:
                left.append(ClassFolder(split, label, readable))
        return left

    def _note_broken(self, reasons: dict[str, str]) -> None:
        """Refuse files that can't be read, or note that they are left out, as `broken` says."""
        if not reasons:
            return
        first, reason = next(iter(reasons.items()))  # in the order of the files
        if self.broken == "refuse":
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise ValueError(f"{first} can't be read: {reason}{more}; --data.broken skip leaves such out")
        told = f"left out, since they can't be read: {len(reasons):,}, such as {first} ({reason})"
        self.notes = [*self.notes, told]

    def _note_dark(self, inputs: LazyInputs) -> None:
        """Note if hardly any grey values are left, of which some images are enough to judge."""
        some = inputs[evenly(len(inputs), FEW if inputs.is_slow else SOME)]
        brightest = int(some.max()) if len(some) else 0
        if len(some) and brightest < DARK:
            told = f"dark: of {len(some):,} images no pixel is above {brightest} of 255"
            why = "files of 16 bits that use fewer should be brought to their full range before"
            self.notes = [*self.notes, f"{told}; {why}"]

    @staticmethod
    def _group_of(name: str, pattern: re.Pattern[str]) -> str:
        """What the pattern's first group finds in the name of a file, or all that it finds."""
        match = pattern.search(name)
        found = match and match[1 if pattern.groups else 0]
        if found is None:
            raise ValueError(f"group is {pattern.pattern!r}, which finds nothing in {name}")
        return found


def _looks_like_a_split(name: str) -> bool:
    return LIKE_A_SPLIT.fullmatch(name.lower()) is not None
