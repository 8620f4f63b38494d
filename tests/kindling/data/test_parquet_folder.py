"""Parquet folders: what is read, in which order, split by row groups, resumed, and in how little memory."""

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, Result, assert_refused
from interrupted import assert_resumes_identically

from kindling.core.errors import UnreadableSample
from kindling.data.parquet_folder import ParquetFolder
from kindling.data.row_groups import RowGroups, RowsOfGroups, WindowIndices
from kindling.data.table import Table

Kindling = Callable[..., Result]
GROUPS, ROWS = 12, 40  # in three files
FIT = ["fit", "--model", "MLP", "--data", "ParquetFolder", "--data.path", "rows"]
FIT += ["--data.target", "price", "--data.drop", "[kind]", "--data.batch_size", "16", "--data.window", "3"]
FIT += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]


def table(number: int, rows: int = 4 * ROWS) -> pa.Table:
    """Rows of a file: `row` is their number among all."""
    random = np.random.default_rng(number)
    row = np.arange(rows) + number * rows
    town = random.choice(["Bath", "York"], rows)
    price = row / 100 + (town == "Bath")
    return pa.table({"row": row, "town": town, "price": price, "kind": np.where(row % 3 == 0, "third", "other")})


@pytest.fixture
def rows(project: Path) -> Path:
    folder = project / "rows"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("0.parquet", "1.pq", "more/2.parquet")):
        pq.write_table(table(number), folder / name, row_group_size=ROWS)
    (folder / "_metadata.parquet").write_bytes(b"of Spark")
    return folder


def data_of(path: Path, **arguments: Any) -> ParquetFolder:
    options: dict[str, Any] = {"target": "price", "drop": ["kind"], "batch_size": 16, "window": 3, "normalize": False}
    data = ParquetFolder(str(path), **(options | arguments))
    data.setup("fit")
    return data


def numbers_in(data: ParquetFolder, split: str) -> list[int]:
    return [int(row) for inputs, _ in data.loader(split) for row in inputs[:, 0].round().tolist()]


def test_every_row_is_read_as_by_table(rows: Path) -> None:
    data = data_of(rows)
    whole = Table(str(rows / "0.parquet"), "price", drop=["kind"], normalize=False)
    expected = dict(zip(whole.samples[0][:, 0].tolist(), zip(*whole.samples, strict=True), strict=True))
    found = 0
    for split in ("val", "test", "train"):
        for inputs, targets in data.loader(split):
            for row, target in zip(inputs, targets, strict=True):
                if int(row[0]) in expected:
                    found += 1
                    assert torch.equal(row, expected[int(row[0])][0])
                    assert torch.equal(target, expected[int(row[0])][1])
    assert found > 100
    assert data.targets == ["price"]
    assert data.input_shape == (3,)


