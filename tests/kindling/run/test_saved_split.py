"""A resumed run trains on what it was trained on before, or not at all; what has changed is told."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK, Result
from PIL import Image

Run = Callable[..., Result]
RNG = np.random.default_rng(0)
SIZE = 120
X = RNG.normal(size=(SIZE, 4)).astype(np.float32)
Y = np.arange(SIZE) % 2
RUN = Path("lightning_logs/a/version_0")
MORE = ["--trainer.max_epochs", "3"]
FIT = ["fit", "--model", "MLP", "--model.hidden_sizes", "[4]", "--name", "a", *QUICK]
ARRAYS = [*FIT, "--data", "Arrays", "--data.path", "a.npz"]


def assert_refused(finished: Result, message: str) -> None:
    assert (finished.code, finished.err.count("\n")) == (2, 1), finished.err
    assert message in finished.err


def trained(kindling: Run, *flags: str) -> dict[str, np.ndarray]:
    """Train a run on a.npz; its splits."""
    np.savez("a.npz", x_train=X, y_train=Y, groups=np.arange(SIZE) // 4)
    assert kindling(*ARRAYS, *flags).code == 0
    return kept()


def kept() -> dict[str, np.ndarray]:
    with np.load(RUN / "splits.npz") as file:
        return {name: file[name] for name in ("train", "val", "test")}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--data.split_seed", "7"], "data.split_seed"),
        (["--data.val_fraction", "0.3"], "data.val_fraction"),
        (["--data.test_fraction", "0.3"], "data.test_fraction"),
        (["--data.folds", "4", "--data.fold", "1"], "data.folds, data.fold"),
    ],
)
def test_another_split_is_refused_on_a_resume(flags: list[str], named: str, kindling: Run) -> None:
    before = trained(kindling)
    refused = kindling("fit", "--resume", RUN, *MORE, *flags)
    assert_refused(refused, f"the split is not that of {RUN} ({named} is given): it would train on ")
    assert "leave the split as it was, or start a new run" in refused.err
    assert all(np.array_equal(kept()[name], before[name]) for name in before)


def test_a_setting_that_changes_no_split_goes_on(kindling: Run) -> None:
    before = trained(kindling)
    for flags in (["--data.split_seed", "0"], ["--seed_everything", "5"], ["--data.batch_size", "16"]):
        finished = kindling("fit", "--resume", RUN, *MORE, *flags)
        assert finished.code == 0, finished.err
    assert all(np.array_equal(kept()[name], before[name]) for name in before)


def test_other_data_is_refused_on_a_resume(kindling: Run) -> None:
    trained(kindling)
    refused = kindling("fit", "--resume", RUN, *MORE, "--data", "SyntheticClassification", "--data.features", "4")
    assert_refused(refused, f"the data is not what {RUN} was trained on")
    np.savez("a.npz", x_train=X, y_train=1 - Y)
    assert_refused(kindling("fit", "--resume", RUN, *MORE), "the data has changed since the split in ")


def test_changed_inputs_are_refused_on_a_resume_and_told_by_a_test(kindling: Run) -> None:
    trained(kindling)
    np.savez("a.npz", x_train=X * 10, y_train=Y)
    assert_refused(kindling("fit", "--resume", RUN, *MORE), f"the inputs have changed since {RUN} was trained")
    tested = kindling("test", "--run", RUN)
    assert tested.code == 0
    assert "note   the inputs are not those that the split was drawn for" in tested.out


def test_files_of_another_time_are_told(kindling: Run) -> None:
    trained(kindling)
    os.utime("a.npz", (0, 0))
    resumed = kindling("fit", "--resume", RUN, *MORE)
    assert resumed.code == 0
    assert "note   the files' sizes or times have changed since the split was drawn" in resumed.out


def test_a_test_split_that_a_run_was_trained_on_is_told(kindling: Run) -> None:
    before = trained(kindling)
    tested = kindling("test", "--run", RUN, "--data.split_seed", "7")
    assert tested.code == 0
    seen = len({*kept_test(7)} & {*before["train"].tolist()})
    assert seen > 5
    assert f"note   {RUN} was trained on {seen} of 24 test samples, so those metrics are too good" in tested.out
    assert "was trained on" not in kindling("test", "--run", RUN).out


def kept_test(seed: int) -> list[int]:
    from kindling.data.arrays import Arrays

    return Arrays("a.npz", split_seed=seed).splits["test"].tolist()


def test_a_run_with_the_fingerprint_of_before_goes_on(kindling: Run) -> None:
    before = trained(kindling)
    with np.load(RUN / "splits.npz") as file:
        old: dict[str, Any] = {name: file[name] for name in ("samples", "train", "val", "test")}
    np.savez(RUN / "splits.npz", **old)
    np.savez("a.npz", x_train=X * 10, y_train=Y)
    assert kindling("fit", "--resume", RUN, *MORE).code == 0
    assert all(np.array_equal(kept()[name], before[name]) for name in before)


def test_images_of_another_size_are_another_input(kindling: Run) -> None:
    for label in "ab":
        Path("images", label).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8)).save(f"images/{label}/{number}.png")
    fit = ["fit", "--model", "CNN", "--model.channels", "[4]", "--name", "a", "--data", "ImageFolder", *QUICK]
    assert kindling(*fit, "--data.path", "images", "--data.image_size", "8").code == 0
    shutil.copytree("images", "moved", copy_function=shutil.copy)  # with other times, which is told
    moved = kindling("fit", "--resume", RUN, *MORE, "--data.path", "moved")
    assert (moved.code, "sizes or times have changed" in moved.out) == (0, True), moved.err
    larger = kindling("fit", "--resume", RUN, "--trainer.max_epochs", "4", "--data.image_size", "16")
    assert larger.code == 0, larger.err  # the same samples, as somebody wants them
    Image.fromarray(RNG.integers(0, 256, (9, 9), np.uint8)).save("images/a/3.png")
    refused = kindling("fit", "--resume", RUN, "--data.path", "images", "--trainer.max_epochs", "5")
    assert_refused(refused, "the inputs have changed since ")
