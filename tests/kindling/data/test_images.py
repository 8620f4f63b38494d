"""Images and a table of what is on them: the same samples as of folders, whatever the table says of them."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from PIL import Image

from kindling.data.image_folder import ImageFolder
from kindling.data.images import Images
from kindling.run.checkpoint_files import load_checkpoint

Run = Callable[..., Result]
COUNT = 40
SMALL: dict[str, Any] = {"image_size": 4, "batch_size": 4}
FIT = ["fit", "--model", "CNN", "--model.channels", "[4]", "--data", "Images", "--data.table", "labels.csv"]
FIT += ["--data.path", "photos", "--data.image_size", "8", "--data.batch_size", "8", *QUICK]


def photos(root: Path = Path("photos")) -> pd.DataFrame:
    """Images of a folder a class, and the table that says the same of them and more."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(COUNT):
        kind = "cat" if number % 2 else "dog"
        path = root / kind / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (6, 5, 3), np.uint8)).save(path)
        marks = ";".join(name for name, factor in {"two": 2, "three": 3}.items() if number % factor == 0) or ";"
        rows.append(
            {
                "path": f"{kind}/{number:02}.png",
                "label": kind,
                "weight": number / 4,
                "height": number**2 / 8,
                "owner": f"o{number // 4}",
                "marks": marks,
                "two": int(number % 2 == 0),
                "three": int(number % 3 == 0),
            }
        )
    return pd.DataFrame(rows)


def images(tmp_path: Path, table: pd.DataFrame, **arguments: Any) -> Images:
    table.to_csv(tmp_path / "labels.csv", index=False)
    return Images(str(tmp_path / "labels.csv"), str(tmp_path / "photos"), **SMALL, **arguments)


@pytest.mark.parametrize("lazy", [False, True])
def test_samples_are_those_of_folders_with_the_same_names(lazy: bool, tmp_path: Path) -> None:
    table = photos(tmp_path / "photos")
    data = images(tmp_path, table[["path", "label"]].sample(frac=1, random_state=0), lazy=lazy)
    folders = ImageFolder(str(tmp_path / "photos"), **SMALL)
    places = [list((folders.samples and folders.names) or []).index(name) for name in data.names or data.files]
    everything = torch.arange(COUNT)
    assert data.classes == folders.classes == ["cat", "dog"]
    assert torch.equal(data.samples[0][everything], folders.samples[0][torch.tensor(places)])
    assert torch.equal(data.samples[1], folders.samples[1][places])
    assert data.class_counts["train"] == folders.class_counts["train"]
    told = "images are named in column path of {}, and label is predicted; else --data.image and --data.target"
    assert data.notes == [told.format(tmp_path / "labels.csv")]


def test_paths_can_begin_at_the_table_or_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path / "photos")[["path", "label"]]
    expected = images(tmp_path, table)
    below_table = table.assign(path="photos/" + table["path"])
    whole = table.assign(path=[str(tmp_path / "photos" / path) for path in table["path"]])
    for written in (below_table, whole):
        data = images(tmp_path, written)
        assert data.files == expected.files
        assert torch.equal(data.values, expected.values)
    below_table.to_csv(tmp_path / "labels.csv", index=False)
    alone = Images(str(tmp_path / "labels.csv"), **SMALL)
    assert alone.files == ["photos/" + name for name in expected.files]
    monkeypatch.chdir(tmp_path)
    assert Images("labels.csv", **SMALL).files == alone.files


@pytest.mark.parametrize("lazy", [False, True])
def test_targets_are_what_a_table_makes_of_them(lazy: bool, tmp_path: Path) -> None:
    table = photos(tmp_path / "photos")
    one = images(tmp_path, table, target="weight", lazy=lazy)
    assert one.targets == ["weight"]
    np.testing.assert_array_equal(one.samples[1][:, 0], table["weight"])
    two = images(tmp_path, table, target=["weight", "height"], lazy=lazy)
    np.testing.assert_array_equal(two.samples[1], table[["weight", "height"]].astype(np.float32))
    columns = images(tmp_path, table, target=["two", "three"], lazy=lazy)
    assert (columns.classes, columns.multilabel) == (["two", "three"], True)
    np.testing.assert_array_equal(columns.samples[1], table[["two", "three"]])
    joined = images(tmp_path, table, target="marks", label_separator=";", lazy=lazy)
    assert (joined.classes, joined.multilabel) == (["three", "two"], True)
    np.testing.assert_array_equal(joined.samples[1], table[["three", "two"]])
    assert images(tmp_path, table, target="two", kind="regression").targets == ["two"]
    assert (
        f"{tmp_path}/labels.csv has columns that are not used: label, weight, height, owner, two, three" in joined.notes
    )


