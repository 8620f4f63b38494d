"""Your own arrays: `kindling fit --model CNN --data Arrays --data.path digits.npz`."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kindling.data.base import Data
from kindling.data.batches import MappedArray
from kindling.data.preprocessing import arranged

SPLITS = ("train", "val", "test")
ROLES = ("x", "y", "lengths")  # each array of a split is called by its role and its split, such as x_train
NAMES = {f"{role}_{split}" for role in ROLES for split in SPLITS} | {"classes", "groups", "times"}
DIMENSIONS = {"vectors": (2,), "tokens": (2,), "sequences": (3,), "images": (3, 4)}  # of x

# What NumPy calls `kind` of a type: the letters that stand for whole numbers (and truth values), and for any numbers.
WHOLE, NUMERIC = "iub", "iubf"


class Arrays(Data):
    """NumPy arrays: an `.npz`, or a folder of `.npy` that are memory-mapped and so can be larger than the memory.

    They are called `x_train`, `y_train`, `x_val`, `y_val`, `x_test`, `y_test`; a split that is missing is drawn from
    `train`. Beside them can stand `classes` (names), `lengths_train` … (of padded sequences), and, for the samples of
    `train`, `groups` (which no split cuts) or `times` (in whose order the splits follow each other).

    Inputs are vectors (N, F), sequences (N, L, F), tokens (N, L), images (N, H, W), (N, H, W, C) or (N, C, H, W).
    Images of uint8 stand for 0 to 1, and so do float images that go up to 255. Targets are whole numbers or text (N,)
    for classes, 0 and 1 (N, K) for several classes a sample, or floats (N,) or (N, T).

    Args:
        path: the file or the folder.
        inputs: what the inputs are; null to decide: three dimensions are images if they are uint8, and else sequences.
        kind: classification or regression; null to decide by the targets.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize, augment, workers: see Data.

    Raises:
        ValueError: if there are no such arrays, or they don't fit each other.
    """

    def __init__(
        self,
        path: str,
        inputs: Literal["vectors", "sequences", "tokens", "images"] | None = None,
        kind: Literal["classification", "regression"] | None = None,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        self.path, self.kind = path, kind
        self.arrays = read_arrays(Path(path))
        self.parts = [split for split in SPLITS if f"x_{split}" in self.arrays]
        if wrong := problem(self.arrays, inputs, self.parts):
            raise ValueError(f"{path}: {wrong}")
        if unused := sorted(set(self.arrays) - NAMES):
            self.notes = [f"{path} has arrays that are not used: {', '.join(unused)}"]
        self.inputs = inputs or form_by_shape(self.arrays["x_train"])
        self.own_val, self.own_test = (len(self.arrays.get(f"x_{split}", ())) for split in ("val", "test"))
        self.groups, self.times = self.arrays.get("groups"), self.arrays.get("times")
        self.lengths = "lengths_train" in self.arrays
        self._read_targets(self._joined("y"))
        if self.inputs == "tokens":
            largest = max(self.arrays[f"x_{split}"].max() for split in self.parts)
            self.vocabulary = int(largest) + 1

    def _read_targets(self, y: np.ndarray) -> None:
        """Take the targets for classes, several classes a sample, or numbers: as `kind` says, or else by their type."""
        is_whole, is_text = y.dtype.kind in WHOLE, y.dtype.kind == "U"
        if y.ndim == 2 and y.shape[1] == 1 and (is_whole or is_text):
            y = y[:, 0]
        must_be_classes = self.kind == "classification"
        look_like_classes = self.kind is None and (is_whole or is_text)
        look_like_labels = self.kind is None and is_whole
        if y.ndim == 1 and (must_be_classes or look_like_classes):
            self._read_classes(y)
        elif y.ndim == 2 and (must_be_classes or look_like_labels) and np.isin(y, (0, 1)).all():
            self._read_labels(y)
        elif y.ndim <= 2 and not must_be_classes and y.dtype.kind in NUMERIC:
            self._read_numbers(y)
        else:
            raise ValueError(
                f"{self.path}: y_train holds {y.dtype} of shape {y.shape}: expected whole numbers or text (N,), 0 and "
                "1 (N, K), or floats (N,) or (N, T)"
            )

    def _read_classes(self, y: np.ndarray) -> None:
        """One class a sample: whole numbers or text (N,)."""
        values, positions = np.unique(y, return_inverse=True)  # y is values[positions]
        if unseen := set(values) - set(np.unique(self.arrays["y_train"])):
            raise ValueError(f"{self.path}: {min(unseen)} is a class that y_train lacks")
        words = [f"{value:g}" if y.dtype.kind == "f" else str(value) for value in values]
        self.classes = self._class_names(words)
        if y.dtype.kind in WHOLE and "classes" in self.arrays:
            self._check_range(values)
            labels = y
        else:
            labels = self._places(words)[positions]
        if len(values) < 2:
            raise ValueError(f"{self.path}: all targets are {values[0]}: expected two classes")
        self.values = torch.from_numpy(labels.astype(np.int64))

    def _check_range(self, values: np.ndarray) -> None:
        """Whole numbers are places in the array `classes`: refuse those beyond it."""
        count = len(self.classes or [])
        if values[0] < 0 or values[-1] >= count:
            raise ValueError(
                f"{self.path}: classes has {count} names, and the targets go from {values[0]} to {values[-1]}"
            )

    def _places(self, words: list[str]) -> np.ndarray:
        """The place of each word among the names of the classes."""
        names = self.classes or []
        if unnamed := set(words) - set(names):
            raise ValueError(f"{self.path}: {min(unnamed)} is in y_train and not in classes: {', '.join(names)}")
        return np.array([names.index(word) for word in words])

    def _read_labels(self, y: np.ndarray) -> None:
        """Several classes a sample: 0 and 1 (N, K)."""
        count = y.shape[1]
        self.classes, self.multilabel = self._class_names(range(count)), True
        if len(self.classes) != count:
            raise ValueError(f"{self.path}: classes has {len(self.classes)} names, and y_train {count} columns")
        self.values = torch.from_numpy(y.astype(np.int64))

    def _read_numbers(self, y: np.ndarray) -> None:
        """Numeric targets (N,) or (N, T)."""
        self.values = torch.from_numpy(y.astype(np.float32).reshape(len(y), -1))
        count = self.values.shape[1]
        self.targets = ["y"] if count == 1 else [f"y{index}" for index in range(count)]
        if count == 1 and self.kind is None and not np.any(y % 1) and len(np.unique(y)) < 20:
            self.notes = [*self.notes, "y_train is taken for numbers, since it holds floats; see data.kind"]

    def _class_names(self, default: Iterable[Any]) -> list[str]:
        names = [str(name) for name in self.arrays.get("classes", default)]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.path}: classes has the same name twice: {', '.join(names)}")
        return names

    def source_files(self) -> list[str]:
        path = Path(self.path)
        return [str(file) for file in sorted(path.glob("*.npy"))] if path.is_dir() else [self.path]

    def _joined(self, role: str) -> np.ndarray:
        """An array over all splits; a single one stays mapped."""
        arrays = [self.arrays[f"{role}_{split}"] for split in self.parts]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def load(self) -> tuple[Any, ...]:
        arrays = [self.arrays[f"x_{split}"] for split in self.parts]
        lengths = [torch.from_numpy(self._joined("lengths").astype(np.int64))] if self.lengths else []
        divisor = 1.0
        if self.inputs == "images" and arrays[0].dtype != np.uint8:
            some = np.concatenate([array[:1000] for array in arrays])  # to tell 0 to 1 from 0 to 255
            divisor = 255.0 if some.max() > 1.5 and some.min() >= 0 else 1.0
            self.preparation = {"divisor": divisor, "bounded": bool(some.min() >= 0 and some.max() <= divisor)}
        inputs: Any = MappedArray(*arrays, arrange=partial(arranged, form=self.inputs, divisor=divisor))
        in_memory = not isinstance(arrays[0], np.memmap)
        if in_memory and inputs.dtype != torch.uint8:
            inputs = inputs[torch.arange(len(inputs))]
        return inputs, *lengths, self.values


def form_by_shape(x: np.ndarray) -> str:
    """What form inputs have if nobody says."""
    if x.ndim == 2:
        return "vectors"
    return "images" if x.ndim == 4 or x.dtype == np.uint8 else "sequences"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz, or of a folder of .npy, which are mapped; a ValueError if one can't be read."""
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


