"""Your own arrays: `kindling fit --model CNN --data Arrays --data.path digits.npz`."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kindling.data.array_files import NAMES, NUMERIC, WHOLE, problem, read_arrays
from kindling.data.base import Data
from kindling.data.fingerprint import has_look
from kindling.data.labels import is_one_hot
from kindling.data.layout import Layout, layout_of, layout_of_before, told
from kindling.data.lazy_inputs import MappedArray
from kindling.data.precision import notes_of_columns, notes_of_precision
from kindling.data.preprocessing import arranged
from kindling.data.splits import SPLITS, read_saved

SOME = 1000  # samples that are looked at in a mapped array, or for their precision


class Arrays(Data):
    """NumPy arrays: an `.npz`, or a folder of `.npy`, which are memory-mapped and so can be larger than memory.

    They are called `x_train`, `y_train`, `x_val`, `y_val`, `x_test`, `y_test`; a split that is missing is drawn from
    `train`. There can also be `classes` (names), `lengths_train` … (of padded sequences), and, for the samples of
    `train`, `groups` (no split cuts one) or `times` (the splits follow each other in this order).

    Inputs are vectors (N, F), sequences (N, L, C) or (N, C, L), tokens (N, L), images (N, H, W), (N, H, W, C) or
    (N, C, H, W). Images of uint8 stand for 0 to 1. Targets are whole numbers or text (N,) for classes, 0 and 1 (N, K)
    for several classes per sample, or floats (N,) or (N, T). A note says what is guessed from shape or values. Inputs
    alone, without targets, are for a task such as Reconstruction.

    Args:
        path: the file or the folder.
        inputs: what the inputs are; null to decide: three dimensions are images if they are uint8, and else sequences.
        channels: whether the channels of images and sequences come first or last; null to decide: 1, 3 or 4 are the
            channels of images, or else the side unlike the others; and sequences have more steps than channels.
        divisor: what images of other types than uint8 are divided by; null to decide: 255 if they go above 1.5.
        kind: classification, regression, or one_hot where each class has a column of y, which is 1 for its samples;
            unlabelled for inputs alone; null to decide by the targets.
        **data: batch_size, val_fraction, test_fraction, split_seed, folds, fold, normalize, augment, workers: see Data.

    Raises:
        ValueError: if there are no such arrays, or they don't fit each other.
    """

    def __init__(
        self,
        path: str,
        inputs: Literal["vectors", "sequences", "tokens", "images"] | None = None,
        channels: Layout | None = None,
        divisor: float | None = None,
        kind: Literal["classification", "regression", "one_hot", "unlabelled"] | None = None,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        if divisor is not None and divisor <= 0:
            raise ValueError(f"divisor is {divisor}: expected a positive number")
        self.path, self.kind, self.divisor = path, kind, divisor
        self.arrays, labelled = read_arrays(Path(path)), kind != "unlabelled"
        used = NAMES if labelled else {name for name in NAMES if not name.startswith("y_")} - {"classes"}
        unused = sorted(set(self.arrays) - used)
        if not labelled:
            self.arrays = {name: array for name, array in self.arrays.items() if name in used}
        self.parts = [split for split in SPLITS if f"x_{split}" in self.arrays]
        if wrong := problem(self.arrays, inputs, self.parts, labelled):
            raise ValueError(f"{path}: {wrong}")
        if unused:
            self.notes = [f"{path} has arrays that are not used: {', '.join(unused)}"]
        x = self.arrays["x_train"]
        self.inputs = inputs or form_by_shape(x)
        self.channels = channels or self._guessed_layout(x)
        self.notes = [*self.notes, *told("x_train", x, self.inputs, self.channels, bool(inputs), bool(channels))]
        self.own_val, self.own_test = (len(self.arrays.get(f"x_{split}", ())) for split in ("val", "test"))
        self.groups, self.times = self.arrays.get("groups"), self.arrays.get("times")
        self.lengths = "lengths_train" in self.arrays
        self._check_lengths()
        if labelled:
            self._read_targets(self._joined("y"))
        else:
            self.values = torch.zeros(sum(len(self.arrays[f"x_{split}"]) for split in self.parts), 0)  # no number each
        if self.inputs == "tokens":
            largest = max(self.arrays[f"x_{split}"].max() for split in self.parts)
            self.vocabulary = int(largest) + 1

    def _guessed_layout(self, x: np.ndarray) -> Layout | None:
        """Where the channels are, by the shape; a ValueError if the shape does not tell."""
        if self.split_file and not has_look(read_saved(self.split_file)):
            return layout_of_before(x.shape, self.inputs)
        lengths = [self.arrays[name].max() for name in self.arrays if name.startswith("lengths_")]
        layout = layout_of(x.shape, self.inputs, int(max(lengths)) if lengths else None)
        if layout is None and self.inputs == "images":
            raise ValueError(
                f"{self.path}: x_train has the shape {x.shape}, which does not tell which axis is the channels: set "
                "data.channels to first or last"
            )
        return layout

    def _check_lengths(self) -> None:
        """Refuse lengths beyond the number of steps."""
        if not self.lengths:
            return
        steps = self.arrays["x_train"].shape[2 if self.channels == "first" else 1]
        for split in self.parts:
            lengths = self.arrays[f"lengths_{split}"]
            if lengths.max() > steps:
                given = f"lengths_{split} goes from {lengths.min()} to {lengths.max()}"
                raise ValueError(f"{self.path}: {given}: expected whole numbers from 1 to {steps}")

    def _read_targets(self, y: np.ndarray) -> None:
        """Take the targets for classes, several classes per sample, or numbers: as `kind` says, else by their type."""
        is_whole, is_text = y.dtype.kind in WHOLE, y.dtype.kind == "U"
        if y.ndim == 2 and y.shape[1] == 1 and (is_whole or is_text):
            y = y[:, 0]
        must_be_classes = self.kind == "classification"
        look_like_classes = self.kind is None and (is_whole or is_text)
        look_like_labels = self.kind is None and is_whole
        if self.kind == "one_hot":
            self._read_one_hot(y)
        elif y.ndim == 1 and (must_be_classes or look_like_classes):
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
        """One class per sample: whole numbers or text (N,)."""
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
            if self.kind is None and y.dtype.kind in "iu":
                self._note(f"y_train holds whole numbers: taken for {len(words)} classes; else --data.kind regression")
        if len(values) < 2:
            raise ValueError(f"{self.path}: all targets are {values[0]}: expected several classes")
        self.values = torch.from_numpy(labels.astype(np.int64))

    def _check_range(self, values: np.ndarray) -> None:
        """Whole numbers are places in the array `classes`: refuse those beyond it."""
        count = len(self.classes or [])
        if values[0] < 0 or values[-1] >= count:
            raise ValueError(
                f"{self.path}: classes has {count} names, but the targets go from {values[0]} to {values[-1]}"
            )

    def _places(self, words: list[str]) -> np.ndarray:
        """The place of each word among the names of the classes."""
        names = self.classes or []
        if unnamed := set(words) - set(names):
            raise ValueError(f"{self.path}: {min(unnamed)} is in y_train but not in classes: {', '.join(names)}")
        return np.array([names.index(word) for word in words])

    def _read_one_hot(self, y: np.ndarray) -> None:
        """One class per sample, by the place of its 1: 0 and 1 (N, K)."""
        if not is_one_hot(y):
            raise ValueError(f"{self.path}: data.kind is one_hot: expected 0 and 1 (N, K) in y_train, one 1 per row")
        self._read_labels(y)
        self.multilabel, self.values = False, self.values.argmax(dim=1)

    def _read_labels(self, y: np.ndarray) -> None:
        """Several classes per sample: 0 and 1 (N, K)."""
        count = y.shape[1]
        self.classes, self.multilabel = self._class_names(range(count)), True
        if len(self.classes) != count:
            raise ValueError(f"{self.path}: classes has {len(self.classes)} names, but y_train has {count} columns")
        self.values = torch.from_numpy(y.astype(np.int64))
        if self.kind is None and is_one_hot(y):
            self._note(
                f"y_train has exactly one 1 per row: taken for {count} classes of which a sample can have several; if "
                "each has only one (one-hot labels), set --data.kind one_hot"
            )

    def _read_numbers(self, y: np.ndarray) -> None:
        """Numeric targets (N,) or (N, T)."""
        self.values = torch.from_numpy(y.astype(np.float32).reshape(len(y), -1))
        count = self.values.shape[1]
        self.targets = ["y"] if count == 1 else [f"y{index}" for index in range(count)]
        if count == 1 and self.kind is None and not np.any(y % 1) and len(np.unique(y)) < 20:
            self._note("y_train is taken for numbers, since it holds floats; else --data.kind classification")
        elif count > 1 and self.kind is None and np.isin(y, (0, 1)).all():
            better = "one_hot for one class per row" if is_one_hot(y) else "classification for several classes per row"
            self._note(f"y_train holds floats of 0 and 1: taken for {count} numbers; else --data.kind {better}")
        for name, column in zip(self.targets, y.reshape(len(y), -1).T, strict=True):
            self.notes = [*self.notes, *notes_of_precision(f"target {name}", column)]

    def _note(self, sentence: str) -> None:
        self.notes = [*self.notes, sentence]

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
            divisor = self._scale_images(arrays)
        elif arrays[0].dtype.kind in "fiu" and arrays[0].dtype.itemsize > 2 and self.inputs != "tokens":
            self._note_precision(np.asarray(arrays[0][:: max(1, len(arrays[0]) // SOME)]))
        self.preparation = {**self.preparation, "channels": self.channels}
        arrange = partial(arranged, form=self.inputs, divisor=divisor, channels=self.channels)
        inputs: Any = MappedArray(*arrays, arrange=arrange, names=[f"x_{split}" for split in self.parts])
        in_memory = not isinstance(arrays[0], np.memmap)
        if in_memory and inputs.dtype != torch.uint8:
            inputs = inputs[torch.arange(len(inputs))]
        return inputs, *lengths, self.values

    def _scale_images(self, arrays: list[np.ndarray]) -> float:
        """What brings images of types other than uint8 to 0 to 1: the user's divisor, or one by their values."""
        some = np.concatenate([some_of(array) for array in arrays])
        low, high = some.min(), some.max()
        divisor = self.divisor or (255.0 if high > 1.5 and low >= 0 else 1.0)
        self.preparation = {"divisor": divisor, "bounded": bool(low >= 0 and high <= divisor)}
        if divisor != 1 and self.divisor is None:
            self._note(f"x_train, from {low:g} to {high:g}, is divided by 255; else --data.divisor 1")
        return divisor

    def _note_precision(self, some: np.ndarray) -> None:
        """Note the first feature whose values float32 can hardly tell apart."""
        features = some.swapaxes(1, 2) if some.ndim == 3 and self.channels == "first" else some
        notes = notes_of_columns(features.reshape(-1, features.shape[-1]))
        more = f" (and {len(notes) - 1} more columns)" if len(notes) > 1 else ""
        self.notes = [*self.notes, *(f"x_train: {note}{more}" for note in notes[:1])]


def some_of(x: np.ndarray) -> np.ndarray:
    """An array, or evenly spaced samples of a mapped one."""
    if not isinstance(x, np.memmap):
        return x
    return np.asarray(x[:: max(1, len(x) // SOME)])


def form_by_shape(x: np.ndarray) -> str:
    """What form inputs have if none is given."""
    if x.ndim == 2:
        return "vectors"
    return "images" if x.ndim == 4 or x.dtype == np.uint8 else "sequences"