def test_what_a_row_or_the_table_lacks_is_told(tmp_path: Path) -> None:
    table = photos(tmp_path / "photos")[["path", "label"]]
    table.loc[[3, 8], "label"] = None
    data = images(tmp_path, table.drop(index=[5, 6]).reset_index(drop=True))
    assert data.notes[1:] == [
        "2 rows without a target are left out, such as row 3 (from 0)",
        f"images that {tmp_path}/labels.csv does not name, which are left out: 4, such as {tmp_path}/photos/cat/03.png",
    ]
    assert len(data.samples[0]) == COUNT - 4
    assert "cat/03.png" not in data.files


def test_broken_images_are_skipped_with_their_row(tmp_path: Path) -> None:
    table = photos(tmp_path / "photos")
    (tmp_path / "photos" / table["path"][7]).write_bytes(b"no image")
    data = images(tmp_path, table, target="weight", group="owner", broken="skip")
    assert data.samples[1][:, 0].tolist() == table["weight"].drop(index=7).tolist()
    assert list(data.names or []) == table["path"].drop(index=7).tolist()
    assert data.groups.tolist() == table["owner"].drop(index=7).tolist()
    for split, indices in data.splits.items():
        owners = {*data.groups[indices]}
        others = {*np.concatenate([data.groups[data.splits[other]] for other in data.splits if other != split])}
        assert not owners & others