def problem(arrays: dict[str, np.ndarray], form: str | None, splits: list[str]) -> str | None:
    """What is wrong with the arrays: some are missing, or they don't fit each other."""
    names = sorted(NAMES & set(arrays), key=lambda name: (not name.startswith("x"), name))
    if lacking := sorted(needed(names, splits) - set(names)):
        return f"there is no {' and no '.join(lacking)}; it has {', '.join(sorted(arrays)) or 'no arrays'}"
    for name in names:
        if wrong := problem_of(name, arrays, form):
            return wrong
    x = arrays["x_train"]
    is_sequence = x.ndim == 3 and x.dtype != np.uint8 and form != "images"
    if "lengths_train" in names and form != "tokens" and not is_sequence:
        return "lengths_train is there, which is for sequences and tokens: x_train has vectors or images"
    return None


def needed(names: list[str], splits: list[str]) -> set[str]:
    """The arrays that have to be there beside those of these names."""
    own = {name.partition("_")[2] for name in names if "_" in name} | {"train"}
    wanted = {f"{role}_{split}" for role in ("x", "y") for split in own}
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
        return f"x_{split or 'train'} has {len(x):,} samples, and {name} has {len(array):,}"
    if not fit_together(role, array, train):
        return f"{name} holds {array.dtype} of shape {array.shape}, and {role}_train {train.dtype} of {train.shape}"
    is_mapped_input = role == "x" and isinstance(array, np.memmap)  # too large to look at it all
    if not is_mapped_input and (row := first_non_finite(array)) is not None:
        return f"{name} holds a value that is no finite number, in sample {row} (from 0)"
    if role == "lengths" and (array.dtype.kind not in "iu" or array.min() < 1 or array.max() > x.shape[1]):
        return f"{name} goes from {array.min()} to {array.max()}: expected whole numbers from 1 to {x.shape[1]}"
    if role == "x" and form == "tokens" and (array.dtype.kind not in "iu" or array.min() < 0):
        return f"{name} holds {array.dtype} from {array.min()} on: expected whole numbers from 0, for tokens"
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
    """Whether two splits' arrays can be one: of the same shape but for their length, and of the same type."""
    if one.shape[1:] != other.shape[1:]:
        return False
    if role == "x":
        return one.dtype == other.dtype
    return (one.dtype.kind == "U") == (other.dtype.kind == "U")  # both text, or neither


def first_non_finite(array: np.ndarray) -> int | None:
    """The number of the first sample with a value that is missing or infinite."""
    if array.dtype.kind not in "fM":  # floats and dates
        return None
    is_fine = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    return None if is_fine.all() else int(is_fine.argmin())
