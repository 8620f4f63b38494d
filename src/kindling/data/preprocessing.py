"""How raw inputs become what a model takes. A checkpoint keeps it as plain values, so that it needs nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

FORMS = {1: "vectors", 2: "sequences", 3: "images"}  # by the number of dimensions of one input
CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency

# What a checkpoint has learnt of its inputs, as plain values: data that is loaded meanwhile is prepared likewise.
LEARNT: ContextVar[dict[str, Any] | None] = ContextVar("learnt", default=None)


@contextmanager
def learnt(plain: dict[str, Any] | None) -> Iterator[None]:
    """Have data take a checkpoint's statistics and columns rather than learn them from its own training split."""
    token = LEARNT.set(plain)
    try:
        yield
    finally:
        LEARNT.reset(token)


def form_of(shape: tuple[int, ...], tokens: bool) -> str:
    """The form of inputs of this shape: vectors (F,), sequences (L, F), images (C, H, W), or tokens (L,)."""
    if tokens:
        return "tokens"
    return FORMS.get(len(shape), f"arrays of {len(shape)} dimensions")


class Preprocessing(nn.Module):
    """Raw inputs (B, *shape) → float32 inputs of mean 0 and variance 1 over the training split; tokens stay tokens.

    Args:
        shape: of one input.
        dtype: of raw inputs: uint8 (0 to 255), float32, or int64 for tokens.
        mean: of each feature or channel, uint8 being divided by 255; null for no normalisation.
        std: of each of these; not zero.
        channels: where the channels of images and sequences were in the training's own arrays, first or last; null for
            an older checkpoint, and for other inputs.
        divisor: what a user's float images are divided by to be like those of `dtype`, such as 255 for 0 to 1.
        bounded: whether images lie between 0 and 1.
        lengths: whether inputs are padded sequences, which come with their lengths.
        further_inputs: how many inputs a sample has besides these and the lengths; they stay as they are.
        resize: how an image of another size is brought to `shape`: see image_files.resized.
        columns: of a table, as columns.py has them; null if inputs are arrays.
        separator: of a table's values in a CSV.
        decimal: the decimal mark of numbers there.
        tokens: what turns text into tokens: see tokens.py; null for inputs that were not text.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: str = "float32",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        channels: str | None = None,
        divisor: float = 1.0,
        bounded: bool = False,
        lengths: bool = False,
        further_inputs: int = 0,
        resize: str = "crop",
        columns: list[dict[str, Any]] | None = None,
        separator: str = ",",
        decimal: str = ".",
        tokens: str | None = None,
    ) -> None:
        self.plain: dict[str, Any] = {  # all arguments, from which a checkpoint rebuilds it
            "shape": shape,
            "dtype": dtype,
            "mean": mean,
            "std": std,
            "channels": channels,
            "divisor": divisor,
            "bounded": bounded,
            "lengths": lengths,
            "further_inputs": further_inputs,
            "resize": resize,
            "columns": columns,
            "separator": separator,
            "decimal": decimal,
            "tokens": tokens,
        }
        super().__init__()
        self.shape, self.dtype, self.divisor, self.channels = tuple(shape), dtype, divisor, channels
        self.bounded = bounded or dtype == "uint8"
        self.lengths, self.further_inputs = lengths, further_inputs
        self.resize, self.columns, self.separator, self.decimal = resize, columns, separator, decimal
        self.tokens = tokens
        self.form = form_of(self.shape, dtype == "int64")
        broadcast = (-1, 1, 1) if self.form == "images" else (-1,)
        for name, values in {"mean": mean, "std": std}.items():
            buffer = None if values is None else torch.tensor(values).view(broadcast)
            self.register_buffer(name, buffer, persistent=False)

    def is_alike(self, plain: dict[str, Any]) -> bool:
        """Whether another, as plain values, takes the same inputs, and normalises them or not as this does."""
        same_shape = tuple(plain["shape"]) == self.shape and plain["dtype"] == self.dtype
        return same_shape and (plain["mean"] is None) == (self.mean is None)

    def forward(self, raw: Tensor, *others: Tensor) -> Tensor:
        """Raw inputs and what comes after them in a batch: the lengths (B,) of padded sequences first."""
        if self.dtype == "int64":
            return raw.long()
        is_bytes = raw.dtype == torch.uint8
        inputs = raw.float()
        if is_bytes:
            inputs.div_(255)
        if self.mean is not None and self.std is not None:
            # In place where `inputs` is a copy: floats may be the raw inputs themselves.
            centred = inputs.sub_(self.mean) if is_bytes else inputs - self.mean
            inputs = centred.div_(self.std)
        if self.lengths and others:  # what pads a sequence stays zero
            real = torch.arange(inputs.shape[1], device=inputs.device) < others[0][:, None]  # (B, L)
            inputs = inputs * real[:, :, None]
        return inputs


def arranged(batch: Tensor, form: str, divisor: float = 1.0, channels: str | None = None) -> Tensor:
    """Bring arrays (B, …) to what Preprocessing takes: tokens int64, images (B, C, H, W), anything else float32.

    Images can come as (B, H, W), or with their channels last; sequences as (B, C, L), with their channels first.
    Images other than uint8 are divided by `divisor`.

    Args:
        batch: of raw inputs.
        form: what they are.
        divisor: of images.
        channels: where they are, first or last; None to tell by the usual numbers of channels.
    """
    if form == "tokens":
        return batch.long()
    if form != "images":
        is_turned = form == "sequences" and channels == "first" and batch.dim() == 3
        return (batch.transpose(1, 2) if is_turned else batch).float()
    if batch.dim() == 3:
        batch = batch[:, None]
    elif batch.dim() == 4 and (channels or _common_layout(batch)) == "last":
        batch = batch.permute(0, 3, 1, 2)
    if batch.dtype == torch.uint8:
        return batch
    return batch.float() if divisor == 1 else batch.float() / divisor


def _common_layout(images: Tensor) -> str:
    return "last" if images.shape[1] not in CHANNELS and images.shape[3] in CHANNELS else "first"
