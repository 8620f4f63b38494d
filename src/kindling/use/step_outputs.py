"""Writes what a module's own `predict_step` has returned, as it is: a table, arrays, or a list for torch.

predictions.csv   if each batch is a dict of columns of equal length, or a list of texts
predictions.npz   if each batch is tensors, or dicts and tuples of them, that can be joined along the first dimension
predictions.pt    otherwise: a list of what each batch gave, for `torch.load(path, weights_only=True)`
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.core.tables import plain_cell

PLAIN = (bool, int, float, str, type(None))
TAKEN = {"file", "allow_pickle"}  # names that np.savez needs for itself


def write_outputs(batches: list[Any], file: Path, suffix: str) -> None:
    """Write what each batch gave to a file of the format that `suffix_for` has chosen."""
    if suffix == ".csv":
        _write_table([_columns(batch) for batch in batches], file)
    elif suffix == ".npz":
        arrays: dict[str, Any] = _joined([dict(_leaves(batch)) for batch in batches])
        np.savez(file, **arrays)
    else:
        torch.save(batches, file)


def suffix_for(batches: list[Any]) -> str:
    """The format that holds what each batch gave: .csv, .npz or .pt.

    Raises:
        ValueError: if it holds objects that a file can only keep as code.
    """
    headers = {tuple(_columns(batch)) for batch in batches}
    if len(headers) == 1 and headers != {()}:
        return ".csv"
    leaves = [dict(_leaves(batch)) for batch in batches]
    for value in (value for of_batch in leaves for value in of_batch.values()):
        if not isinstance(value, (Tensor, np.ndarray, *PLAIN)):
            raise ValueError(f"objects of {type(value).__name__}: expected tensors, numbers, text, or dicts and lists")
    return ".npz" if _can_join(leaves) else ".pt"


def _columns(batch: Any) -> dict[str, list[Any]]:
    """The columns of a batch that is a table; empty if it isn't one."""
    if isinstance(batch, list) and all(isinstance(text, str) for text in batch):
        return {"prediction": batch}
    if not isinstance(batch, dict):
        return {}
    columns = {}
    for name, values in batch.items():
        column = _column(values)
        if column is None:
            return {}
        columns[str(name)] = column
    lengths = {len(column) for column in columns.values()}
    return columns if len(lengths) == 1 else {}


def _column(values: Any) -> list[Any] | None:
    """A one-dimensional column of numbers or texts; None if it is anything else."""
    if isinstance(values, Tensor | np.ndarray):
        return values.tolist() if values.ndim == 1 else None
    if isinstance(values, list | tuple) and all(isinstance(value, PLAIN) for value in values):
        return list(values)
    return None


def _write_table(batches: list[dict[str, list[Any]]], file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(map(plain_cell, batches[0]))
        for columns in batches:
            cells = [
                [plain_cell(each) if isinstance(each, str) else each for each in column] for column in columns.values()
            ]
            writer.writerows(zip(*cells, strict=True))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts, lists and tuples, with names such as `boxes.0`."""
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = dict(enumerate(value)).items()
    else:
        yield name or "predictions", value
        return
    for key, each in inner:
        yield from _leaves(each, f"{name}.{key}" if name else str(key))


def _can_join(batches: list[dict[str, Any]]) -> bool:
    """Whether all batches have arrays of the same names, and of the same shapes except for the first dimension."""
    shapes = set()
    for batch in batches:
        if TAKEN & set(batch) or not all(isinstance(value, Tensor | np.ndarray) for value in batch.values()):
            return False
        shapes.add(tuple((name, value.ndim, tuple(value.shape[1:])) for name, value in batch.items()))
    return len(shapes) == 1 and bool(batches[0])


def _joined(batches: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of all batches, one after another; single numbers, one per batch, become a row."""
    arrays = {}
    for name in batches[0]:
        parts = [_array(batch[name]) for batch in batches]
        arrays[name] = np.concatenate(parts) if parts[0].ndim else np.stack(parts)
    return arrays


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # NumPy has no bfloat16