def test_splits_take_whole_row_groups(rows: Path) -> None:
    data = data_of(rows)
    groups = {split: numbers.tolist() for split, numbers in data.splits.items()}
    assert sorted(chain(*groups.values())) == list(range(GROUPS))
    assert [len(groups[split]) for split in ("train", "val", "test")] == [7, 2, 3]
    for split in ("val", "test"):
        assert numbers_in(data, split) == [row for group in groups[split] for row in range(group * 40, group * 40 + 40)]
    train = numbers_in(data, "train")
    assert len(train) == len({*train}) == 7 * ROWS // 16 * 16
    assert {row // ROWS for row in train} == {*groups["train"]}
    folds = [data_of(rows, folds=3, fold=fold).splits["val"].tolist() for fold in range(3)]
    assert sorted(chain(*folds)) == sorted({*range(GROUPS)} - {*groups["test"]})


def test_folders_are_splits(rows: Path) -> None:
    for name, split in {"0.parquet": "train", "1.pq": "validation", "more/2.parquet": "test"}.items():
        (rows / split).mkdir()
        (rows / name).rename(rows / split / Path(name).name)
    data = data_of(rows)
    assert [data.splits[split].tolist() for split in ("train", "val", "test")] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    pq.write_table(table(3), rows / "3.parquet")
    with pytest.raises(
        ValueError, match=r"3\.parquet lies beside the folders test, train, validation: move it into one"
    ):
        data_of(rows)


def test_rows_of_a_window_are_shuffled_in_an_order_of_seed_and_epoch(rows: Path) -> None:
    own = RowsOfGroups(RowGroups([str(rows / "0.parquet"), str(rows / "1.pq")]), np.arange(8), window=3)

    def order(epoch: int, seen: int = 0, rank: int = 0, processes: int = 1) -> list[int]:
        indices = WindowIndices(own, 16, shuffle=True)
        indices.epoch, indices.rank, indices.num_replicas = epoch, rank, processes
        if seen or epoch:
            indices.position = type("At", (), {"epoch": epoch, "seen": seen})()
        batches = list(indices)
        assert len(batches) == len(indices) - seen
        return own[torch.cat(batches)].tolist()

    first, second = order(0), order(1)
    assert len({*first}) == len(first) == 320
    windows = [{row // ROWS for row in first[start : start + 3 * ROWS]} for start in (0, 120, 240)]
    assert [len(window) for window in windows] == [3, 3, 2]
    assert first != second != sorted(second)
    assert first == order(0)
    for seen in (1, 7, 8, 19):
        assert order(1, seen) == second[16 * seen :]
    shares = [order(0, rank=rank, processes=3) for rank in range(3)]
    assert [len(share) for share in shares] == [96] * 3
    assert len({*chain(*shares)}) == 288


def test_no_more_groups_than_the_window_are_held(rows: Path) -> None:
    data = data_of(rows)
    kept = data.samples[0].rows
    read: list[int] = []
    make = kept.make
    kept.make = lambda group: (read.append(group), make(group))[1]
    for _ in data.loader("train"):
        assert len(kept.kept) <= 3
    assert sorted(read) == sorted(data.splits["train"].tolist())  # each once


def test_workers_read_the_same(rows: Path) -> None:
    alone, helped = data_of(rows), data_of(rows, workers=2)
    for one, other in zip(alone.loader("train"), helped.loader("train"), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_classes_are_all_counted(rows: Path) -> None:
    extra = table(5).set_column(3, "kind", pa.array(["rare"] * ROWS + ["other"] * 3 * ROWS))
    pq.write_table(extra, rows / "9.parquet", row_group_size=2 * ROWS)
    data = data_of(rows, target="kind", drop=["price"], statistics_samples=1, split_seed=3)
    assert data.classes == ["other", "rare", "third"]
    assert sum(sum(counts.values()) for counts in data.class_counts.values()) == 16 * ROWS
    targets = torch.cat([targets for _, targets in data.loader("val")])
    assert data.class_counts["val"] == {name: int((targets == place).sum()) for place, name in enumerate(data.classes)}


def test_several_targets(rows: Path) -> None:
    pq.write_table(
        table(0).append_column("second", pa.array(np.arange(160) % 7 / 2)), rows / "0.parquet", row_group_size=40
    )
    for name in ("1.pq", "more/2.parquet", "_metadata.parquet"):
        (rows / name).unlink()
    data = data_of(rows, target=["price", "second"])
    assert data.targets == ["price", "second"]
    inputs, targets = next(iter(data.loader("train")))
    torch.testing.assert_close(targets[:, 1], inputs[:, 0] % 7 / 2)


@pytest.mark.slow
def test_a_training_that_was_interrupted_ends_the_same(
    rows: Path, kindling: Kindling, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_resumes_identically(kindling, monkeypatch, FIT, [], accident=9, every=3)
    assert kindling("test", "--run", "lightning_logs/broken/version_0").code == 0
    for command in ([], ["--input", "rows/0.parquet"]):
        finished = kindling("predict", "--run", "lightning_logs/broken/version_0", *command)
        assert finished.code == 0, finished.err
    assert "160 of 160 inputs predicted" in finished.out
    assert "ParquetFolder: vectors 3, 480 samples" in kindling("data", *FIT[FIT.index("--data") : -4]).out
    pq.write_table(table(3), rows / "3.parquet", row_group_size=ROWS)
    refused = kindling("fit", "--resume", "lightning_logs/broken/version_0", "--trainer.max_epochs", "3")
    assert (refused.code, "the data has changed since the split" in refused.err) == (2, True)


def test_what_can_not_be_used_is_refused(rows: Path, kindling: Kindling) -> None:
    def refused(message: str, *arguments: str) -> None:
        assert_refused(kindling(*FIT, *arguments), message)

    refused("path is 'gone': there is no such folder", "--data.path", "gone")
    refused("path is 'rows/0.parquet', which is a file: give its folder", "--data.path", "rows/0.parquet")
    refused("configs has no Parquet file (.parquet or .pq)", "--data.path", "configs")
    refused("target is 'cost', which is not a column in rows: row, town, price, kind", "--data.target", "cost")
    refused("window is 0: expected a number of row groups", "--data.window", "0")
    pq.write_table(table(4).drop_columns("town"), rows / "4.parquet")
    refused("4.parquet has the columns row, price, kind, but rows/0.parquet row, town, price, kind")
    (rows / "4.parquet").write_text("no table")
    refused("rows/4.parquet can't be read as Parquet")
    for name in ("4.parquet", "1.pq", "more/2.parquet"):
        (rows / name).unlink()
    pq.write_table(table(0), rows / "0.parquet", row_group_size=100)
    refused("rows has 2 row groups, too few to draw val and test: a split takes whole groups")


def test_a_row_that_can_not_be_used_is_named(rows: Path) -> None:
    broken = table(0).to_pandas()
    broken.loc[130, "price"] = None
    pq.write_table(pa.Table.from_pandas(broken), rows / "0.parquet", row_group_size=ROWS)
    with pytest.raises(ValueError, match=r"where row 130 of .*rows/0\.parquet \(from 0\) has None: expected finite"):
        data_of(rows, kind="regression")
    data = data_of(rows, kind="regression", statistics_samples=10)
    with pytest.raises(UnreadableSample, match=r"row 130 of .*rows/0\.parquet \(from 0\): target price is None"):
        data.samples[1][torch.tensor([120])]
    broken["kind"] = broken["kind"].where(broken.index != 45)
    pq.write_table(pa.Table.from_pandas(broken), rows / "0.parquet", row_group_size=ROWS)
    with pytest.raises(ValueError, match=r"row 45 of .*rows/0\.parquet \(from 0\): target kind has no value"):
        data_of(rows, target="kind", drop=["price"])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_files(project: Path) -> None:
    """A hundred times the rows, in links to one file: the memory that a training takes stays the same."""
    script = ROOT / "scripts" / "kindling" / "parquet_memory.py"
    command = [sys.executable, str(script), "--gigabytes", "4", "--steps", "400"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    few, many = (float(number.replace(",", "")) for number in re.findall(r"at most ([\d,]+) MB", printed))
    assert "4.0 GB of Parquet" in printed
    assert many < few + 200  # MB, of 3,800 more
