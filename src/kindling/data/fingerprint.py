"""How a kept split is recognised later as one of the same data: by its samples, its inputs and its files."""

import os
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.data.lazy_inputs import LazyInputs

NAMES = 2**16  # of samples that are read at a time
VALUES = 2**13  # numbers of the inputs that are looked at and kept: 32 KB
CLOSE = 1e-4  # by how much they may differ, since another machine computes, and decodes, with other last bits


def fingerprint(targets: Tensor | LazyInputs, names: Sequence[str] | None) -> int:
    """A number that shows later whether the samples are still the same, and in the same order."""
    values = b"" if isinstance(targets, LazyInputs) else targets.contiguous().numpy().tobytes()
    content = values or repr(tuple(targets.shape)).encode()  # lazy targets, or samples without any
    number = zlib.crc32(content)
    for start in range(0, len(names or []), NAMES):
        text = "\n" * bool(start) + "\n".join((names or [])[start : start + NAMES])
        number = zlib.crc32(text.encode(errors="surrogateescape"), number)  # a file's name may be no valid text
    return number


def look_of(inputs: Any, files: Iterable[str], looks_at_values: bool = True) -> dict[str, Any]:
    """What inputs look like, as arrays to keep beside a split.

    `form` is their type and shape; `values` are some of them, float32, or else `sizes` stands for the sizes of their
    files; and `files` stands for the sizes and times of all files.

    Args:
        inputs: of all samples; nothing is known of them if they are neither a tensor nor LazyInputs.
        files: that they are read from.
        looks_at_values: whether to look at values rather than at the sizes of the files.
    """
    is_array = isinstance(inputs, Tensor | LazyInputs)
    states = [os.stat(file) for file in files]
    sizes = [] if looks_at_values else [state.st_size for state in states]
    return {
        "form": f"{inputs.dtype} {'×'.join(map(str, inputs.shape))}" if is_array else "",
        "values": _some_of(inputs) if is_array and looks_at_values else np.zeros((0, 0), np.float32),
        "sizes": zlib.crc32(repr(sizes).encode()),
        "files": zlib.crc32(repr([(state.st_size, state.st_mtime_ns) for state in states]).encode()),
    }


def _some_of(inputs: Tensor | LazyInputs) -> np.ndarray:
    """At most VALUES numbers, from evenly spaced samples and evenly spaced places in them."""
    width = max(1, int(np.prod(inputs.shape[1:])))
    rows = evenly(inputs.shape[0], max(1, VALUES // min(width, VALUES)))
    some = inputs[rows].flatten(1)
    return some[:, evenly(width, VALUES)].float().numpy()


def evenly(count: int, limit: int) -> Tensor:
    """Evenly spaced places below `count`, at most `limit`; the first and the last among them."""
    return torch.linspace(0, count - 1, min(count, limit), dtype=torch.float64).round().long()


def has_look(kept: dict[str, Any]) -> bool:
    """Whether what is kept beside a split has a look of the inputs; older splits have none."""
    return "form" in kept


def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two looks are of other inputs; the times of their files don't matter."""
    if str(one["form"]) != str(other["form"]) or int(one["sizes"]) != int(other["sizes"]):
        return True
    values = one["values"]
    unit = np.nan_to_num(np.abs(values)).mean(axis=0, keepdims=True) if values.size else 0  # of each place
    return bool((~np.isclose(values, other["values"], rtol=0, atol=CLOSE * unit, equal_nan=True)).any())


def changes_of(kept: dict[str, Any], look: dict[str, Any]) -> list[str]:
    """A note if inputs are not those that a split was drawn for, or may not be."""
    if differ(kept, look):
        return ["the inputs are not those that the split was drawn for, as their shape, type, values or sizes show"]
    if int(kept["files"]) != look["files"]:
        return ["the files' sizes or times have changed since the split was drawn; what was looked at is the same"]
    return []
