"""Turns a user's images, arrays and tables into inputs like those of the training, before normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from kindling.data.image_files import pixels
from kindling.data.preprocessing import Preprocessing, arranged

if TYPE_CHECKING:
    from kindling.data.columns import Encoded

SLACK = 0.01  # how far a float image may go beyond 0 to 1


class RawInputs:
    """Turns inputs into tensors (N, *shape) of the type that `preprocessing` takes.

    Args:
        preprocessing: that of the data on which the model was trained.
        vocabulary: number of different tokens, if the model takes tokens.
    """

    def __init__(self, preprocessing: Preprocessing, vocabulary: int | None) -> None:
        self.preprocessing, self.vocabulary = preprocessing, vocabulary
        self.form, self.shape = preprocessing.form, preprocessing.shape

    def prepare(self, inputs: Any, lengths: Any = None) -> tuple[Tensor, Tensor | None]:
        """Inputs in any form, and the lengths of padded sequences (N,).

        Args:
            inputs: an image (PIL) or a list of them; an array or a tensor (N, …), or of one sample; a DataFrame.
            lengths: those of padded sequences (N,); None for all of full length.

        Raises:
            ValueError: if they are not like what the model was trained on.
        """
        if isinstance(inputs, Image.Image):
            inputs = [inputs]
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], Image.Image):
            return self.of_images(inputs), None
        if hasattr(inputs, "columns"):
            encoded = self.of_table(inputs)
            if encoded.reasons:
                row = min(encoded.reasons)
                raise ValueError(f"row {row}: {encoded.reasons[row]}")
            return torch.from_numpy(encoded.inputs), None
        raw, lengths = self.of_array(inputs, lengths)
        if not raw.isfinite().all():
            raise ValueError("the inputs contain values that are not finite")
        return raw, lengths

    def of_images(self, images: list[Image.Image]) -> Tensor:
        """Images of any size and mode."""
        if self.form != "images":
            raise ValueError(f"the model takes {self.form}, not images")
        resized = [pixels(image, self.shape, self.preprocessing.resize) for image in images]
        return self.of_pixels(torch.from_numpy(np.stack(resized)))

    def of_pixels(self, raw: Tensor) -> Tensor:
        """Pixels (N, *shape) from 0 to 255 as the training saw images; a ValueError if it saw no pixels."""
        if self.preprocessing.dtype == "uint8":
            return raw
        if not self.preprocessing.bounded:
            raise ValueError("the model was trained on floats beyond 0 to 1: it takes no pixels")
        return raw.float() / 255

    def of_table(self, table: Any) -> Encoded:
        """Rows (N, F) of a DataFrame or an Arrow table, and why any of them can't be used."""
        from kindling.data.column_values import as_table
        from kindling.data.columns import encode

        if len(self.shape) > 1:
            raise ValueError(f"the model takes {self.form}, not the rows of a table")
        table = as_table(table)
        columns = self.preprocessing.columns or self._columns_in_order(table.column_names)
        return encode(table, columns, self.preprocessing.decimal)

    def _columns_in_order(self, names: list[str]) -> list[dict[str, Any]]:
        """For a model that saw no table: its features are the columns, in this order, and the mean fills gaps."""
        (size,) = self.shape
        if len(names) != size:
            raise ValueError(f"the model takes {size} columns of numbers, but the table has {len(names)}")
        means = self.preprocessing.plain["mean"] or [0.0] * size
        return [{"name": name, "fill": mean} for name, mean in zip(names, means, strict=True)]

    def of_array(self, inputs: Any, lengths: Any = None) -> tuple[Tensor, Tensor | None]:
        """Inputs from an array (N, …) or a single sample of it, and the lengths of padded sequences."""
        array = self._batch(as_tensor(inputs))
        raw = arranged(array, self.form, self.preprocessing.divisor, self._channels(tuple(array.shape[1:])))
        if self.preprocessing.lengths and raw.dim() > 1:
            lengths = _lengths(raw, lengths)
            raw = self._pad(raw)
        if tuple(raw.shape[1:]) != self.shape:
            raise ValueError(f"the model takes {self.form} of shape {self.shape}, not {tuple(array.shape[1:])}")
        if raw.dtype == torch.uint8:
            raw = self.of_pixels(raw)
        if len(raw):
            self._check_range(raw)
        return raw, lengths

    def _channels(self, shape: tuple[int, ...]) -> str | None:
        """Where the channels of an array are: where the training's were, unless its shape only fits the other way."""
        trained = self.preprocessing.channels
        if trained is None or len(shape) != len(self.shape):
            return trained
        fitting = [layout for layout in ("first", "last") if self._fits(shape, layout)]
        return fitting[0] if len(fitting) == 1 else trained

    def _fits(self, shape: tuple[int, ...], channels: str) -> bool:
        """Whether a sample of this shape suits the model, if its channels are there."""
        if self.form == "images":
            return self.shape == (shape if channels == "first" else (shape[2], *shape[:2]))
        steps, width = reversed(shape) if channels == "first" else shape
        is_long_enough = steps <= self.shape[0] if self.preprocessing.lengths else steps == self.shape[0]
        return width == self.shape[1] and is_long_enough

    def _batch(self, array: Tensor) -> Tensor:
        """An array (N, …); a single sample is given that first dimension."""
        if self.form == "images" and self.shape[0] == 1:
            is_sample = self._is_grey_image(array)
        else:
            is_sample = array.dim() == len(self.shape)
        return array[None] if is_sample else array

    def _is_grey_image(self, array: Tensor) -> bool:
        """Whether an array is one grey image, (H, W), (1, H, W) or (H, W, 1), rather than several, (N, H, W) …"""
        if array.dim() != 3:
            return array.dim() < 3
        return array.shape[1:] != self.shape[1:]

    def _pad(self, raw: Tensor) -> Tensor:
        """Sequences (N, L, …), padded with zeros to the length that the training saw, if they are shorter."""
        missing = self.shape[0] - raw.shape[1]
        if missing <= 0:
            return raw
        beside = (0, 0) * (raw.dim() - 2)  # the other dimensions stay
        return nn.functional.pad(raw, (*beside, 0, missing))

    def _check_range(self, raw: Tensor) -> None:
        """Raise a ValueError for float images beyond 0 to 1, and for tokens that the model doesn't have."""
        low, high = raw.min(), raw.max()
        is_inside = low > -SLACK and high < 1 + SLACK
        if self.preprocessing.bounded and raw.is_floating_point() and not is_inside:
            unit = self.preprocessing.divisor
            given = f"{float(low) * unit:g} to {float(high) * unit:g}"
            raise ValueError(f"the model takes uint8 images, or floats from 0 to {unit:g}, not {given}")
        if self.vocabulary and not 0 <= low <= high < self.vocabulary:
            raise ValueError(f"the model takes tokens from 0 to {self.vocabulary - 1}, not {low} to {high}")


def _lengths(raw: Tensor, lengths: Any) -> Tensor:
    """The lengths (N,) of sequences (N, L, …), all of them full if none are given."""
    count, steps = raw.shape[:2]
    if lengths is None:
        return torch.full((count,), steps)
    lengths = as_tensor(lengths).reshape(-1)
    if len(lengths) != count or (count and not 1 <= lengths.min() <= lengths.max() <= steps):
        raise ValueError(f"lengths: expected {count} whole numbers from 1 to {steps}, one per sample")
    return lengths


def as_tensor(values: Any) -> Tensor:
    """Numbers of any NumPy type, in memory of their own; a ValueError if they are not numbers."""
    if isinstance(values, Tensor):
        return values.cpu()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(f"expected numbers, not {array.dtype}")
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))
