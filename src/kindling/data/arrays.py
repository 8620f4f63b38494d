"""Your own arrays: `kindling fit --model CNN --data Arrays --data.path digits.npz`."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kindling.data.base import Data
from kindling.data.batches import MappedArray
from kindling.data.preprocessing import arranged

SPLITS = ("train", "val", "test")
NAMES = {f"{what}_{split}" for what in ("x", "y", "lengths") for split in SPLITS} | {"classes", "groups", "times"}
DIMENSIONS = {"vectors": (2,), "tokens": (2,), "sequences": (3,), "images": (3, 4)}  # of x


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
        arrays = self.arrays = read_arrays(Path(path))
        self.parts = [split for split in SPLITS if f"x_{split}" in arrays]
        if wrong := problem(arrays, inputs, self.parts):
            raise ValueError(f"{path}: {wrong}")
        if unused := sorted(set(arrays) - NAMES):
            self.notes = [f"{path} has arrays that are not used: {', '.join(unused)}"]
        x = arrays["x_train"]
        guess = {2: "vectors", 3: "images" if x.dtype == np.uint8 else "sequences", 4: "images"}
        self.inputs = inputs or guess[x.ndim]
        self.own_val, self.own_test = (len(arrays.get(f"x_{split}", ())) for split in ("val", "test"))
        self.groups, self.times = arrays.get("groups"), arrays.get("times")
        self.lengths = "lengths_train" in arrays
        self._read_targets(self._joined("y"))
        if self.inputs == "tokens":
            self.vocabulary = int(max(arrays[f"x_{split}"].max() for split in self.parts)) + 1

    def _read_targets(self, y: np.ndarray) -> None:
        whole, text, numeric = (y.dtype.kind in kinds for kinds in ("iub", "U", "iubf"))
        if y.ndim == 2 and y.shape[1] == 1 and (whole or text):
            y = y[:, 0]
        if self.kind != "regression" and y.ndim == 1 and (whole or text or self.kind):
            self._read_classes(y, whole)
        elif self.kind != "regression" and y.ndim == 2 and (whole or self.kind) and np.isin(y, (0, 1)).all():
            self.classes, self.multilabel = self._names(np.arange(y.shape[1])), True
            if len(self.classes) != y.shape[1]:
                raise ValueError(
                    f"{self.path}: classes has {len(self.classes)} names, and y_train {y.shape[1]} columns"
                )
            self.values = torch.from_numpy(y.astype(np.int64))
        elif self.kind != "classification" and numeric and y.ndim <= 2:
            self.values = torch.from_numpy(y.astype(np.float32).reshape(len(y), -1))
            count = self.values.shape[1]
            self.targets = [f"y{index}" for index in range(count)] if count > 1 else ["y"]
            if count == 1 and not self.kind and not np.any(y % 1) and len(np.unique(y)) < 20:
                self.notes = [*self.notes, "y_train is taken for numbers, since it holds floats; see data.kind"]
        else:
            raise ValueError(
                f"{self.path}: y_train holds {y.dtype} of shape {y.shape}: expected whole numbers or text (N,), 0 and "
                "1 (N, K), or floats (N,) or (N, T)"
            )

    def _read_classes(self, y: np.ndarray, whole: bool) -> None:
        values, labels = np.unique(y, return_inverse=True)
        if lost := set(values) - set(np.unique(self.arrays["y_train"])):
            raise ValueError(f"{self.path}: {min(lost)} is a class that y_train lacks")
        words = [f"{value:g}" if y.dtype.kind == "f" else str(value) for value in values]
        self.classes = names = self._names(words)
        if whole and "classes" in self.arrays:
            if values[0] < 0 or values[-1] >= len(names):
                raise ValueError(
                    f"{self.path}: classes has {len(names)} names, and the targets go from {values[0]} to {values[-1]}"
                )
            labels = y
        elif lost := set(words) - set(names):
            raise ValueError(f"{self.path}: {min(lost)} is in y_train and not in classes: {', '.join(names)}")
        else:
            labels = np.array([names.index(word) for word in words])[labels]
        if len(values) < 2:
            raise ValueError(f"{self.path}: all targets are {values[0]}: expected two classes")
        self.values = torch.from_numpy(labels.astype(np.int64))

    def _names(self, otherwise: Iterable[Any]) -> list[str]:
        names = [str(name) for name in self.arrays.get("classes", otherwise)]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.path}: classes has the same name twice: {', '.join(names)}")
        return names

    def _joined(self, name: str) -> np.ndarray:
        """An array over all splits; a single one stays mapped."""
        found = [self.arrays[f"{name}_{split}"] for split in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def load(self) -> tuple[Any, ...]:
        arrays = [self.arrays[f"x_{split}"] for split in self.parts]
        lengths = [torch.from_numpy(self._joined("lengths").astype(np.int64))] if self.lengths else []
        divisor = 1.0
        if self.inputs == "images" and arrays[0].dtype != np.uint8:
            some = np.concatenate([array[:1000] for array in arrays])  # to tell 0 to 1 from 0 to 255
            divisor = 255.0 if some.max() > 1.5 and some.min() >= 0 else 1.0
            self.preparation = {"divisor": divisor, "bounded": bool(some.min() >= 0 and some.max() <= divisor)}
        inputs: Any = MappedArray(*arrays, arrange=partial(arranged, kind=self.inputs, divisor=divisor))
        if not isinstance(arrays[0], np.memmap) and inputs.dtype != torch.uint8:
            inputs = inputs[torch.arange(len(inputs))]  # in memory, as it is already
        return inputs, *lengths, self.values


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz, or of a folder of .npy, which are mapped; a ValueError if one can't be read."""
    if path.is_dir():
        found = {file.stem: partial(np.load, file, mmap_mode="r") for file in sorted(path.glob("*.npy"))}
    elif path.suffix == ".npz" and path.is_file():
        found = {"": partial(np.load, path)}
    else:
        there = "" if path.exists() else "there is no such file or folder; "
        raise ValueError(f"path is {str(path)!r}: {there}expected an .npz file, or a folder of .npy files")
    arrays: dict[str, np.ndarray] = {}
    for name, load in found.items():
        try:
            content = load()
            arrays |= {name: content} if name else dict(content)
        except Exception as error:  # a damaged file can fail in any way
            reason = " ".join(str(error).split())
            reason = "it is no file of NumPy's, or holds Python objects" if "pickle" in reason else reason
            raise ValueError(f"{path / f'{name}.npy' if name else path} can't be read: {reason}") from None
    return arrays


