"""Rows of Parquet files by the groups that files hold them in: which there are, in what order, and their values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow.parquet import ParquetFile
from torch import Tensor

from kindling.data.batches import BatchIndices
from kindling.data.column_values import as_column, refuse_duplicates
from kindling.data.lazy_inputs import LazyInputs
from kindling.data.position import Position, seed_of

EVENLY = 16  # row groups that `some` takes rows from, at most


class RowGroups:
    """The row groups of some Parquet files, by their footers, and the number of the first row of each.

    Args:
        files: paths, each of a file with the same columns.

    Raises:
        ValueError: if one can't be read, or has other columns.
    """

    def __init__(self, files: list[str]) -> None:
        self.files = files
        numbers, groups, sizes = [], [], []
        self.columns: list[str] = []
        for number, path in enumerate(files):
            try:
                with ParquetFile(path) as file:
                    metadata, names = file.metadata, _columns_of(file)
            except Exception as error:  # a damaged file fails in many ways
                raise ValueError(f"{path} can't be read as Parquet: {' '.join(str(error).split())}") from None
            if number and names != self.columns:
                raise ValueError(f"{path} has the columns {', '.join(names)}, but {files[0]} {', '.join(self.columns)}")
            self.columns = names
            for group in range(metadata.num_row_groups):
                if rows := metadata.row_group(group).num_rows:
                    numbers.append(number)
                    groups.append(group)
                    sizes.append(rows)
        self.file_of, self.group_of = np.array(numbers, np.int64), np.array(groups, np.int64)
        self.ends = np.cumsum(sizes, dtype=np.int64)
        self.sizes = np.array(sizes, np.int64)

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, group: int, columns: list[str]) -> pa.Table:
        """All rows of a group, as the readers of tables give them."""
        with ParquetFile(self.files[self.file_of[group]]) as file:
            table = file.read_row_group(int(self.group_of[group]), columns=columns)
        return pa.table({name: as_column(table.column(name)) for name in columns})

    def name_of(self, group: int, row: int) -> str:
        """What a user calls a row of a group: its number in its file."""
        before = (self.file_of == self.file_of[group]) & (self.group_of < self.group_of[group])
        return f"{int(self.sizes[before].sum()) + row} of {self.files[self.file_of[group]]}"


def _columns_of(file: ParquetFile) -> list[str]:
    """All columns except those of an index that pandas has written."""
    index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
    names = [name for name in file.schema_arrow.names if name not in index and name.strip()]
    refuse_duplicates(names)
    return names


class RowsOfGroups:
    """The rows of some row groups, as a split: like a tensor (N,) of their numbers, in a few bytes per group.

    Args:
        groups: all that there are.
        own: numbers of those in the split, (G,).
        window: row groups whose rows are shuffled with one another.
    """

    def __init__(self, groups: RowGroups, own: np.ndarray, window: int) -> None:
        self.own, self.window = own, window
        self.sizes = groups.sizes[own]
        self.ends = np.cumsum(self.sizes)
        self.starts = groups.ends[own] - self.sizes  # the number of each group's first row among all

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, positions: Tensor) -> Tensor:
        """The numbers of some rows, by their positions in the split (B,); a slice for the first few."""
        if isinstance(positions, slice):
            positions = torch.arange(*positions.indices(len(self)))
        places = positions.numpy()
        group = np.searchsorted(self.ends, places, side="right")
        return torch.from_numpy(places - self.ends[group] + self.sizes[group] + self.starts[group])

    def numpy(self) -> np.ndarray:
        """What a run keeps of the split: the numbers of its groups."""
        return self.own

    def tolist(self) -> list[int]:
        return self.own.tolist()

    def some(self, count: int) -> Tensor:
        """About `count` rows to judge the split by: from the beginnings of evenly spaced groups."""
        chosen = np.unique(np.linspace(0, len(self.own) - 1, min(EVENLY, len(self.own))).round().astype(int))
        each = -(-count // len(chosen))
        rows = [np.arange(self.starts[group], self.starts[group] + min(each, self.sizes[group])) for group in chosen]
        return torch.from_numpy(np.concatenate(rows)[:count])

    def order(self, size: int, batch_size: int, shuffle: bool, position: Position | None) -> WindowIndices:
        """The order of a loader's batches; `size` is that of the split."""
        return WindowIndices(self, batch_size, shuffle, position)