def test_folders_for_splits_are_the_splits(tmp_path: Path) -> None:
    table = photos(tmp_path / "photos")[["path", "label"]]
    splits = ["test", "train", "train", "val"] * (COUNT // 4)
    for row, split in enumerate(splits):
        new = f"{split}/{row}.png"
        (tmp_path / "photos" / split).mkdir(exist_ok=True)
        os.rename(tmp_path / "photos" / table["path"][row], tmp_path / "photos" / new)
        table.loc[row, "path"] = new
    table["label"] = ["cat", "dog", "cat", "dog", "dog"] * (COUNT // 5)
    data = images(tmp_path, table)
    labels = dict(zip(table["path"], table["label"], strict=True))
    for split, indices in data.splits.items():
        assert len(indices) == splits.count(split)
        for index in indices.tolist():
            name = data.files[index]
            assert name.startswith(f"{split}/")
            assert data.classes is not None
            assert data.classes[data.values[index]] == labels[name]


def test_splits_follow_each_other_in_time(tmp_path: Path) -> None:
    table = photos(tmp_path / "photos")
    table["day"] = pd.date_range("2024-01-01", periods=COUNT)[::-1].strftime("%Y-%m-%d")
    data = images(tmp_path, table, target="label", time="day")
    assert data.splits["test"].tolist() == list(range(8))  # the last days
    assert min(data.splits["train"].tolist()) > max(data.splits["val"].tolist())


@pytest.mark.parametrize(
    ("target", "lazy", "metric", "column"),
    [
        pytest.param(["--data.target", "label"], "false", "accuracy", "probability_dog", marks=pytest.mark.slow),
        (["--data.target", "[weight, height]"], "true", "r2", "prediction_height"),
        (["--data.target", "marks", "--data.label_separator", ";"], "false", "f1", "probability_three"),
    ],
    ids=["classes", "numbers", "labels"],
)
def test_the_commands(target: list[str], lazy: str, metric: str, column: str, kindling: Run) -> None:
    photos().to_csv("labels.csv", index=False)
    flags = [*target, "--data.lazy", lazy, "--model.schedule", "null"]  # which the length of the run would change
    run = "lightning_logs/cut/version_0"
    if lazy == "true":
        assert kindling(*FIT, *flags, "--name", "whole").code == 0
        assert kindling(*FIT, *flags, "--name", "cut", "--trainer.max_epochs", 1).code == 0
        assert kindling("fit", "--resume", run, "--trainer.max_epochs", 2).code == 0
        whole, cut = (
            load_checkpoint(Path(f"lightning_logs/{name}/version_0/checkpoints/last.ckpt")) for name in ("whole", "cut")
        )
        torch.testing.assert_close(whole["state_dict"], cut["state_dict"], rtol=0, atol=0)
    else:
        assert kindling(*FIT, *flags, "--name", "cut").code == 0
    assert kindling("test", "--run", run).code == 0
    assert metric in json.loads(Path(run, "results.json").read_text(encoding="utf-8"))["test"]
    assert kindling("predict", "--run", run).code == 0
    known = list(csv.DictReader(Path(run, "predict/predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert len(known) == 8
    assert kindling("predict", "--run", run, "--input", "photos").code == 0
    found = list(csv.DictReader(Path(run, "predict/predictions_photos.csv").read_text(encoding="utf-8").splitlines()))
    by_name = {row["input"]: float(row[column]) for row in found}
    assert len(by_name) == COUNT
    for row in known:
        assert by_name[row["input"]] == pytest.approx(float(row[column]), rel=1e-4)


def test_data_looks_at_it(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kindling.cli.data.SECONDS", 0.01)
    photos().to_csv("labels.csv", index=False)
    shown = kindling("data", *FIT[5:-4], "--data.target", "weight", "--data.lazy", "true")
    assert shown.code == 0, shown.err
    assert "Images: images 3×8×8, 40 samples" in shown.out
    assert "target weight" in shown.out


@pytest.mark.slow
def test_a_run_goes_on_where_its_files_have_moved_and_not_with_other_labels(kindling: Run) -> None:
    table = photos()
    table.to_csv("labels.csv", index=False)
    assert kindling(*FIT, "--data.target", "label", "--name", "photos").code == 0
    run = "lightning_logs/photos/version_0"
    os.rename("photos", "moved")
    os.rename("labels.csv", "moved.csv")
    moved = ["--data.path", "moved", "--data.table", "moved.csv"]
    resumed = kindling("fit", "--resume", run, *moved, "--trainer.max_epochs", 3)
    assert resumed.code == 0, resumed.err
    table.assign(label=table["label"].to_numpy()[::-1]).to_csv("moved.csv", index=False)
    resumed = kindling("fit", "--resume", run, *moved, "--trainer.max_epochs", 4)
    assert resumed.code == 2
    assert "the data has changed since the split in lightning_logs/photos/version_0/splits.npz was drawn" in resumed.err


def changed(place: int, **values: Any) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        for name, value in values.items():
            table.loc[place, name] = value

    return change


def as_it_is(table: pd.DataFrame) -> None:
    pass


def mixed_folders(table: pd.DataFrame) -> None:
    os.rename("photos/cat", "photos/train")
    table["path"] = table["path"].str.replace("cat/", "train/")


LABEL = ["--data.target", "label"]
REFUSED: dict[str, tuple[Callable[[pd.DataFrame], None], list[str], str]] = {
    "no table": (as_it_is, ["--data.table", "b.csv"], "data.table is 'b.csv': there is no such file"),
    "no folder": (as_it_is, ["--data.path", "b"], "data.path is 'b': there is no such folder"),
    "no target": (as_it_is, ["--data.image", "label", "--data.target", "null"], "target is null, and labels.csv has path, weight, height, owner, marks, two, three besides label: set data.target to the column to predict"),
    "misspelt target": (as_it_is, ["--data.target", "lable"], "data.target is 'lable', which is not a column of labels.csv: path, label, weight"),
    "the target is the path": (as_it_is, ["--data.target", "path"], "data.target is path: expected a column, or several different ones, besides that of the images, path"),
    "no paths": (lambda table: table.drop(columns="path", inplace=True), LABEL, "image is null, and no column of labels.csv begins with the name of an image, such as 1.jpg: set data.image to one of label, weight"),
    "a missing file": (changed(3, path="cat/x.png"), LABEL, "labels.csv, row 3 (from 0): there is no file photos/cat/x.png"),
    "missing files": (lambda table: table.loc.__setitem__((slice(3, 5), "path"), ["a.png", "b.png", "c.png"]), LABEL, "labels.csv, row 3 (from 0): there is no file photos/a.png (and 2 more)"),
    "twice": (changed(3, path="./dog/../cat/01.png"), LABEL, "labels.csv, row 3 (from 0): cat/01.png is in row 1 (from 0) too: keep one row per image"),
    "outside": (changed(3, path="cat/../../labels.csv"), LABEL, "labels.csv, row 3 (from 0): cat/../../labels.csv lies outside photos: set data.path to a folder that holds all"),
    "far outside": (changed(3, path="/etc/hosts"), LABEL, "labels.csv, row 3 (from 0): /etc/hosts lies outside photos"),
    "the folder itself": (changed(3, path="."), LABEL, "labels.csv, row 3 (from 0): . lies outside photos"),
    "no path": (changed(3, path=None), LABEL, "labels.csv, row 3 (from 0) has no value in path: expected the path of an image"),
    "a row after rows without a label": (lambda table: (changed(0, label=None)(table), changed(3, path="x.png")(table)), LABEL, "labels.csv, row 3 (from 0): there is no file photos/x.png"),
    "no label at all": (lambda table: table.__setitem__("label", None), LABEL, "data.target is 'label': labels.csv has no row with a value there"),
    "one class": (lambda table: table.__setitem__("label", "cat"), LABEL, "data.target is 'label', which is cat in every row: expected several classes"),
    "words as numbers": (as_it_is, [*LABEL, "--data.kind", "regression"], "data.target is 'label', where row 0 (from 0) has 'dog': expected finite numbers"),
    "a separator of no classes": (as_it_is, [*LABEL, "--data.kind", "regression", "--data.label_separator", ";"], "data.label_separator is ';': expected a character such as ';', one column as target, and no kind other than classification"),
    "a broken image": (lambda _: Path("photos/cat/01.png").write_bytes(b""), LABEL, "photos/cat/01.png can't be read: it is empty; --data.broken skip leaves such files out"),
    "some in folders for splits": (mixed_folders, LABEL, "photos has folders for splits, but not all images are in one (dog/00.png); train needs some"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_told(
    change: Callable[[pd.DataFrame], object], flags: list[str], message: str, kindling: Run
) -> None:
    table = photos().astype(object)
    change(table)
    table.to_csv("labels.csv", index=False)
    assert_refused(kindling(*FIT, *flags), message)
