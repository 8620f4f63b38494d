"""Synthetic sequences that need memory, of variable length: `kindling fit --config configs/memory_lstm.yaml`."""

from typing import Any, Literal

import torch
from torch import Tensor

from kindling import Data


class Memory(Data):
    """Bits, some of them marked: is the number of marked ones odd or even, or what is the sum of the marked bits?

    (length, 2) float32, bit and mark, or (length,) tokens → class index int64 (parity) or (1,) float32 (sum). After
    the adding problem (Hochreiter & Schmidhuber, 1997). The zeros that pad a sequence, and token 0, mean nothing.

    Args:
        question: parity (two classes), or sum (a number).
        size: number of sequences.
        length: the longest sequence, in steps; the shortest has half as many.
        marked: number of marked steps.
        tokens: token ids 1 to 4 instead of two numbers per step.
        seed: seed of the sequences.
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize: see Data.

    Raises:
        ValueError: if a count is not positive, or there are more marks than steps.
    """

    lengths = True

    def __init__(
        self,
        question: Literal["parity", "sum"] = "parity",
        size: int = 10_000,
        length: int = 20,
        marked: int = 2,
        tokens: bool = False,
        seed: int = 0,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        if size < 1 or not 1 <= marked <= length // 2:
            raise ValueError(f"size is {size}, length {length}, marked is {marked}: expected 1 ≤ marked ≤ length / 2")
        self.question, self.size, self.length, self.marked, self.seed = question, size, length, marked, seed
        self.vocabulary = 5 if tokens else None
        self.classes = ["even", "odd"] if question == "parity" else None
        self.targets = ["sum"] if question == "sum" else None

    def load(self) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        lengths = torch.randint(self.length // 2, self.length + 1, (self.size,), generator=generator)
        real = torch.arange(self.length) < lengths[:, None]  # (N, L)
        bits = torch.randint(2, real.shape, generator=generator) * real
        order = torch.rand(real.shape, generator=generator).masked_fill(~real, 2.0)  # real steps come first
        marked_steps = order.argsort(dim=1)[:, : self.marked]
        marks = torch.zeros_like(bits).scatter_(1, marked_steps, 1)
        inputs = (1 + bits + 2 * marks) * real if self.vocabulary else torch.stack([bits, marks], dim=2).float()
        total = (bits * marks).sum(dim=1)
        return inputs, lengths, total % 2 if self.classes else total.float()[:, None]
