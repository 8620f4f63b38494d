"""Reads what a model is to predict from a user's files, batch by batch: images, tables, arrays or text."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kindling.core.errors import UsageError
from kindling.data.image_files import BATCH, read_images
from kindling.data.image_listing import SUFFIXES, Listing
from kindling.data.preprocessing import Preprocessing
from kindling.use.input_batches import InputBatch, InputBatches, finite
from kindling.use.predictor import Predictor
from kindling.use.text_inputs import read_text

if TYPE_CHECKING:
    from kindling.data.table_files import TablePart

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
ARRAYS = (".npz", ".npy")
NOT_INPUTS = "ylgtc"  # first letters of the other arrays in an .npz: y, lengths, groups, times, classes
# What to suggest if a file has another form than the model takes.
FILES = {"images": "a folder of images, an image, .npz or .npy", "vectors": "a .csv, .parquet, .npz or .npy"}


def read_inputs(path: Path, predictor: Predictor, size: int = 256) -> InputBatches:
    """Inputs in batches of at most `size`: a folder of images, an image, a CSV or Parquet file, an .npz or .npy.

    For a language model of text, also any text file or folder of them.

    Raises:
        UsageError: if there is no such file, or the model can't take it; also when a batch can't be read.
    """
    read = _reader(path, predictor.preprocessing)
    inputs = _or_usage_error(path, partial(read, path, predictor, size))
    return InputBatches(inputs.total, _batches_or_usage_error(path, inputs.batches))


def _reader(path: Path, preprocessing: Preprocessing) -> Callable[[Path, Predictor, int], InputBatches]:
    """The function that reads such a file; a UsageError if there is none, or the model takes inputs of another form."""
    suffix, form = path.suffix.lower(), preprocessing.form
    if not path.exists():
        raise UsageError(f"--input is {path}: there is no such file or folder")
    if is_folder_of_arrays(path) or (suffix in ARRAYS and not path.is_dir()):  # they hold inputs of any form
        return _read_arrays
    if preprocessing.tokens:
        return read_text
    if path.is_dir() or suffix in SUFFIXES:
        read, form_of_file = _read_images, "images"
    elif suffix in TABLES:
        read, form_of_file = _read_table, "vectors"
    else:
        raise UsageError(f"--input is {path}: expected a folder of images, an image, a .csv, .parquet, .npz or .npy")
    if form != form_of_file:
        raise UsageError(f"--input is {path}: the model takes {form}, in {FILES.get(form, 'an .npz or .npy')}")
    return read


def is_folder_of_arrays(path: Path) -> bool:
    """Whether a folder holds inputs as the training's data Arrays reads them."""
    return path.is_dir() and any((path / f"{name}.npy").is_file() for name in ("x", "x_train", "x_val", "x_test"))


def _or_usage_error(path: Path, read: Callable[[], Any]) -> Any:
    """What `read` gives; a UsageError if the file is damaged or doesn't fit the model."""
    try:
        return read()
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path} can't be predicted: {' '.join(str(error).split())}") from error


def _batches_or_usage_error(path: Path, batches: Iterator[InputBatch]) -> Iterator[InputBatch]:
    while batch := _or_usage_error(path, lambda: next(batches, None)):
        yield batch


def _read_images(path: Path, predictor: Predictor, size: int) -> InputBatches:
    folder, names, left_out = path.parent, [path.name], Counter[tuple[str, str]]()
    if path.is_dir():
        listing = Listing(path)
        folder, names = path, [*listing.images()]
        left_out.update({("files left out", kind): count for kind, count in listing.left_out.items()})
    if not names:
        raise ValueError("there are no images in this folder")
    preprocessing, workers = predictor.preprocessing, min(4, os.cpu_count() or 1)
    root = os.path.join(folder, "")
    paths = [root + name for name in names]

    def batches() -> Iterator[InputBatch]:
        for files, reasons, pixels in read_images(
            paths, preprocessing.shape, preprocessing.resize, min(size, BATCH), workers=workers
        ):
            raw = predictor.raw_inputs.of_pixels(pixels)
            names = [file.removeprefix(root) for file in files]
            readable = [file for file, reason in zip(files, reasons, strict=True) if not reason]
            tensors = predictor.with_lengths(raw)
            yield InputBatch(names, reasons, tensors, counts=Counter(left_out), files=readable)
            left_out.clear()  # so that it is said once

    return InputBatches(len(paths), batches())


