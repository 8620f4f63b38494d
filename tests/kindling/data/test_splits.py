"""Splits that don't leak, against scikit-learn's; and that a run keeps its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from sklearn import model_selection as ms
from torch import Tensor

from kindling.data.arrays import Arrays
from kindling.data.fingerprint import VALUES, changes_of, differ, fingerprint, look_of
from kindling.data.lazy_inputs import MappedArray
from kindling.data.splits import Splitter, draw_splits, read_splits, save_splits

Run = Callable[..., Result]
SIZE = 60
LABELS = np.arange(SIZE) % 3
GROUPS = np.repeat(np.arange(20), 3)
TIMES = np.random.default_rng(0).permutation(SIZE)
KNOWN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "labels": {"labels": LABELS},
    "groups": {"groups": GROUPS},
    "labels and groups": {"labels": LABELS, "groups": GROUPS},
    "groups as text": {"groups": np.char.add("patient ", GROUPS.astype(str))},
    "times": {"times": TIMES},
    "labels and times": {"labels": LABELS, "times": TIMES},
    "same times": {"times": TIMES // 4},
    "dates": {"times": np.datetime64("2024-01-01") + TIMES // 4},
}


def draw(known: dict[str, Any], seed: int = 0, own: tuple[int, int] = (0, 0), **folds: int) -> dict[str, Tensor]:
    shares = {"val": 0.2, "test": 0.2, "folds": 0, "fold": 0, **folds}
    return draw_splits(Splitter(**known, seed=seed), SIZE, *own, **shares)  # type: ignore[arg-type]


@pytest.mark.parametrize("folds", [0, 4])
@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_splits_are_disjoint_and_cut_no_group_and_no_moment(known: dict[str, Any], folds: int) -> None:
    parts = draw(known, folds=folds, fold=folds // 2)
    everything = torch.cat(list(parts.values())).tolist()
    assert len(everything) == len(set(everything))
    train, val, test = (parts[name].numpy() for name in ("train", "val", "test"))
    assert len(test) == pytest.approx(0.2 * SIZE, abs=2)
    if not folds or "times" not in known:
        assert len(everything) == SIZE
        assert len(val) == pytest.approx(0.2 * SIZE, abs=3)
    if "groups" in known:
        groups = [set(known["groups"][part]) for part in (train, val, test)]
        assert sum(map(len, groups)) == len(set.union(*groups))
    if "times" in known:
        times = known["times"]
        assert times[train].max() < times[val].min()
        assert times[val].max() < times[test].min()


@pytest.mark.parametrize("known", [KNOWN["labels"], KNOWN["labels and groups"]])
def test_classes_are_in_all_splits_alike(known: dict[str, Any]) -> None:
    for part in draw(known).values():
        share = np.bincount(LABELS[part]) / len(part)
        np.testing.assert_allclose(share, 1 / 3, atol=0.05)


def test_the_draw_is_scikit_learns_and_depends_on_the_seed() -> None:
    rest, test = ms.train_test_split(np.arange(SIZE), test_size=12, random_state=3, stratify=LABELS)
    parts = draw(KNOWN["labels"], seed=3)
    assert parts["test"].tolist() == test.tolist()
    train, val = ms.train_test_split(rest, test_size=12, random_state=3, stratify=LABELS[rest])
    assert (parts["train"].tolist(), parts["val"].tolist()) == (train.tolist(), val.tolist())
    assert parts["test"].tolist() != draw(KNOWN["labels"], seed=4)["test"].tolist()


@pytest.mark.parametrize(
    ("known", "reference"),
    [
        ("nothing", ms.KFold(4, shuffle=True, random_state=0)),
        ("labels", ms.StratifiedKFold(4, shuffle=True, random_state=0)),
        ("groups", ms.GroupKFold(4, shuffle=True, random_state=0)),
        ("labels and groups", ms.StratifiedGroupKFold(4, shuffle=True, random_state=0)),
        ("times", ms.TimeSeriesSplit(4)),
    ],
)
def test_folds_are_those_of_scikit_learn(known: str, reference: Any) -> None:
    indices = np.random.default_rng(1).permutation(SIZE)[:50]  # what the test has left
    if known == "times":
        indices = indices[np.argsort(TIMES[indices])]
    expected = reference.split(indices, LABELS[indices], GROUPS[indices])
    for fold, (rest, taken) in enumerate(expected):
        parts = Splitter(**KNOWN[known]).fold(indices, 4, fold)
        assert parts[0].tolist() == indices[rest].tolist()
        assert parts[1].tolist() == indices[taken].tolist()


@pytest.mark.parametrize("known", [name for name in KNOWN if "times" not in KNOWN[name]])
def test_folds_are_disjoint_and_cover_all_but_the_test(known: str) -> None:
    drawn = [draw(KNOWN[known], folds=5, fold=fold) for fold in range(5)]
    assert len({tuple(parts["test"].tolist()) for parts in drawn}) == 1
    validated = sorted(torch.cat([parts["val"] for parts in drawn]).tolist())
    assert validated == sorted(set(range(SIZE)) - set(drawn[0]["test"].tolist()))


def test_folds_in_the_order_of_time_are_disjoint_and_end_at_the_test() -> None:
    drawn = [draw(KNOWN["same times"], folds=5, fold=fold) for fold in range(5)]
    moments = [set((TIMES // 4)[parts["val"]]) for parts in drawn]
    assert [max(found) + 1 for found in moments] == [min(found) for found in moments[1:]] + [12]


@pytest.mark.parametrize(
    ("size", "own", "expected"),
    [
        (200, (0, 150), (42, 8, 150)),  # 0.15 of the 50 that are not for the test
        (200, (0, 0), (130, 30, 40)),  # of all
        (200, (20, 0), (140, 20, 40)),
    ],
)
def test_fractions_are_of_all_samples_or_of_those_that_no_test_is_made_of(
    size: int, own: tuple[int, int], expected: tuple[int, ...]
) -> None:
    parts = draw_splits(Splitter(), size, *own, val=0.15, test=0.2, folds=0, fold=0)
    assert tuple(len(part) for part in parts.values()) == expected


def test_own_splits_are_the_last_samples() -> None:
    both = draw(KNOWN["labels"], own=(10, 20))
    assert both["train"].tolist() == list(range(30))
    assert both["val"].tolist() == list(range(30, 40))
    assert both["test"].tolist() == list(range(40, 60))
    test = draw({"groups": GROUPS[:40]}, own=(0, 20))  # groups are known of the training's samples alone
    assert test["test"].tolist() == list(range(40, 60))
    assert not set(GROUPS[test["train"]]) & set(GROUPS[test["val"]])


def test_a_fingerprint_tells_other_samples_or_another_order() -> None:
    targets, names = torch.arange(4), ["a", "b", "c", "d"]
    same = fingerprint(targets.clone(), list(names))
    assert fingerprint(targets, names) == same
    others = [(targets.flip(0), names), (targets, names[::-1]), (targets[:3], names[:3]), (targets, None)]
    assert all(fingerprint(*other) != same for other in others)


def look(inputs: Any, files: Any = (), **options: Any) -> dict[str, Any]:
    return look_of(torch.from_numpy(inputs), files, **options)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "unit": lambda x: x * 1000,
    "offset of a column": lambda x: x + np.array([0, 0, 1e-2], np.float32),
    "order of the columns": lambda x: x[:, ::-1].copy(),
    "order of the samples": lambda x: x[::-1].copy(),
    "one more column": lambda x: np.concatenate([x, x[:, :1]], axis=1),
    "type": lambda x: x.astype(np.float64),
    "a hole": lambda x: np.where(x == x[0, 0], np.float32(np.nan), x),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("unit", [1e-9, 1, 1e9])
def test_a_look_tells_other_inputs(unit: float, change: Callable[[np.ndarray], np.ndarray]) -> None:
    x = (X * unit).astype(np.float32)
    wide = x if unit == 1 else x * np.array([1, 1e6, 1e-6], np.float32)  # columns of other units
    assert not differ(look(x), look(x.copy()))
    assert not differ(look(wide), look(np.nextafter(wide, np.float32(np.inf))))  # another last bit
    assert differ(look(x), look(change(x / unit) * np.float32(unit)))


def test_a_look_is_bounded_and_reads_mapped_arrays_alike(tmp_path: Path) -> None:
    x = np.arange(40_000, dtype=np.float32).reshape(200, 200)
    np.save(tmp_path / "x.npy", x)
    mapped = look_of(MappedArray(np.load(tmp_path / "x.npy", mmap_mode="r")), [])
    assert mapped["values"].size <= VALUES
    assert not differ(look(x), mapped)
    wide = look(np.zeros((3, 2 * VALUES), np.uint8))
    assert wide["values"].shape == (1, VALUES)


def test_other_sizes_and_times_of_files_are_told(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a")
    before = look(X, [str(file)])
    assert changes_of(before, look(X, [str(file)])) == []
    os.utime(file, (0, 0))
    told = "the files' sizes or times have changed since the split was drawn; what was looked at is the same"
    assert changes_of(before, look(X, [str(file)])) == [told]
    by_size = look(X, [str(file)], looks_at_values=False)
    file.write_text("ab")
    assert differ(by_size, look(X, [str(file)], looks_at_values=False))


def test_splits_are_read_as_they_were_written(tmp_path: Path) -> None:
    parts = draw(KNOWN["labels"])
    save_splits(tmp_path / "splits.npz", parts, 7)
    found = read_splits(str(tmp_path / "splits.npz"), 7)
    assert {name: part.tolist() for name, part in found.items()} == {n: part.tolist() for n, part in parts.items()}


X = np.random.default_rng(0).normal(size=(SIZE, 3)).astype(np.float32)
FIT = ["fit", "--model", "MLP", "--model.hidden_sizes", "[4]", "--data", "Arrays", "--data.path", "a.npz", *QUICK]
EVEN = np.arange(SIZE) % 2
REFUSED: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "groups and times": ({"groups": GROUPS, "times": TIMES}, [], "group and time are both given: a split follows one"),
    "a class of one sample": ({"y_train": (np.arange(SIZE) == 5) * 1}, [], "has too few samples (1): train, val and test need some each"),
    "a class of two samples": ({"y_train": (np.arange(SIZE) < 2) * 1}, ["--data.test_fraction", "0.4"], "has too few samples (2): train,"),
    "a class in one group": ({"y_train": LABELS, "groups": LABELS}, [], "has no sample in train: too few groups or moments have it"),
    "a class at the end": ({"y_train": (np.arange(SIZE) > 50) * 1, "times": np.arange(SIZE)}, [], "1 has no sample in train: too few groups or moments have it"),
    "two groups": ({"groups": EVEN}, [], "there are too few groups: train, val and test need at least one each"),
    "one group": ({"groups": EVEN * 0}, [], "there are too few groups"),
    "one moment": ({"times": EVEN * 0}, [], "the split leaves no sample for train: the data is too small or has too few moments"),
    "two moments": ({"times": EVEN}, [], "the split leaves no sample for train"),
    "one fold": ({}, ["--data.folds", "1"], "fold is 0 and folds is 1: expected two folds or more"),
    "a fold that is not there": ({}, ["--data.folds", "3", "--data.fold", "3"], "command line: data.fold is 3 and folds is 3: expected two folds or more, and one of them from 0"),
    "more folds than samples of a class": ({}, ["--data.folds", "40"], "command line: data.folds is 40: expected at most 24, since the data has 24 samples of its largest class outside the test split"),
    "more folds than samples": ({"y_train": X[:, 0]}, ["--data.folds", "50"], "data.folds is 50: expected at most 48, since the data has 48 samples"),
    "more folds than groups": ({"groups": GROUPS // 3}, ["--data.folds", "7", "--data.fold", "5"], "data.folds is 7: expected at most 6, since the data has 6 groups"),
    "more folds than moments": ({"times": TIMES // 10}, ["--data.folds", "5"], "data.folds is 5: expected at most 3, since the data has 4 moments"),
    "folds and own validation": ({"x_val": X, "y_val": EVEN}, ["--data.folds", "3"], "data.folds is set, but the data has a validation split of its own"),
    "no split file": ({}, ["--data.split_file", "splits.npz"], "data.split_file is 'splits.npz': can't be read (No such file or directory)"),
    "other file": ({}, ["--data.split_file", "a.npz"], "data.split_file is 'a.npz': can't be read (it is not what a run keeps as splits.npz)"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_split_is_refused(
    arrays: dict[str, Any], flags: list[str], message: str, kindling: Run
) -> None:
    np.savez("a.npz", **{"x_train": X, "y_train": EVEN, **arrays})
    assert_refused(kindling(*FIT, *flags), message)


def test_a_run_keeps_its_split_and_uses_it_again(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez("a.npz", x_train=X, y_train=EVEN, groups=GROUPS)
    assert kindling(*FIT, "--data.split_seed", "5", "--data.folds", "3", "--data.fold", "1").code == 0
    run = next(Path("lightning_logs").glob("*/version_0"))
    data = Arrays("a.npz", split_seed=5, folds=3, fold=1)
    with np.load(run / "splits.npz") as saved:
        for name, part in data.splits.items():
            assert saved[name].tolist() == part.tolist()
    with monkeypatch.context() as patch:
        patch.setattr("kindling.data.base.draw_splits", None)  # none is drawn
        assert kindling("test", "--run", run).code == 0
    np.savez("a.npz", x_train=X, y_train=1 - EVEN, groups=GROUPS)
    told = kindling("test", "--run", run)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "the data has changed since the split in " in told.err
