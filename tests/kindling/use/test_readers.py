"""What a training reads from a file and what `predict` reads from it are the same, sample by sample and bit by bit."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from kindling.data.arrays import Arrays
from kindling.data.base import Data
from kindling.data.image_folder import ImageFolder
from kindling.data.preprocessing import Preprocessing
from kindling.data.table import Table
from kindling.use.input_files import read_inputs
from kindling.use.predictor import Predictor
from kindling.use.raw_inputs import RawInputs

RNG = np.random.default_rng(0)
SIZE = 60
LABELS = np.arange(SIZE) % 2


def reader_of(data: Data) -> Predictor:
    """A predictor as a checkpoint of this data would give it, but without a model."""
    predictor = Predictor.__new__(Predictor)
    predictor.preprocessing = Preprocessing(**data.preprocessing.plain)
    predictor.raw_inputs = RawInputs(predictor.preprocessing, data.vocabulary)
    return predictor


def read_for_prediction(data: Data, path: Path) -> tuple[list[str], list[torch.Tensor]]:
    """The names of all that is read from a file, in batches of 7, and what is read."""
    batches = list(read_inputs(path, reader_of(data), size=7).batches)
    assert not any(reason for batch in batches for reason in batch.reasons)
    names = [name for batch in batches for name in batch.names]
    return names, [torch.cat(parts) for parts in zip(*(batch.tensors for batch in batches), strict=True)]


def assert_alike(data: Data, path: Path) -> None:
    """A file gives the samples of the data, and more where the data leaves out rows without a target."""
    names, found = read_for_prediction(data, path)
    rows = torch.arange(len(data.samples[-1]))
    expected = [part[rows] for part in data.samples[:-1]]
    place = {name: number for number, name in enumerate(names)}
    places = torch.tensor([place[name] for name in data.names]) if data.names else rows
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[places].float(), other.float())
    prepared = data.preprocessing(expected[0], *expected[1:])
    assert torch.equal(reader_of(data).preprocessing(found[0][places], *(part[places] for part in found[1:])), prepared)


FRAME = pd.DataFrame(
    {
        "a": np.round(RNG.normal(size=SIZE) * 1e3, 3),
        "whole": RNG.integers(0, 1000, SIZE),
        "place": RNG.choice(["Köln", "Bonn", 'the "old" town', "Ulm; west", "a, b", "1|2"], SIZE),
        "y": np.where(LABELS, "yes", "no"),
    }
).astype({"a": object})
FRAME.loc[::7, "a"] = None
FRAME.loc[::11, "place"] = None
FRAME.loc[::13, "y"] = None  # such rows are left out by the training, and predicted

# how the file is written → how it is read
CSVS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "commas": ({}, {}),
    "semicolons": ({"sep": ";"}, {"separator": ";"}),
    "tabs": ({"sep": "\t"}, {"separator": "\\t"}),
    "bars": ({"sep": "|"}, {"separator": "|"}),
    "decimal commas": ({"sep": ";", "decimal": ","}, {"separator": ";", "decimal": ","}),
    "all in quotes": ({"quoting": 1}, {}),
    "a byte-order mark": ({"encoding": "utf-8-sig"}, {}),
    "Windows' line ends": ({"lineterminator": "\r\n"}, {}),
    "old Macs' line ends": ({"lineterminator": "\r"}, {}),
    "NA for gaps": ({"na_rep": "NA"}, {}),
    "other digits": ({"float_format": "%.17g"}, {}),
    "exponents": ({"float_format": "%.9e"}, {}),
}


@pytest.mark.parametrize(("written", "read"), CSVS.values(), ids=CSVS)
def test_csv(written: dict[str, Any], read: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    FRAME.astype({"a": float} if {"float_format", "decimal"} & {*written} else {}).to_csv(path, index=False, **written)
    data = Table(str(path), target="y", **read)
    assert data.input_shape[0] == 8
    assert_alike(data, path)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
def test_text_of_any_ending(ending: str, tmp_path: Path) -> None:
    separator = "\t" if ending == ".tsv" else ","
    path = tmp_path / f"t{ending}"
    FRAME.to_csv(path, index=False, sep=separator)
    assert_alike(Table(str(path), target="y"), path)


def test_values_with_line_ends_and_blanks_before_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f'{number}, "at {number % 3},\nin town",{"ab"[number % 2]}' for number in range(SIZE)]
    path.write_text("\n".join(["n,place,y", *rows, "", " "]))
    data = Table(str(path), target="y")
    assert data.input_shape == (4,)
    assert_alike(data, path)


@pytest.mark.parametrize("wide", [False, True])
def test_parquet(wide: bool, tmp_path: Path) -> None:
    frame = FRAME.astype({"a": "float32" if wide else "float64", "place": "category" if wide else object})
    frame["truth"], frame["day"] = LABELS > 0, pd.Timestamp("2024-01-01") + pd.to_timedelta(LABELS, unit="D")
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    assert_alike(Table(str(path), target="y"), path)
    csv = tmp_path / "same.csv"  # and a CSV of the same values, but for their last bit
    frame.to_csv(csv, index=False)
    data = Table(str(path), target="y", drop=["truth", "day"])
    names, (found,) = read_for_prediction(data, csv)
    torch.testing.assert_close(found[[int(name) for name in data.names]], data.samples[0])
    assert names == [str(number) for number in range(SIZE)]


VECTORS = RNG.normal(size=(SIZE, 5))
PIXELS = RNG.integers(0, 256, (SIZE, 6, 7, 3), dtype=np.uint8)
SERIES = RNG.normal(size=(SIZE, 9, 2))
LENGTHS = RNG.integers(1, 10, SIZE)
LENGTHS[0] = 9
ARRAYS: dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]] = {
    "float32": ({"x_train": VECTORS.astype(np.float32)}, {}),
    "float64": ({"x_train": VECTORS}, {}),
    "float16": ({"x_train": VECTORS.astype(np.float16)}, {}),
    "big-endian": ({"x_train": VECTORS.astype(">f4")}, {}),
    "big-endian integers": ({"x_train": (VECTORS * 9).astype(">i2")}, {}),
    "truth": ({"x_train": VECTORS > 0}, {}),
    "Fortran's order": ({"x_train": np.asfortranarray(VECTORS)}, {}),
    "every second": ({"x_train": np.repeat(VECTORS, 2, axis=0)[::2]}, {}),
    "tokens": ({"x_train": RNG.integers(0, 9, (SIZE, 4))}, {"inputs": "tokens"}),
    "colours last": ({"x_train": PIXELS}, {}),
    "colours first": ({"x_train": PIXELS.transpose(0, 3, 1, 2)}, {}),
    "colours of floats": ({"x_train": (PIXELS / 255).astype(np.float32)}, {}),
    "colours up to 255": ({"x_train": PIXELS.astype(np.float32)}, {}),
    "grey": ({"x_train": PIXELS[..., 0]}, {}),
    "grey, one channel": ({"x_train": PIXELS[..., :1]}, {}),
    "two bands, last": ({"x_train": PIXELS[:, :, :6, :2]}, {}),
    "bands, first": ({"x_train": RNG.normal(size=(SIZE, 7, 7, 9)).transpose(0, 3, 1, 2)}, {}),
    "a cube, last": ({"x_train": RNG.normal(size=(SIZE, 5, 5, 5))}, {"channels": "last"}),
    "a cube, first": ({"x_train": RNG.normal(size=(SIZE, 5, 5, 5))}, {"channels": "first"}),
    "sequences": ({"x_train": SERIES}, {}),
    "sequences, channels first": ({"x_train": SERIES.transpose(0, 2, 1)}, {}),
    "a square of steps": ({"x_train": SERIES[:, :2]}, {"channels": "first"}),
    "sequences with lengths": ({"x_train": SERIES, "lengths_train": LENGTHS}, {}),
    "sequences with lengths, channels first": ({"x_train": SERIES.transpose(0, 2, 1), "lengths_train": LENGTHS}, {}),
}


@pytest.mark.parametrize("kept", ["savez", "savez_compressed", "folder"])
@pytest.mark.parametrize(("content", "arguments"), ARRAYS.values(), ids=ARRAYS)
def test_arrays(content: dict[str, np.ndarray], arguments: dict[str, Any], kept: str, tmp_path: Path) -> None:
    content = {**content, "y_train": LABELS}
    path = tmp_path / ("a" if kept == "folder" else "a.npz")
    if kept == "folder":
        path.mkdir()
        for name, array in content.items():
            np.save(path / f"{name}.npy", array)
    else:
        getattr(np, kept)(path, **content)
    data = Arrays(str(path), **arguments)
    assert_alike(data, path)
    if "lengths_train" not in content:
        np.save(tmp_path / "alone.npy", content["x_train"])
        assert_alike(data, tmp_path / "alone.npy")


def picture(mode: str, width: int = 23, height: int = 17) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(RNG.integers(0, 2**16, (height, width), dtype=np.uint16))
    return Image.fromarray(RNG.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA").convert(mode)


SAVED = [
    ("jpg", "RGB"), ("jpeg", "L"), ("JPG", "CMYK"), ("png", "RGB"), ("png", "RGBA"), ("png", "LA"), ("png", "P"),
    ("png", "I;16"), ("png", "1"), ("webp", "RGB"), ("webp", "RGBA"), ("bmp", "RGB"), ("gif", "P"), ("ppm", "RGB"),
    ("pgm", "L"), ("tif", "RGB"), ("tiff", "I;16"),
]  # fmt: skip


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("colour", [True, False])
def test_images_of_every_format(resize: Any, colour: bool, tmp_path: Path) -> None:
    root, turned = tmp_path / "images", Image.Exif()
    turned[0x0112] = 6
    for label in ("a", "b"):
        (root / label / "below").mkdir(parents=True)
        for ending, mode in SAVED:
            picture(mode).save(root / label / f"{mode.replace(';', '')}.{ending}")
        picture("RGB").save(root / label / "turned.jpg", exif=turned)
        picture("RGB", 400, 300).save(root / label / "below" / "large.jpg")
        (root / label / ".hidden.png").write_bytes(b"")
        (root / label / "notes.txt").write_text("no image")
        (tmp_path / f"linked {label}").mkdir()
        picture("RGB").save(tmp_path / f"linked {label}" / "x.png")
        os.symlink(tmp_path / f"linked {label}", root / label / "more")
    for cache in (None, str(tmp_path / "cache")):
        data = ImageFolder(str(root), image_size=[8, 10], colour=colour, resize=resize, cache=cache)
        assert len(data.samples[-1]) == 2 * (len(SAVED) + 3)
        assert_alike(data, root)
