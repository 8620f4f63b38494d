"""Your own images, in a folder: `kindling fit --model CNN --data ImageFolder --data.path photos`."""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch

from kindling.data.image_listing import Listing
from kindling.data.packed_names import PackedNames
from kindling.data.split_folders import SPLIT_OF_FOLDER, folder_of_each_split
from kindling.data.stored_images import StoredImages

# Names that no class is likely to have, such as test_images; in lower case.
LIKE_A_SPLIT = re.compile(rf"({'|'.join(SPLIT_OF_FOLDER)}|dev|eval)[\W\d_]*(set|split|data|images?|imgs?)?[\W\d_]*")


class ClassFolder(NamedTuple):
    """The images of one class in one split, by their names below the whole folder."""

    split: str
    label: str
    names: Sequence[str]


class ImageFolder(StoredImages):
    """Image files in one folder per class: `path/cat/1.jpg`, or `path/train/cat/1.jpg` beside `val` and `test`.

    Linked folders are followed, and what is left out, such as hidden files and other formats, is noted. Without a
    folder `val` or `test` that split is drawn. Which files are read, and how: see StoredImages. Images
    without classes, for a task such as Reconstruction, can lie in any folders below `path`.

    Args:
        path: the folder.
        labelled: false for images without classes: folders then mean nothing, except for train, val and test.
        group: a regular expression for the group in a file's path, which no split cuts, such as 'patient(\\d+)'.
        **images: image_size, colour, resize, broken, lazy, cache, batch_size …: see StoredImages.

    Raises:
        ValueError: if the folder holds no images by class, or a file that can't be read.
    """

    def __init__(self, path: str, labelled: bool = True, group: str | None = None, **images: Any) -> None:
        super().__init__(path, **images)
        self.labelled = labelled
        try:
            self.group = re.compile(group) if group else None
        except re.error as error:
            raise ValueError(f"group is {group!r}: expected a regular expression ({error})") from None
        self.find()

    def find(self) -> None:
        folders = self._folders()  # in the order train, val, test
        names = [folder.names for folder in folders]
        self.files = PackedNames.joined(names) if self.lazy else list(chain(*names))
        if self.group:
            self.groups = np.array([self._group_of(name, self.group) for name in self.files])
        self.own_val, self.own_test = (
            sum(len(folder.names) for folder in folders if folder.split == split) for split in ("val", "test")
        )
        if not self.labelled:
            self.values = torch.zeros(len(self.files), 0)  # no number each
            return
        numbers = {name: number for number, name in enumerate(self.classes or [])}
        labels = torch.tensor([numbers[folder.label] for folder in folders])
        self.values = labels.repeat_interleave(torch.tensor(list(map(len, names))))

    def _folders(self) -> list[ClassFolder]:
        """All images; sets the classes, which are the folders of the training split, and the notes."""
        listing = Listing(self.root, self.lazy, self.cache if self.lazy else None)
        top = listing.folders()
        split_folders = self._split_folders(top, listing)
        if not self.labelled:
            return self._unlabelled_folders(split_folders, listing)
        labels = {split: listing.folders(name) if name else top for split, name in split_folders.items()}
        self.classes, train = labels["train"], self.root / split_folders["train"]
        found = []
        for split, split_folder in split_folders.items():
            if not labels[split]:
                self._refuse_without_classes(split_folder)
            for label in labels[split]:
                folder = f"{split_folder}/{label}" if split_folder else label
                if label.encode(errors="replace").decode() != label:
                    raise ValueError(f"{self.root / folder} is named after a class, but not in UTF-8: rename it")
                if label not in self.classes:
                    named = ", ".join(self.classes)
                    raise ValueError(f"{self.root / folder} is a class that {train} lacks: it has {named}")
                found.append(ClassFolder(split, label, self._images(folder, listing)))
        if len(self.classes) < 2:
            raise ValueError(f"{train} has one class, {self.classes[0]}: expected a folder for each of several")
        self.notes = [*self._notes_of_classes(), *listing.notes()]
        return found

    def _unlabelled_folders(self, split_folders: dict[str, str], listing: Listing) -> list[ClassFolder]:
        """All images of each split, at any depth; sets the notes."""
        if "" in split_folders.values():
            listing = Listing(self.root, listing.packed, listing.cache)  # for which no image lies outside a class
        found = [ClassFolder(split, "", self._images(folder, listing)) for split, folder in split_folders.items()]
        self.classes, self.notes = None, listing.notes()
        return found

    def _split_folders(self, folders: list[str], listing: Listing) -> dict[str, str]:
        """The name of each split's folder, in the order train, val, test; "" for training alone if there is none."""
        split_folders = folder_of_each_split(folders, self.root)
        if not split_folders:
            if self.labelled and folders and all(map(_looks_like_a_split, folders)):
                raise ValueError(
                    f"{self.root} has the folders {', '.join(folders)}, which look like splits: "
                    "call them train, val and test, or give classes other names"
                )
            return {"train": ""}
        own = [name for name in folders if name in split_folders.values()]
        if "train" not in split_folders:
            raise ValueError(f"{self.root} has a folder {own[0]}, but no folder train beside it")
        for name in folders:
            if name not in own:
                listing.leave_out("folder beside the splits", name)
        return split_folders

    def _refuse_without_classes(self, split_folder: str) -> None:
        folder = self.root / split_folder
        count = len(Listing(folder).images())
        content = f"{count:,} images but no folder per class" if count else "no images"
        without = "; for images without classes: --data.labelled false" if count else ""
        raise ValueError(f"{folder} has {content}: expected {folder}/<class>/<image>{without}")

    def _images(self, folder: str, listing: Listing) -> Sequence[str]:
        names = listing.images(folder)
        if not names:
            raise ValueError(f"{self.root / folder} has no images (JPEG, PNG …): put some in, or remove the folder")
        return names

    def _notes_of_classes(self) -> list[str]:
        alike = [name for name in self.classes or [] if _looks_like_a_split(name)]
        return [f"taken for classes, though they look like splits: {', '.join(alike)}"] * bool(alike)

    @staticmethod
    def _group_of(name: str, pattern: re.Pattern[str]) -> str:
        """What the pattern's first group matches in the name of a file, or all that the pattern does if it has none."""
        match = pattern.search(name)
        found = match and match[1 if pattern.groups else 0]
        if found is None:
            raise ValueError(f"group is {pattern.pattern!r}, which matches nothing in {name}")
        return found


def _looks_like_a_split(name: str) -> bool:
    return LIKE_A_SPLIT.fullmatch(name.lower()) is not None
