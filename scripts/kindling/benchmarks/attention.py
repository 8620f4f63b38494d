"""Attention: seconds of a forward and backward pass, and its peak memory, over the length of the sequence.

The guide's last line, `einsum("nqhk,nvhd->nqhd")`, sums keys and values apart from each other, which is no attention;
what runs here is what it means, `"nqhk,nkhd->nqhd"`. Its projections are never applied, and are not here either: the
others do three matrix products more. Each contestant has a process of its own for each length.
"""

import math
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.machine import forget_peak, memory
from benchmarks.report import Case, Row, amounts, each, times
from benchmarks.turns import Turns, compete
from kindling.models.attention import MultiHeadAttention

BATCH, WIDTH, HEADS = 2, 256, 8
PASSES = {128: 100, 256: 50, 512: 20, 1024: 8, 2048: 2, 4096: 1}  # in a turn


class GuideAttention(nn.Module):
    """The guide's SelfAttention, without a mask."""

    def __init__(self, embed_size: int, heads: int) -> None:
        super().__init__()
        self.embed_size, self.heads, self.head_dim = embed_size, heads, embed_size // heads
        self.fc_out = nn.Linear(embed_size, embed_size)

    def forward(self, values: Tensor, keys: Tensor, query: Tensor) -> Tensor:
        values, keys, queries = (x.reshape(*x.shape[:2], self.heads, self.head_dim) for x in (values, keys, query))
        energy = torch.einsum("nqhd,nkhd->nqhk", [queries, keys])
        attention = torch.softmax(energy / (self.embed_size ** (1 / 2)), dim=3)
        out = torch.einsum("nqhk,nkhd->nqhd", [attention, values])
        return self.fc_out(out.reshape(*query.shape[:2], self.embed_size))


class TorchAttention(nn.MultiheadAttention):
    def forward(self, values: Tensor, keys: Tensor, query: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(query, keys, values, need_weights=False)[0]


CONTESTANTS: dict[str, Callable[[], nn.Module]] = {
    "guide's": partial(GuideAttention, WIDTH, HEADS),
    "nn.MultiheadAttention": partial(TorchAttention, WIDTH, HEADS, batch_first=True),
    "Kindling": partial(MultiHeadAttention, WIDTH, HEADS),
}


def attend(name: str, length: int, turns: Turns) -> None:
    attention, x = CONTESTANTS[name](), torch.randn(BATCH, length, WIDTH, requires_grad=True)
    megabytes, before = 0.0, memory()
    while True:
        turns.take(megabytes=megabytes)
        forget_peak()
        for _ in range(PASSES[length]):
            attention(x, x, x).sum().backward()
        megabytes = memory("VmHWM") - before


def race(quick: bool) -> list[Row]:
    rows, peaks = [], dict[tuple[str, int], float]()
    for length in [*PASSES][: 2 if quick else None]:
        found = compete({name: partial(attend, name, length) for name in CONTESTANTS}, 2 if quick else 5)
        seconds = each(found, lambda turn: 1000 * turn["seconds"] / PASSES[length])  # noqa: B023 (called at once)
        megabytes = each(found, lambda turn: turn["megabytes"])
        peaks |= {(name, length): median(values) for name, values in megabytes.items()}
        rows += times({f"{name}, length {length}": value for name, value in seconds.items()}, "ms")
        rows += amounts({f"{name}, length {length}, peak": value for name, value in megabytes.items()}, "MB")
    low, high = length // (2 if quick else 4), length
    for name in CONTESTANTS:
        power = math.log(peaks[name, high] / peaks[name, low]) / math.log(high / low)
        rows.append(Row(f"{name}, power of the length that the peak grows with", [power], "", note=f"{low} to {high}"))
    return rows


CASES = {"lengths": Case(f"attention, batch {BATCH}, width {WIDTH}, {HEADS} heads, forward and backward", race)}