class WindowIndices(BatchIndices):
    """Yields the positions of whole batches: groups in random order, and the rows of a window of them in random order.

    The order depends on the seed of the run and the epoch alone. No more than one window's is held at a time.

    Args:
        rows: of a split.
        batch_size: samples per batch.
        shuffle: whether to draw an order and leave out the last, smaller batch, as in training.
        position: where the training is: in which epoch, and how many of its batches it saw before an interruption.
    """

    def __init__(self, rows: RowsOfGroups, batch_size: int, shuffle: bool, position: Position | None = None) -> None:
        super().__init__(len(rows), batch_size, shuffle, position)
        self.rows = rows

    def __iter__(self) -> Iterator[Tensor]:
        seen = self.take_position()
        left, rest = len(self) - seen, torch.empty(0, dtype=torch.long)
        for own in self._windows(skipped=seen * self.batch_size):
            batches = torch.cat([rest, own]).split(self.batch_size)
            is_whole = len(batches[-1]) == self.batch_size
            whole, rest = (batches, own[:0]) if is_whole else (batches[:-1], batches[-1])
            yield from whole[:left]
            left -= len(whole)
        if len(rest) and left > 0:
            yield rest

    def _windows(self, skipped: int) -> Iterator[Tensor]:
        """This process's positions, a window at a time, without the first `skipped`."""
        groups = self._shuffled(len(self.rows.own), -1)
        passed = 0  # rows of all processes, of which each takes every n-th
        for number, start in enumerate(range(0, len(groups), self.rows.window)):
            window = groups[start : start + self.rows.window].numpy()
            size = int(self.rows.sizes[window].sum())
            first = (self.rank - passed) % self.num_replicas
            passed += size
            count = len(range(first, size, self.num_replicas))
            if skipped >= count:
                skipped -= count
                continue
            ends = self.rows.ends[window]
            positions = np.concatenate(
                [np.arange(end - rows, end) for end, rows in zip(ends, self.rows.sizes[window], strict=True)]
            )
            own = torch.from_numpy(positions)[self._shuffled(size, number)][first :: self.num_replicas]
            yield own[skipped:]
            skipped = 0

    def _shuffled(self, size: int, number: int) -> Tensor:
        """The numbers up to `size` in the order of this epoch, for a window by its number."""
        if not self.shuffle:
            return torch.arange(size)
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch, number) % 2**63)
        return torch.randperm(size, generator=generator)


class CachedRows:
    """Rows as tensors, by their numbers; the row groups that were used last are kept.

    Args:
        groups: all that there are.
        make: gives the inputs (rows, F) and the targets (rows, …) of a group, by its number.
        size: how many groups are kept.
    """

    def __init__(self, groups: RowGroups, make: Callable[[int], tuple[Tensor, Tensor]], size: int) -> None:
        self.groups, self.make, self.size = groups, make, size
        self.kept: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        self.last: tuple[Any, tuple[Tensor, Tensor]] | None = None  # inputs and targets are asked for in turn

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, F) and targets (B, …)."""
        if self.last is None or self.last[0] is not indices:
            self.last = indices, self._read(indices)
        return self.last[1]

    def _read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        rows = indices.numpy()
        group_of = np.searchsorted(self.groups.ends, rows, side="right")
        starts = self.groups.ends - self.groups.sizes
        found, places = [], []
        wanted = np.unique(group_of).tolist()
        for group in sorted(wanted, key=lambda group: group not in self.kept):  # before another takes its place
            own = np.flatnonzero(group_of == group)
            parts = self._group(group)
            found.append([part[torch.from_numpy(rows[own] - starts[group])] for part in parts])
            places.append(own)
        back = torch.from_numpy(np.argsort(np.concatenate(places)))
        inputs, targets = (torch.cat(parts)[back] for parts in zip(*found, strict=True))
        return inputs, targets

    def _group(self, group: int) -> tuple[Tensor, Tensor]:
        if group not in self.kept:
            while len(self.kept) >= self.size:  # before the next is read, so that no more are ever held
                self.kept.popitem(last=False)
            self.kept[group] = self.make(group)
        self.kept.move_to_end(group)
        return self.kept[group]

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process, which reads for itself."""
        return {**vars(self), "kept": OrderedDict(), "last": None}


class RowPart(LazyInputs):
    """The inputs or the targets of rows, (N, …).

    Args:
        rows: which hold both of them.
        place: 0 for the inputs, 1 for the targets.
        shape: of those of one row.
        dtype: of their numbers.
    """

    is_slow = True

    def __init__(self, rows: CachedRows, place: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.rows, self.place = rows, place
        self.shape, self.dtype = (int(rows.groups.ends[-1]), *shape), dtype

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.rows[indices][self.place]
