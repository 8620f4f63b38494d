"""Reads the arrays of a user's files, and says what is wrong with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kindling.data.splits import SPLITS

ROLES = ("x", "y", "lengths")  # each array of a split is named by its role and its split, such as x_train
NAMES = {f"{role}_{split}" for role in ROLES for split in SPLITS} | {"classes", "groups", "times"}
DIMENSIONS = {"vectors": (2,), "tokens": (2,), "sequences": (3,), "images": (3, 4)}  # of x

# The `kind` of a NumPy type: the letters for whole numbers (and truth values), and for any numbers.
WHOLE, NUMERIC = "iub", "iubf"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz, or of a folder of .npy, which are memory-mapped; a ValueError if one can't be read."""
    if path.is_dir():
        arrays: dict[str, np.ndarray] = {}
        for file in sorted(path.glob("*.npy")):
            with refusing(file):
                arrays[file.stem] = np.load(file, mmap_mode="r")
        return arrays
    if path.suffix == ".npz" and path.is_file():
        with refusing(path):
            return dict(np.load(path))
    missing = "" if path.exists() else "there is no such file or folder; "
    raise ValueError(f"path is {str(path)!r}: {missing}expected an .npz file, or a folder of .npy files")


@contextmanager
def refusing(file: Path) -> Iterator[None]:
    """Say in one sentence why a file can't be read: a damaged one can fail in any way."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        reason = "it is not a NumPy file, or holds Python objects" if "pickle" in reason else reason
        raise ValueError(f"{file} can't be read: {reason}") from None


def problem(arrays: dict[str, np.ndarray], form: str | None, splits: list[str], labelled: bool = True) -> str | None:
    """What is wrong with the arrays: some are missing, or they don't fit each other."""
    names = sorted(NAMES & set(arrays), key=lambda name: (not name.startswith("x"), name))
    if lacking := sorted(needed(names, splits, labelled) - set(names)):
        inputs_alone = "; for inputs alone: --data.kind unlabelled" if lacking == ["y_train"] else ""
        return (
            f"there is no {' and no '.join(lacking)}; it has {', '.join(sorted(arrays)) or 'no arrays'}{inputs_alone}"
        )
    for name in names:
        if wrong := problem_of(name, arrays, form):
            return wrong
    x = arrays["x_train"]
    is_sequence = x.ndim == 3 and x.dtype != np.uint8 and form != "images"
    if "lengths_train" in names and form != "tokens" and not is_sequence:
        return "lengths_train is for sequences and tokens, but x_train has vectors or images"
    return None


def needed(names: list[str], splits: list[str], labelled: bool) -> set[str]:
    """The arrays that have to be there, given that these are."""
    own = {name.partition("_")[2] for name in names if "_" in name} | {"train"}
    wanted = {f"{role}_{split}" for role in ("x", "y")[: 1 + labelled] for split in own}
    if any(name.startswith("lengths") for name in names):
        wanted |= {f"lengths_{split}" for split in splits}
    return wanted


def problem_of(name: str, arrays: dict[str, np.ndarray], form: str | None) -> str | None:
    """What is wrong with one of the arrays; a check can rely on those before it."""
    role, _, split = name.partition("_")
    array, x = arrays[name], arrays[f"x_{split or 'train'}"]
    train = arrays[f"{role}_train"] if split else array
    if not array.ndim:
        return f"{name} is a single value: expected an array of all samples"
    if not array.size:
        return f"{name} is empty: expected an array of all samples"
    if role not in ("x", "y") and array.ndim > 1:
        return f"{name} has the shape {array.shape}: expected one dimension"
    if role == "x" and (wrong := problem_of_inputs(name, array, form)):
        return wrong
    if role != "classes" and len(array) != len(x):
        return f"x_{split or 'train'} has {len(x):,} samples, but {name} has {len(array):,}"
    if not fit_together(role, array, train):
        return f"{name} holds {array.dtype} of shape {array.shape}, but {role}_train {train.dtype} of {train.shape}"
    is_mapped_input = role == "x" and isinstance(array, np.memmap)  # too large to look at it all
    if not is_mapped_input and (row := first_non_finite(array)) is not None:
        return f"{name} holds a value that is not a finite number, in sample {row} (from 0)"
    if not is_mapped_input and array.dtype == np.float64:
        with np.errstate(over="ignore"):
            row = first_non_finite(array.astype(np.float32))
        if row is not None:
            return f"{name} holds a number that is too large for float32, in sample {row} (from 0): divide all of them"
    if role == "lengths" and array.dtype.kind not in "iu":
        return f"{name} holds {array.dtype}: expected whole numbers, such as int64"
    if role == "lengths" and (array.min() < 1 or array.max() > max(x.shape[1:])):
        return f"{name} goes from {array.min()} to {array.max()}: expected whole numbers from 1 to {x.shape[1]}"
    if role == "x" and form == "tokens" and (array.dtype.kind not in "iu" or array.min() < 0):
        return f"{name} holds {array.dtype} from {array.min()} upwards: expected whole numbers from 0, for tokens"
    return None


def problem_of_inputs(name: str, x: np.ndarray, form: str | None) -> str | None:
    """What is wrong with the type or the dimensions of inputs."""
    if x.dtype.kind not in NUMERIC or x.dtype.itemsize > 8:
        return f"{name} holds {x.dtype}: expected numbers"
    expected = DIMENSIONS[form] if form else (2, 3, 4)
    if x.ndim not in expected:
        return f"{name} has the shape {x.shape}: expected {' or '.join(map(str, expected))} dimensions"
    return None


def fit_together(role: str, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two splits' arrays can be joined: of the same shape except for their length, and of the same type."""
    if one.shape[1:] != other.shape[1:]:
        return False
    if role == "x":
        return one.dtype == other.dtype
    if (one.dtype.kind == "U") != (other.dtype.kind == "U"):  # both text, or neither
        return False
    return other.dtype.kind not in "iub" or one.dtype.kind != "f" or not np.any(one % 1)  # no fractions beside classes


def first_non_finite(array: np.ndarray) -> int | None:
    """The index of the first sample with a value that is missing or infinite."""
    if array.dtype.kind not in "fM":  # floats and dates
        return None
    is_fine = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    return None if is_fine.all() else int(is_fine.argmin())