def _read_table(path: Path, predictor: Predictor, size: int) -> InputBatches:
    from kindling.data.table_files import read_parts

    total, parts = read_parts(path, predictor.preprocessing.separator)
    return InputBatches(total, _batches_of_table(parts, predictor, size))


def _batches_of_table(parts: Iterable[TablePart], predictor: Predictor, size: int) -> Iterator[InputBatch]:
    """Rows as the model takes them, without those that have the wrong length or can't be encoded."""
    start = 0
    for part in parts:
        encoded = predictor.raw_inputs.of_table(part.table)
        reasons = part.with_reasons(encoded.reasons)
        raw = torch.from_numpy(np.delete(encoded.inputs, list(encoded.reasons), axis=0))
        counts = encoded.counts
        for first in range(0, len(reasons), size):
            reasons_of_batch = reasons[first : first + size]
            place = start + first
            names = list(map(str, range(place, place + len(reasons_of_batch))))
            count = reasons_of_batch.count("")
            yield InputBatch(names, reasons_of_batch, predictor.with_lengths(raw[:count]), counts=counts)
            raw, counts = raw[count:], Counter()
        start += len(reasons)


def _read_arrays(path: Path, predictor: Predictor, size: int) -> InputBatches:
    names = _names_of_arrays(path)
    name = _name_of_inputs(names)
    total, parts = _parts_of_array(path, name, size)
    lengths = _lengths_beside(path, name, names, total)

    def batches() -> Iterator[InputBatch]:
        for start, part in zip(range(0, total, size), parts, strict=True):
            raw, of_part = predictor.raw_inputs.of_array(
                part, None if lengths is None else lengths[start : start + size]
            )
            reasons, is_finite = finite(raw)
            rows = [str(start + row) for row in range(len(raw))]
            batch = predictor.with_lengths(raw[is_finite], None if of_part is None else of_part[is_finite])
            yield InputBatch(rows, reasons, batch)

    return InputBatches(total, batches())


def _names_of_arrays(path: Path) -> list[str]:
    """The names of arrays in an .npz or a folder of .npy files; a single .npy counts as an array x."""
    if path.is_dir():
        return [file.stem for file in sorted(path.glob("*.npy"))]
    if path.suffix.lower() == ".npy":
        return ["x"]
    with np.load(path) as file:
        return list(file.files)


def _name_of_inputs(names: list[str]) -> str:
    """Which of the arrays holds the inputs: x, else x_test, else the first whose name doesn't mean something else."""
    unnamed = [name for name in names if name[0] not in NOT_INPUTS]
    for name in ("x", "x_test", *unnamed[:1]):
        if name in names:
            return name
    raise ValueError(f"expected an array x in it, but it has {', '.join(names) or 'none'}")


def _lengths_beside(path: Path, name: str, names: list[str], total: int) -> np.ndarray | None:
    """The lengths that belong to the inputs of this name: lengths to x, lengths_test to x_test."""
    lengths_name = f"lengths{name[1:]}" if name[0] == "x" else "lengths"
    if lengths_name not in names:
        return None
    lengths = _whole_array(path, lengths_name)
    if len(lengths) != total:
        raise ValueError(f"{name} has {total:,} samples, but {lengths_name} has {len(lengths):,}")
    return lengths


def _whole_array(path: Path, name: str) -> np.ndarray:
    """An array of an .npz, or a memory-mapped .npy, which may be in a folder."""
    if path.suffix.lower() == ".npz":
        with np.load(path) as file:
            return file[name]
    return np.load(path / f"{name}.npy" if path.is_dir() else path, mmap_mode="r")


def _parts_of_array(path: Path, name: str, size: int) -> tuple[int, Iterator[np.ndarray]]:
    """The length of an array, and its parts; not all in memory if its samples are stored one after another."""
    streamed = None if path.suffix.lower() == ".npy" or path.is_dir() else _parts_of_stream(path, name, size)
    if streamed:
        return streamed
    array = np.atleast_1d(_whole_array(path, name))
    return len(array), (np.array(array[start : start + size]) for start in range(0, len(array), size))


def _parts_of_stream(path: Path, name: str, size: int) -> tuple[int, Iterator[np.ndarray]] | None:
    """The length of an .npz's array, and its parts; None if it is a single value, or stored column by column."""
    stream = zipfile.ZipFile(path).open(f"{name}.npy")  # noqa: SIM115 (read until its end)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    if is_fortran or not shape:
        return None
    count, *dimensions = shape

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, count, size):
            part = (min(size, count - start), *dimensions)
            yield np.frombuffer(stream.read(math.prod(part) * dtype.itemsize), dtype).reshape(part)

    return count, parts()