def problem(arrays: dict[str, np.ndarray], inputs: str | None, parts: list[str]) -> str | None:
    """What is wrong with the arrays: some are not there, or they don't fit each other."""
    known = {name: arrays[name] for name in sorted(NAMES & set(arrays), key=lambda name: (name[0] != "x", name))}
    needed = {"x_train", "y_train"} | {
        f"{what}_{name.partition('_')[2]}" for name in known if "_" in name for what in "xy"
    }
    if any(name.startswith("lengths") for name in known):
        needed |= {f"lengths_{split}" for split in parts}
    if lacking := sorted(needed - set(known)):
        return f"there is no {' and no '.join(lacking)}; it has {', '.join(sorted(arrays)) or 'no arrays'}"
    for name, array in known.items():
        what, _, split = name.partition("_")
        x, train = arrays[f"x_{split or 'train'}"], arrays[f"{what}_train"] if split else array
        if not array.size or not array.ndim:
            return f"{name} is {'empty' if array.ndim else 'a single value'}: expected an array of all samples"
        if what not in ("x", "y") and array.ndim > 1:
            return f"{name} has the shape {array.shape}: expected one dimension"
        if what == "x" and (array.dtype.kind not in "iufb" or array.dtype.itemsize > 8):
            return f"{name} holds {array.dtype}: expected numbers"
        if what == "x" and array.ndim not in (expected := DIMENSIONS.get(inputs or "", (2, 3, 4))):
            return f"{name} has the shape {array.shape}: expected {' or '.join(map(str, expected))} dimensions"
        if what != "classes" and len(array) != len(x):
            return f"x_{split or 'train'} has {len(x):,} samples, and {name} has {len(array):,}"
        alike = array.dtype == train.dtype if what == "x" else (array.dtype.kind == "U") == (train.dtype.kind == "U")
        if array.shape[1:] != train.shape[1:] or not alike:
            return f"{name} holds {array.dtype} of shape {array.shape}, and {what}_train {train.dtype} of {train.shape}"
        mapped = what == "x" and isinstance(array, np.memmap)  # too large to look at it all
        if array.dtype.kind in "fM" and not mapped and not (fine := np.isfinite(array)).all():
            row = fine.reshape(len(array), -1).all(axis=1).argmin()
            return f"{name} holds a value that is no finite number, in sample {row} (from 0)"
        if what == "lengths" and (array.dtype.kind not in "iu" or array.min() < 1 or array.max() > x.shape[1]):
            return f"{name} goes from {array.min()} to {array.max()}: expected whole numbers from 1 to {x.shape[1]}"
        if inputs == "tokens" and what == "x" and (array.dtype.kind not in "iu" or array.min() < 0):
            return f"{name} holds {array.dtype} from {array.min()} on: expected whole numbers from 0, for tokens"
    x = arrays["x_train"]
    if "lengths_train" in known and inputs != "tokens" and (x.ndim != 3 or x.dtype == np.uint8 or inputs == "images"):
        return "lengths_train is there, which is for sequences and tokens: x_train has vectors or images"
    return None
