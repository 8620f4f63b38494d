"""Reads what a model is to predict, in chunks of raw inputs: images, tables, arrays, or a run's own test split."""

import csv
import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.core.errors import UsageError
from kindling.data.image_files import SUFFIXES, find_images, read_images
from kindling.use.predictor import Predictor


@dataclass
class Chunk:
    """Some inputs that follow each other.

    Args:
        names: what each is called: a file, or its row from 0 on.
        reasons: why each can't be read; "" if it can.
        raw: those that can be read, as Predictor.prepare gives them.
        lengths: of padded sequences.
        targets: what is right, if that is known.
        counts: what was missing or never seen, as columns.encode counts it.
    """

    names: list[str]
    reasons: list[str]
    raw: Tensor
    lengths: Tensor | None = None
    targets: Tensor | None = None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


Source = tuple[int | None, Iterator[Chunk]]  # how many inputs there are, if that is known before; and all of them


def open_source(path: Path, predictor: Predictor, size: int = 256) -> Source:
    """Inputs in chunks of at most `size`: a folder of images, an image, a CSV or Parquet, an .npz or .npy.

    Raises:
        UsageError: if there is no such file, or the model can't take it; also when a chunk can't be read.
    """
    suffix, kind = path.suffix.lower(), predictor.preprocessing.form
    if not path.exists():
        raise UsageError(f"--input is {path}: there is no such file or folder")
    if path.is_dir() or suffix in SUFFIXES:
        read, takes = _images, "images"
    elif suffix in (".csv", ".tsv", ".txt", ".parquet", ".pq"):
        read, takes = _tables, "vectors"
    elif suffix in (".npz", ".npy"):
        read, takes = _arrays, kind
    else:
        raise UsageError(f"--input is {path}: expected a folder of images, an image, a .csv, .parquet, .npz or .npy")
    if kind != takes:
        other = {"images": "a folder of images, an image, ", "vectors": "a .csv, .parquet, "}.get(kind, "an ")
        raise UsageError(f"--input is {path}: the model takes {kind}, in {other}.npz or .npy")
    reading = _reading(path, partial(read, path, predictor, size))
    return next(reading), reading


def _reading(path: Path, read: Callable[[], Source]) -> Iterator[Any]:
    """How many inputs there are, then all chunks; what goes wrong on the way is told."""
    try:
        total, chunks = read()
        yield total
        yield from chunks
    except (ValueError, OSError, csv.Error, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path} can't be predicted: {' '.join(str(error).split())}") from error


def _images(path: Path, predictor: Predictor, size: int) -> Source:
    folder = path if path.is_dir() else path.parent
    paths = find_images(path) if path.is_dir() else [path]
    if not paths:
        raise ValueError("there are no images in this folder")
    known = predictor.preprocessing
    batches = read_images(paths, known.shape, known.resize, min(size, 64), workers=min(4, os.cpu_count() or 1))
    found = (([str(file.relative_to(folder)) for file in files], why, raw) for files, why, raw in batches)
    return len(paths), (Chunk(names, why, predictor.from_pixels(raw)) for names, why, raw in found)


def _tables(path: Path, predictor: Predictor, size: int) -> Source:
    if path.suffix.lower() in (".parquet", ".pq"):
        from kindling.data.columns import read_table

        frame = read_table(path)
        parts = (frame.iloc[start : start + size] for start in range(0, len(frame), size))
        return len(frame), _rows(((part, [""] * len(part)) for part in parts), predictor)
    separator = "\t" if path.suffix.lower() == ".tsv" else predictor.preprocessing.separator
    return None, _rows(_csv(path, separator, size), predictor)


def _csv(path: Path, separator: str, size: int) -> Iterator[tuple[Any, list[str]]]:
    """Parts of a CSV, all as text, and what is wrong with a row; pandas would stop at the first that is too long."""
    import pandas as pd

    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = filter(None, csv.reader(file, delimiter=separator, skipinitialspace=True))  # no blank lines
        header = next(reader, [])
        while rows := list(islice(reader, size)):
            reasons = [f"the row has {len(row)} values, and the header {len(header)}" for row in rows]
            reasons = ["" if len(row) == len(header) else why for row, why in zip(rows, reasons, strict=True)]
            whole = [(row + [""] * len(header))[: len(header)] for row in rows]
            yield pd.DataFrame(whole, columns=header, dtype=object), reasons


def _rows(parts: Iterable[tuple[Any, list[str]]], predictor: Predictor) -> Iterator[Chunk]:
    start = 0
    for frame, problems in parts:
        whole = [row for row, problem in enumerate(problems) if not problem]
        raw, counts, bad = predictor.from_table(frame.iloc[whole])
        reasons = list(problems)
        for position, reason in bad.items():
            reasons[whole[position]] = reason
        good = torch.tensor([position not in bad for position in range(len(whole))], dtype=torch.bool)
        yield Chunk([str(start + row) for row in range(len(frame))], reasons, raw[good], counts=counts)
        start += len(frame)


def _arrays(path: Path, predictor: Predictor, size: int) -> Source:
    names = ["x"]
    if path.suffix.lower() == ".npz":
        with np.load(path) as file:
            names = file.files
    others = [name for name in names if name[0] not in "ylgtc"]  # y, lengths, groups, times, classes
    name = next((name for name in ("x", "x_test", *others[:1]) if name in names), None)
    if name is None:
        raise ValueError(f"expected an array x in it, and it has {', '.join(names) or 'none'}")
    total, parts = _array(path, name, size)
    beside, lengths = f"lengths{name[1:]}" if name[0] == "x" else "lengths", None
    if beside in names:
        with np.load(path) as file:
            lengths = file[beside]
        if len(lengths) != total:
            raise ValueError(f"{name} has {total:,} samples, and {beside} has {len(lengths):,}")
    starts = range(0, total, size)

    def chunks() -> Iterator[Chunk]:
        for start, part in zip(starts, parts, strict=True):
            some = None if lengths is None else lengths[start : start + size]
            raw, some = predictor.from_array(part, some)
            good = raw.isfinite().flatten(1).all(dim=1)
            reasons = ["" if fine else "it holds values that are no finite numbers" for fine in good.tolist()]
            names = [str(start + row) for row in range(len(raw))]
            yield Chunk(names, reasons, raw[good], None if some is None else some[good])

    return total, chunks()


def _array(path: Path, name: str, size: int) -> tuple[int, Iterator[np.ndarray]]:
    """The length of an array, and its parts, without the rest in memory."""
    if path.suffix.lower() == ".npy":
        array = np.atleast_1d(np.load(path, mmap_mode="r"))
        return len(array), (np.array(array[start : start + size]) for start in range(0, len(array), size))
    stream = zipfile.ZipFile(path).open(f"{name}.npy")  # noqa: SIM115 (read until its end)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.hasobject or fortran or not shape:
        raise ValueError(f"{name} holds Python objects, or has its columns one after the other (in Fortran's order)")
    sizes = ((min(size, shape[0] - start), *shape[1:]) for start in range(0, shape[0], size))
    return shape[0], (np.frombuffer(stream.read(math.prod(s) * dtype.itemsize), dtype).reshape(s) for s in sizes)
