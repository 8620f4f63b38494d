"""Folders of images that are decoded batch by batch: all is as if they had been decoded before."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from PIL import Image

from kindling.core.errors import UnreadableSample
from kindling.data.fingerprint import changes_of, fingerprint
from kindling.data.image_folder import ImageFolder
from kindling.data.image_listing import Listing
from kindling.run.checkpoint_files import load_checkpoint

Run = Callable[..., Result]
SMALL: dict[str, Any] = {"image_size": 4, "batch_size": 4}
FIT = ["fit", "--model", "CNN", "--model.channels", "[4]", "--data", "ImageFolder", "--data.path", "photos"]
FIT += ["--data.image_size", "8", "--data.batch_size", "8", *QUICK]


def noise(root: Path, count: int = 20) -> Path:
    generator = np.random.default_rng(0)
    for number in range(count):
        folder = root / ("cat" if number % 2 else "dög")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (6, 5, 3), np.uint8)).save(folder / f"{number:02}.png")
    return root


def make_old(root: Path) -> None:
    """As if nothing in these folders had changed for an hour."""
    for folder in (root, *root.rglob("*/")):
        stat = folder.stat()
        os.utime(folder, ns=(stat.st_atime_ns, stat.st_mtime_ns - 3600 * 10**9))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_as_of_decoded_images(workers: int, tmp_path: Path) -> None:
    root = str(noise(tmp_path))
    decoded, lazy = ImageFolder(root, **SMALL), ImageFolder(root, lazy=True, workers=workers, **SMALL)
    for data in (decoded, lazy):
        data.setup("fit")
    assert list(lazy.names or []) == decoded.names
    assert lazy.class_counts == decoded.class_counts
    assert lazy.preprocessing.plain == decoded.preprocessing.plain
    for split in ("train", "val", "test"):
        expected, found = list(decoded.loader(split)), list(lazy.loader(split))
        assert len(found) == len(expected) > 0
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])


def test_statistics_are_those_of_some_of_the_training_split(tmp_path: Path) -> None:
    data = ImageFolder(str(noise(tmp_path)), lazy=True, statistics_samples=5, **SMALL)
    order = torch.randperm(len(data.splits["train"]), generator=torch.Generator().manual_seed(0))[:5]
    pixels = data.samples[0][data.splits["train"][order]].double() / 255
    np.testing.assert_allclose(data.preprocessing.plain["mean"], pixels.mean(dim=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.preprocessing.plain["std"], pixels.std(dim=(0, 2, 3)), rtol=1e-6)


def test_bad_arguments(tmp_path: Path) -> None:
    root = str(noise(tmp_path))
    with pytest.raises(ValueError, match="broken is skip and lazy is true: which files can't be read"):
        ImageFolder(root, lazy=True, broken="skip", **SMALL)
    with pytest.raises(ValueError, match="statistics_samples is 0: expected a positive number"):
        ImageFolder(root, lazy=True, statistics_samples=0, **SMALL)


def test_a_fingerprint_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    names, targets = list(map(str, range(10))), torch.arange(10)
    whole = fingerprint(targets, names)
    monkeypatch.setattr("kindling.data.fingerprint.NAMES", 3)
    assert fingerprint(targets, names) == whole


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    root = noise(tmp_path)
    look = ImageFolder(str(root), lazy=True, **SMALL)
    kept = look.look_of_inputs(look.samples[0])
    assert changes_of(kept, kept) == []
    Image.new("RGB", (60, 50)).save(root / "cat" / "01.png")
    again = ImageFolder(str(root), lazy=True, **SMALL)
    (note,) = changes_of(kept, again.look_of_inputs(again.samples[0]))
    assert "the inputs are not those that the split was drawn for" in note


def test_a_kept_listing_is_read_while_no_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    (root / "cat" / "notes.txt").touch()
    (root / "cat" / "more").mkdir()
    Image.new("L", (4, 4)).save(root / "cat" / "more" / "50.png")
    make_old(root)

    def listing() -> tuple[list[str], list[str]]:
        one = Listing(root, True, str(cache))
        return [*one.images("cat")], one.notes()

    names, notes = listing()
    assert len(names) == 11
    assert notes == [f"left out: 1 (.txt 1), such as {root}/cat/notes.txt"]
    (kept,) = cache.glob("*.listing")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", None)
        assert listing() == (names, notes)
    Image.new("L", (4, 4)).save(root / "cat" / "more" / "51.png")  # in a folder below
    assert len(listing()[0]) == 12
    make_old(root)
    assert len(listing()[0]) == 12
    whole = kept.read_bytes()
    for content in (b"", b"[1]", whole[: len(whole) // 2], whole.replace(b"left_out", b"left_off")):
        kept.write_bytes(content)
        assert len(listing()[0]) == 12


def test_a_listing_of_a_folder_that_has_just_changed_is_not_kept(tmp_path: Path) -> None:
    root, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    assert Listing(root, True, str(cache)).images("cat")
    assert not [*cache.glob("*.listing")]


def test_a_training_is_the_same_as_on_decoded_images(kindling: Run) -> None:
    noise(Path("photos"), 40)
    for name, flags in {"decoded": [], "lazy": ["--data.lazy", "true", "--data.cache", "cache"]}.items():
        assert kindling(*FIT, *flags, "--name", name).code == 0
    results = [
        json.loads(Path(f"lightning_logs/{name}/version_0/results.json").read_text(encoding="utf-8"))
        for name in ("decoded", "lazy")
    ]
    assert results[0]["test"] == results[1]["test"]
    predicted = kindling("predict", "--run", "lightning_logs/lazy/version_0", "--output", "predictions.csv")
    assert predicted.code == 0, predicted.err
    table = Path("predictions.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 8
    assert all(row["prediction"] in ("cat", "dög") for row in rows)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_exactly(kindling: Run) -> None:
    noise(Path("photos"), 40)
    lazy = [
        "--data.lazy",
        "true",
        "--data.workers",
        "2",
        "--data.augment",
        "ImageAugmentation",
        "--data.augment.flip",
        "0.5",
    ]
    lazy += ["--model.schedule", "null"]  # which the length of the run would change
    assert kindling(*FIT, *lazy, "--name", "whole").code == 0
    assert kindling(*FIT, *lazy, "--name", "cut", "--trainer.max_epochs", 1).code == 0
    assert kindling("fit", "--resume", "lightning_logs/cut/version_0", "--trainer.max_epochs", 2).code == 0
    whole, cut = (
        load_checkpoint(Path(f"lightning_logs/{name}/version_0/checkpoints/last.ckpt")) for name in ("whole", "cut")
    )
    for name, weight in whole["state_dict"].items():
        assert torch.equal(cut["state_dict"][name], weight), name


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_cannot_be_read_ends_the_training_by_its_name(
    workers: int, kindling: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kindling.data.stored_images.FEW", 1)  # image that is looked at before
    root = noise(Path("photos"), 40)
    data = ImageFolder(str(root), lazy=True, image_size=8)
    assert len(data.samples[0]) == 40
    name = data.names[int(data.splits["train"][3])]  # type: ignore[index]
    content = (root / name).read_bytes()
    (root / name).write_bytes(b"no image")
    flags = ["--data.lazy", "true", "--data.workers", workers, "--data.statistics_samples", 1]
    told = kindling(*FIT, *flags, "--name", "photos")
    assert told.code == 1
    assert "Traceback" not in told.err
    expected = f"photos/{name} can't be read: it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM; fix or remove it"
    assert expected in " ".join(told.err.split())
    (root / name).write_bytes(content)
    resumed = kindling("fit", "--resume", "lightning_logs/photos/version_0")
    assert resumed.code == 2
    assert "the inputs have changed since lightning_logs/photos/version_0 was trained" in resumed.err


def test_what_is_no_image_is_refused_by_its_name(tmp_path: Path) -> None:
    root = noise(tmp_path)
    (root / "cat" / "01.png").write_bytes(b"")
    data = ImageFolder(str(root), lazy=True, **SMALL)
    with pytest.raises(UnreadableSample, match="cat/01.png can't be read: it is empty; fix or remove it"):
        _ = data.samples


def test_no_images_are_refused_as_ever(kindling: Run) -> None:
    Path("photos/cat").mkdir(parents=True)
    Path("photos/dog").mkdir()
    assert_refused(kindling(*FIT, "--data.lazy", "true"), "photos/cat has no images")
