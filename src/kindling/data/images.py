"""Your own images and a table of what they show: `kindling fit --model CNN --data Images --data.table labels.csv`."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from kindling.data.image_listing import SUFFIXES, Listing
from kindling.data.open_table import OpenTable
from kindling.data.packed_names import PackedNames
from kindling.data.split_folders import order_by_split
from kindling.data.stored_images import StoredImages
from kindling.data.table_files import Name
from kindling.data.table_target import Kind, read_target

TARGETS = ("label", "labels", "target", "targets", "class")  # names of the column to predict, if none is given


class Images(StoredImages):
    """Image files and a table with a row for each: its path, and what it shows, as classes or numbers.

    Paths are relative to the folder of the images, or to that of the table if the first is found only there. Rows
    without a target are left out, as are images that no row names. Where all images are in folders `train`, `val` and
    `test`, those are the splits; without `val` or `test` that split is drawn. The target is read as in `Table`: text
    and few whole numbers are classes, other numbers are targets, several columns of 0 and 1 are several classes per
    image.

    Args:
        table: the CSV or Parquet file.
        path: the folder of the images; null for that of the table.
        image: the column of the paths; null for the first that holds names such as 1.jpg.
        target: the column to predict, or several; null for the only other one, or the one called label or target.
        kind: classification, regression, or one_hot for one column of 0 and 1 per class; null to decide by the
            target.
        label_separator: the text between the classes of an image in the target, such as ';', if it can have several
            (the separator alone stands for no class); null for one.
        group: a column that no split may cut, such as the patient.
        time: a column of numbers or dates; the splits follow each other in its order.
        separator: the character between two values of a CSV; \\t for a tab.
        decimal: the decimal mark of numbers: a point or a comma.
        time_format: how the dates of `time` are written, such as %d/%m/%Y; null to find out.
        **images: image_size, colour, resize, broken, lazy, cache, batch_size …: see StoredImages.

    Raises:
        ValueError: if the file is not a table with such columns, an image is missing, named twice or outside the
            folder, or a file can't be read.
    """

    def __init__(
        self,
        table: str,
        path: str | None = None,
        image: Name | None = None,
        target: Name | list[Name] | None = None,
        kind: Kind | None = None,
        label_separator: str | None = None,
        group: Name | None = None,
        time: Name | None = None,
        separator: str = ",",
        decimal: str = ".",
        time_format: str | None = None,
        **images: Any,
    ) -> None:
        super().__init__(path or os.path.dirname(table) or ".", **images)
        self.roles = {"image": image, "target": target, "group": group, "time": time}
        self.kind, self.label_separator, self.time_format = kind, label_separator, time_format
        self.table = OpenTable("table", table, separator, decimal)
        self.find()

    def find(self) -> None:
        columns = {role: self.table.named(role, given) for role, given in self.roles.items()}
        self._choose_columns(columns)
        self._note(*self.table.leave_out_rows_without(columns["target"]))
        names = self._names(columns["image"][0])
        places, self.own_val, self.own_test = order_by_split(names, self.root)
        self._read_target(columns["target"], places)
        for name in columns["group"]:
            self.groups = self.table.groups(name)[places]
        for name in columns["time"]:
            self.times = self.table.times(name, self.time_format)[places]
        files = [names[place] for place in places]
        self.files = PackedNames(files) if self.lazy else files
        del self.table  # which takes as much memory again

    def _note(self, *sentences: str) -> None:
        self.notes = [*self.notes, *sentences]

    def _choose_columns(self, columns: dict[str, list[str]]) -> None:
        """Add the columns of the images and the target where none is given; note what was guessed or is not used."""
        is_guess = not columns["image"] or self.roles["target"] is None
        columns["image"] = columns["image"] or self._column_of_paths()
        if self.roles["target"] is None:
            columns["target"] = self._column_of_targets([*chain(*columns.values())], columns["image"][0])
        target = columns["target"]
        if not target or len({*target, *columns["image"]}) <= len(target):
            raise ValueError(
                f"target is {self.roles['target']}: expected a column, or several different ones, besides that of the "
                f"images, {columns['image'][0]}"
            )
        if is_guess:
            self._note(
                f"images are named in column {columns['image'][0]} of {self.table.path}, and {', '.join(target)} is "
                "predicted; else --data.image and --data.target"
            )
        used = {*chain(*columns.values())}
        if unused := [name for name in self.table.columns if name not in used]:
            self._note(f"{self.table.path} has columns that are not used: {', '.join(unused)}")

    def _column_of_paths(self) -> list[str]:
        for name in self.table.columns:
            first = self.table.values(name).text(0) if len(self.table.rows) else None
            if first and first.lower().endswith(SUFFIXES):
                return [name]
        raise ValueError(
            f"image is null, and no column of {self.table.path} begins with the name of an image, such as 1.jpg: set "
            f"data.image to one of {', '.join(self.table.columns)}"
        )

    def _column_of_targets(self, used: list[str], image: str) -> list[str]:
        others = [name for name in self.table.columns if name not in used]
        called_so = [name for name in others if name.lower() in TARGETS]
        for found in (others, called_so):
            if len(found) == 1:
                return found
        raise ValueError(
            f"target is null, and {self.table.path} has {', '.join(others) or 'no column'} besides {image}: set "
            "data.target to the column to predict"
        )

    def _read_target(self, columns: list[str], places: list[int]) -> None:
        values = [self.table.values(name) for name in columns]
        found = read_target(values, self.kind, self.table.rows, self.label_separator)
        self.values, self.classes, self.targets = found.values[torch.tensor(places)], found.classes, found.targets
        self.multilabel = found.multilabel
        self._note(*found.notes)

    def _names(self, column: str) -> list[str]:
        """The image of each row, by its name below the folder; notes those that no row names.

        Raises:
            ValueError: if one is missing, named twice, or outside the folder.
        """
        words = self.table.values(column).words
        if (words.places < 0).any():
            row = int((words.places < 0).argmax())
            raise ValueError(f"{self._row(row)} has no value in {column}: expected the path of an image")
        written = [words.words[place] for place in words.places.tolist()]
        root, base = os.path.abspath(self.root), self._base(written[0])
        names = [self._below_root(path, row, base, root) for row, path in enumerate(written)]
        there = {*Listing(self.root, self.lazy, self.cache if self.lazy else None).images()}
        self._refuse_missing(names, there)
        self._refuse_twice(names)
        if unnamed := there.difference(names):
            example = os.path.join(self.root, min(unnamed))
            self._note(
                f"images that {self.table.path} does not name, which are left out: {len(unnamed):,}, such as {example}"
            )
        return names

    def _row(self, row: int) -> str:
        return f"{self.table.path}, {self.table.place_of(row)}"

    def _base(self, first: str) -> str:
        """What paths are relative to, by where the first of them leads to a file."""
        folders = [os.path.abspath(folder) for folder in (self.root, Path(self.table.path).parent)]
        found = [folder for folder in folders if os.path.isfile(os.path.join(folder, first))]
        return (found or folders)[0]

    def _below_root(self, written: str, row: int, base: str, root: str) -> str:
        path, start = os.path.normpath(os.path.join(base, written)), os.path.join(root, "")
        if not os.path.normcase(path).startswith(os.path.normcase(start)):
            raise ValueError(
                f"{self._row(row)}: {written} lies outside {self.root}: set data.path to a folder that holds all"
            )
        return path[len(start) :].replace(os.sep, "/")

    def _refuse_missing(self, names: Sequence[str], there: set[str]) -> None:
        """Those that the listing lacks can still be there, such as files without an ending."""
        missing = [
            row
            for row, name in enumerate(names)
            if name not in there and not os.path.isfile(os.path.join(self.root, name))
        ]
        if missing:
            path = os.path.join(self.root, names[missing[0]])
            more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
            raise ValueError(f"{self._row(missing[0])}: there is no file {path}{more}")

    def _refuse_twice(self, names: Sequence[str]) -> None:
        rows: dict[str, int] = {}
        for row, name in enumerate(names):
            first = rows.setdefault(name, row)
            if first != row:
                raise ValueError(
                    f"{self._row(row)}: {name} is in {self.table.place_of(first)} too: keep one row per image"
                )
