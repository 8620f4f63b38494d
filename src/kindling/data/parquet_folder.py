"""Tables larger than memory: `kindling fit --model MLP --data ParquetFolder --data.path folder --data.target price`."""

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kindling.core.errors import UnreadableSample
from kindling.core.progress import progress
from kindling.data.base import Data
from kindling.data.column_values import Values
from kindling.data.columns import encode, fit_column, learnt_columns, width
from kindling.data.fingerprint import fingerprint, look_of
from kindling.data.lazy_inputs import LazyInputs
from kindling.data.row_groups import CachedRows, RowGroups, RowPart, RowsOfGroups
from kindling.data.split_folders import SPLIT_OF_FOLDER
from kindling.data.splits import SPLITS, Splitter, draw_splits, read_saved, read_splits
from kindling.data.table import notes_of_column
from kindling.data.table_files import PARQUET, Name, named_columns
from kindling.data.table_target import FEW, Kind, read_target


class ParquetFolder(Data):
    """The rows of all Parquet files below a folder, (F,) float32, with a few row groups in memory at a time.

    Columns become inputs as those of Table do, by what a sample of the training rows holds. A split takes whole row
    groups: of the folders train, val and test if there are any, or else drawn. A training goes through the groups in
    random order, and through the rows of `window` of them in random order: rows further apart never meet in a batch, so
    write them in no order that matters, or raise `window`. Each worker process reads all groups of a window; Arrow
    reads with several threads, so workers are seldom needed.

    Args:
        path: the folder.
        target: the column to predict, or several; every row needs a value.
        kind: classification, regression, or one_hot for one column of 0 and 1 per class; null to decide by the
            target.
        drop: columns to leave out, such as one that numbers the rows.
        categorical: columns of numbers that are names rather than amounts, such as a postcode.
        window: row groups that are in memory and whose rows are shuffled with one another.
        max_categories: how many different values a column of categories may have.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, statistics_samples …: see Data.

    Raises:
        ValueError: if there are no such files, too few row groups, or a column is missing or can't be used.
    """

    def __init__(
        self,
        path: str,
        target: Name | list[Name],
        kind: Kind | None = None,
        drop: list[Name] = [],  # noqa: B006 (read only)
        categorical: list[Name] = [],  # noqa: B006 (read only)
        window: int = 8,
        max_categories: int = 100,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        if window < 1:
            raise ValueError(f"window is {window}: expected a number of row groups")
        if self.transforms:
            raise ValueError("transforms are given: they change pictures and the like, which rows don't have")
        self.path, self.kind, self.window, self.max_categories = path, kind, window, max_categories
        files = _files_by_split(Path(path))
        self.row_groups = RowGroups([file for found in files.values() for file in found])
        roles = {"target": target, "drop": drop, "categorical": categorical}
        known = self.row_groups.columns
        columns = {role: named_columns(role, given, known, f"in {path}") for role, given in roles.items()}
        self.target, self.categorical = columns["target"], columns["categorical"]
        if not self.target or len({*self.target}) < len(self.target):
            raise ValueError(f"target is {target}: expected a column, or several different ones")
        no_inputs = {*self.target, *columns["drop"]}
        self.features = [name for name in self.row_groups.columns if name not in no_inputs]
        if not self.features:
            raise ValueError(f"{path} has no column besides the target and those left out")
        self.splits = self._draw([len(found) for found in files.values()], list(files))  # type: ignore[assignment]
        sample, names = self._sample()
        self._learn_target(sample, names)
        self._learn_columns(sample)
        if self.split_file:
            read_splits(self.split_file, fingerprint(self.load()[1], None))  # refuses a split of other data
        largest = int(self.row_groups.sizes.max())
        self._note(f"row groups of up to {largest:,} rows, of which {window} are shuffled at a time (data.window)")

    def source_files(self) -> list[str]:
        return self.row_groups.files

    def look_of_inputs(self, inputs: Any) -> dict[str, Any]:
        """A look at the sizes of the files, since looking at evenly spaced rows would read them all."""
        return look_of(inputs, self.source_files(), looks_at_values=False)

    @property
    def class_counts(self) -> dict[str, dict[str, int]]:
        return self.counts

    def _note(self, *sentences: str) -> None:
        self.notes = [*self.notes, *sentences]

    def _draw(self, files: list[int], splits: list[str]) -> dict[str, RowsOfGroups]:
        """The row groups of each split, by how many files each split with a folder has."""
        groups, split_of_file = self.row_groups, np.repeat(splits, files)
        own = {split: int((split_of_file[groups.file_of] == split).sum()) for split in ("val", "test")}
        lacking = [split for split, count in own.items() if not count]
        if len(groups) - sum(own.values()) <= len(lacking):
            raise ValueError(
                f"{self.path} has {len(groups)} row groups, too few to draw {' and '.join(lacking)}: a split takes "
                "whole groups, so write smaller ones (row_group_size), or make folders train, val and test"
            )
        if self.split_file:
            kept = read_saved(self.split_file)
            numbers = {split: torch.from_numpy(kept[split]) for split in SPLITS}
            if max(int(chosen.max()) for chosen in numbers.values()) >= len(groups):
                read_splits(self.split_file, samples=-1)  # refuses, since it is of other data
        else:
            sizes = own["val"], own["test"], self.val_fraction, self.test_fraction
            numbers = draw_splits(Splitter(seed=self.split_seed), len(groups), *sizes, self.folds, self.fold)
        return {split: RowsOfGroups(groups, chosen.numpy(), self.window) for split, chosen in numbers.items()}

    def _sample(self) -> tuple[pa.Table, list[str]]:
        """Some rows of the training split, from the beginnings of evenly spaced row groups, and their names."""
        train: Any = self.splits["train"]
        columns, rows = [*self.features, *self.target], train.some(self.statistics_samples).numpy()
        group_of = np.searchsorted(self.row_groups.ends, rows, side="right")
        tables, names = [], []
        for group, count in zip(*np.unique(group_of, return_counts=True), strict=True):
            first = np.arange(count)  # as `some` gives them
            tables.append(self.row_groups.read(group, columns).take(pa.array(first)))  # a slice would keep all of it
            names += [self.row_groups.name_of(group, row) for row in first.tolist()]
        return pa.concat_tables(tables), names

    def _learn_target(self, sample: pa.Table, names: list[str]) -> None:
        """Learn what the target is from a sample; if it may be classes, from all its values, since some can be rare."""
        columns = [Values(name, sample[name]) for name in self.target]
        counts = self._count_values() if len(columns) == 1 and self.kind != "regression" else {}
        if counts:
            different = sorted({*chain.from_iterable(counts.values())})
            columns = [Values(self.target[0], pa.chunked_array([pa.array(different, pa.string())]))]
        found = read_target(columns, self.kind, names)
        self.classes, self.targets, self.multilabel = found.classes, found.targets, found.multilabel
        self.one_hot = self.kind == "one_hot"
        self._note(*found.notes)
        self.counts: dict[str, dict[str, int]] = {}
        if counts and found.classes:
            self.counts = {split: {name: of[name] for name in found.classes} for split, of in counts.items()}
            if untrained := [name for name, count in self.counts["train"].items() if not count]:
                raise ValueError(
                    f"class {untrained[0]} has no row in the row groups for train: mix the rows of the files"
                )

    def _count_values(self) -> dict[str, Counter[str]]:
        """How many rows of each split have each value of the target; nothing if it has too many numbers for classes."""
        name, counts = self.target[0], {split: Counter[str]() for split in self.splits}
        groups = [(split, group) for split, rows in self.splits.items() for group in rows.tolist()]
        for split, group in progress(groups, f"counting the values of {name}", len(groups)):
            values = Values(name, self.row_groups.read(group, [name])[name])
            if values.is_missing.any():
                row = self.row_groups.name_of(group, int(values.is_missing.argmax()))
                raise ValueError(f"row {row} (from 0): target {name} has no value: leave such rows out")
            words = values.words
            numbers = np.bincount(words.places, minlength=len(words.words)).tolist()
            counts[split].update(dict(zip(words.words, numbers, strict=True)))
            if self.kind is None and len({*chain(*counts.values())}) > FEW and values.is_numeric():
                return {}
        return counts

    def _learn_columns(self, sample: pa.Table) -> None:
        """What each column becomes, from a sample of the training split, or from the checkpoint that is measured."""
        self.columns = learnt_columns(self.learnt, self.features, self.path)
        if not self.columns:
            for name in self.features:
                values = Values(name, sample[name])
                self.columns.append(fit_column(values, slice(None), name in self.categorical, self.max_categories))
                self._note(*notes_of_column(values, self.columns[-1], name in self.categorical))
            self._note(f"{len(sample):,} rows of train show what the columns hold (data.statistics_samples)")
        self.preparation = {"columns": self.columns}
        self.scaled = [("fill" in column) for column in self.columns for _ in range(width(column))]

    def load(self) -> tuple[LazyInputs, LazyInputs]:
        rows = CachedRows(self.row_groups, self._encoded, self.window)
        inputs = RowPart(rows, 0, (len(self.scaled or []),), torch.float32)
        many = len(self.target) > 1 and not self.one_hot
        shape = (len(self.target),) if self.targets or many else ()
        return inputs, RowPart(rows, 1, shape, torch.float32 if self.targets else torch.int64)

    def _encoded(self, group: int) -> tuple[Tensor, Tensor]:
        """The inputs (rows, F) and the targets (rows, …) of a row group.

        Raises:
            UnreadableSample: if a value can't be used.
        """
        table = self.row_groups.read(group, [*(column["name"] for column in self.columns), *self.target])
        encoded = encode(table, self.columns)
        if encoded.reasons:
            row = min(encoded.reasons)
            how = "correct it, or name the column in data.categorical"
            raise UnreadableSample(f"row {self.row_groups.name_of(group, row)} (from 0): {encoded.reasons[row]}; {how}")
        return torch.from_numpy(encoded.inputs), self._targets_of(table, group)

    def _targets_of(self, table: pa.Table, group: int) -> Tensor:
        columns = [Values(name, table[name]) for name in self.target]
        if self.counts:
            numbers = columns[0].words.numbered(self.classes or [])
            return torch.from_numpy(numbers).long()
        numbers = np.stack([column.numbers for column in columns], axis=1)
        if np.isnan(numbers).any():
            row, place = np.argwhere(np.isnan(numbers))[0].tolist()
            held = f"target {self.target[place]} is {columns[place].text(row)!r}"
            raise UnreadableSample(
                f"row {self.row_groups.name_of(group, row)} (from 0): {held}: expected a finite number"
            )
        if self.one_hot:
            return torch.from_numpy(numbers.argmax(axis=1))
        return torch.from_numpy(numbers).float() if self.targets else torch.from_numpy(numbers).long()


def _files_by_split(root: Path) -> dict[str, list[str]]:
    """The Parquet files below a folder, by the split that each is for; for training alone if no folder says so.

    Raises:
        ValueError: if there are none.
    """
    if root.is_file():
        raise ValueError(f"path is {str(root)!r}, which is a file: give its folder, or use data Table")
    if not root.is_dir():
        raise ValueError(f"path is {str(root)!r}: there is no such folder")
    folders = [
        folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name.lower() in SPLIT_OF_FOLDER
    ]
    found: dict[str, list[str]] = {}
    for folder in folders:
        found.setdefault(SPLIT_OF_FOLDER[folder.name.lower()], []).extend(_files_below(folder))
    if not folders:
        found = {"train": _files_below(root)}
    if not found.get("train"):
        raise ValueError(f"{root / 'train' if folders else root} has no Parquet file ({' or '.join(PARQUET)})")
    if folders and (beside := {*_files_below(root)} - {*chain.from_iterable(found.values())}):
        raise ValueError(
            f"{min(beside)} lies beside the folders {', '.join(f.name for f in folders)}: move it into one"
        )
    return {split: found[split] for split in SPLITS if split in found}


def _files_below(folder: Path) -> list[str]:
    found = [
        path for path in folder.rglob("*") if path.suffix.lower() in PARQUET and not path.name.startswith((".", "_"))
    ]
    return sorted(map(str, found))
