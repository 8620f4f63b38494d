"""Data of records, each with values by name: pictures, numbers and arrays, read when a batch asks for them."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kindling.core.errors import UnreadableSample
from kindling.data.base import Data
from kindling.data.column_values import Values, as_column
from kindling.data.fingerprint import look_of
from kindling.data.image_files import read_pixels, sides_of
from kindling.data.lazy_inputs import LazyInputs
from kindling.data.lazy_samples import as_tensor, is_array
from kindling.data.table_target import Kind, read_target

Record = dict[str, Any]


class LazyRecords(LazyInputs):
    """What records hold under some names, (N, …): pixels of a picture, a vector of numbers, or an array as it is.

    Args:
        records: with a length, and a record for each index.
        names: of the values that are the input.
        picture: (channels, height, width) that pictures are brought to, uint8.
        resize: how: crop, pad or stretch.

    Raises:
        ValueError: if a value can't be an input.
    """

    is_slow = True

    def __init__(self, records: Any, names: list[str], picture: tuple[int, ...], resize: str) -> None:
        self.records, self.names, self.picture, self.resize = records, names, picture, resize
        record = records[0]
        self.holds_pictures = len(names) == 1 and content_of_picture(record[names[0]]) is not None
        if not self.holds_pictures:
            self._refuse_other_than_numbers(record)
        first = self._input(record, 0)
        self.shape, self.dtype = (len(records), *first.shape), first.dtype

    def _refuse_other_than_numbers(self, record: Record) -> None:
        for name in self.names:
            value = record[name]
            if is_array(value):
                continue
            held = "text" if isinstance(value, str) else f"a {type(value).__name__}"
            if content_of_picture(value) is not None:
                held = "a picture beside others"
            raise ValueError(f"inputs has {name!r}, which holds {held}: expected one picture, or numbers")

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The inputs of some records, (B, …).

        Raises:
            UnreadableSample: if a picture can't be read, a number is missing, or an array has another shape than the
                first record's.
        """
        places = indices.tolist()
        many = getattr(self.records, "__getitems__", None)  # as torch asks it of a data set
        records = many(places) if many else [self.records[place] for place in places]
        batch = torch.empty(len(places), *self.shape[1:], dtype=self.dtype)
        for row, (place, record) in enumerate(zip(places, records, strict=True)):
            value = self._input(record, place)
            if value.shape != self.shape[1:]:
                shapes = f"{tuple(value.shape)}, but record 0 has {self.shape[1:]}"
                raise UnreadableSample(f"{self.place_of(place)} has the shape {shapes}: bring them to one shape")
            if not value.isfinite().all():
                held = f"holds a value in {' or '.join(self.names)} that is missing or not a finite number"
                raise UnreadableSample(f"{self.place_of(place)} {held}: correct it, or leave such records out")
            batch[row] = value
        return batch

    def _input(self, record: Record, place: int) -> Tensor:
        values = [record[name] for name in self.names]
        if self.holds_pictures:
            return self._pixels(values[0], place)
        if len(values) == 1:
            array = as_tensor(values[0])
            return array if array.dim() and array.dtype == torch.uint8 else array.float().reshape(-1, *array.shape[1:])
        return torch.cat([as_tensor(value).float().reshape(-1) for value in values])

    def _pixels(self, value: Any, place: int) -> Tensor:
        content = content_of_picture(value)
        try:
            if content is None:
                raise ValueError("it is missing")
            return torch.from_numpy(np.ascontiguousarray(read_pixels(content, self.picture, self.resize)))
        except ValueError as error:
            raise UnreadableSample(
                f"{self.place_of(place)}, {self.names[0]}, can't be read: {error}; remove it from the data"
            ) from None

    def place_of(self, index: int) -> str:
        return f"record {index} (from 0)"


def content_of_picture(value: Any) -> bytes | str | None:
    """The content or the path of an image file; None for any other value."""
    if isinstance(value, dict) and {"bytes", "path"} >= {*value}:
        value = value.get("bytes") or value.get("path")
        return value if isinstance(value, bytes | str) else None
    return bytes(value) if isinstance(value, bytes | memoryview) else None


class _Records(Data):
    """Base of data whose samples are records, which a subclass opens and hands to `take`.

    Args:
        inputs: the name of a picture, of numbers or of an array; or the names of several numbers.
        target: the name of what to predict, or several; null for none.
        kind: classification, regression, or one_hot for one value of 0 or 1 per class; null to decide by
            the target.
        image_size: height and width that pictures are brought to, in pixels: one number for both, or [height, width].
        colour: three channels of a picture, or one of grey.
        resize: how to bring pictures to this size: crop what is too long, pad what is too short, or stretch.
        **data: batch_size, val_fraction, workers, transforms …: see Data.

    Raises:
        ValueError: if there are no records, or they lack a name.
    """

    def __init__(
        self,
        inputs: str | list[str],
        target: str | list[str] | None = None,
        kind: Kind | None = None,
        image_size: int | list[int] = 64,
        colour: bool = True,
        resize: Literal["crop", "pad", "stretch"] = "crop",
        **data: Any,
    ) -> None:
        super().__init__(**data)
        self.inputs = [inputs] if isinstance(inputs, str) else inputs
        self.target = [target] if isinstance(target, str) else target or []
        if not self.inputs:
            raise ValueError("inputs is empty: expected the name of a picture, or of numbers")
        if both := {*self.inputs} & {*self.target}:
            raise ValueError(f"{min(both)!r} is in inputs and in target: a model would read off what it is to predict")
        self.kind, self.resize = kind, resize
        self.picture = (3 if colour else 1, *sides_of(image_size))
        self.preparation = {"resize": resize}

    def take(self, records: Any, names: list[str], columns: Callable[[str], pa.Array]) -> None:
        """Make records the samples; a subclass calls this at the end of its constructor.

        Args:
            records: of all splits, with a length, and the inputs of each for its index.
            names: of all values that the records have.
            columns: gives the values of all records under a name, as an Arrow array.
        """
        for role, wanted in {"inputs": self.inputs, "target": self.target}.items():
            if missing := [name for name in wanted if name not in names]:
                raise ValueError(f"{role} is {missing[0]!r}, which the records don't have: {', '.join(names)}")
        if not len(records):
            raise ValueError("there are no records in the data")
        self.records = LazyRecords(records, self.inputs, self.picture, self.resize)
        self.values = self._targets(columns) if self.target else torch.zeros(len(records), 0)  # no number each

    def load(self) -> tuple[LazyInputs, Tensor]:
        return self.records, self.values

    def look_of_inputs(self, inputs: Any) -> dict[str, Any]:
        """For pictures, a look at the sizes of the files, since the last bits of pixels depend on the decoder."""
        return look_of(inputs, self.source_files(), looks_at_values=not self.records.holds_pictures)

    def _targets(self, columns: Callable[[str], pa.Array]) -> Tensor:
        """The targets (N, …); sets what they are."""
        found = []
        for name in self.target:
            values = Values(name, as_column(pa.chunked_array([columns(name)])))
            if values.is_missing.any():
                row = int(values.is_missing.argmax())
                raise ValueError(f"target {name} has no value in record {row} (from 0): leave such records out")
            found.append(values)
        target = read_target(found, self.kind, list(map(str, range(len(self.records)))))
        self.classes, self.targets, self.multilabel = target.classes, target.targets, target.multilabel
        self.notes = [*self.notes, *target.notes]
        return target.values
