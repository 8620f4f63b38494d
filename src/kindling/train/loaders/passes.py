"""Passes through a loader: the seeds each is drawn with, and which of its batches a resumed epoch leaves out."""

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from kindling.data.position import Position, Seeded, seed_of

END = object()  # what `next` gives after the last item


@dataclass(frozen=True)
class Pass:
    """One way through a loader.

    Its order is seeded alike in all processes, since they may shuffle alike and then share the samples; so is the fetch
    of its first batch, when an iterable may draw its order. Later fetches are seeded differently in each process.
    """

    purpose: str
    seed: int
    epoch: int
    number: int  # in its epoch
    rank: int

    @property
    def order_seed(self) -> int:
        return seed_of(self.purpose, self.seed, self.epoch, self.number)

    def fetch_seed(self, batch: int) -> int:
        if batch == 0:
            return self.order_seed
        return seed_of(self.purpose, self.seed, self.epoch, self.number, self.rank, batch)


class Passes:
    """Counts the passes through a training's loader; an epoch has several if a CombinedLoader cycles through it.

    Args:
        position: the training's position.
        replays: whether batches seen before an interruption come again, and are to be left out.
    """

    tell_epoch = True  # whether to pass it to samplers and data sets

    def __init__(self, position: Position, replays: bool = True) -> None:
        self.position, self.replays = position, replays
        self.epoch: int | None = None
        self.number = 0  # of the pass in its epoch
        self.read = 0  # batches of the epoch, including those that are left out
        self.seen = 0  # batches of the epoch that were trained on before the interruption
        self.complete = False  # whether the last pass came to its end

    def begin(self) -> Pass:
        epoch = self.position.epoch
        if self.complete and epoch == self.epoch:
            self.number += 1
        else:
            self.epoch, self.number, self.read = epoch, 0, 0
            self.seen = self.position.seen if self.replays else 0
        self.complete = False
        return self.current

    @property
    def current(self) -> Pass:
        return Pass("train", self.position.seed, self.epoch or 0, self.number, self.position.rank)

    def go_on(self, number: int, read: int) -> Pass:
        """Go on with a pass of this epoch after some batches of the epoch."""
        self.number, self.read = number, read
        return self.current

    def is_seen(self) -> bool:
        """Count a batch, and say whether it was trained on before the interruption."""
        self.read += 1
        return self.read <= self.seen


class EvaluationPasses(Passes):
    """Every evaluation draws the same numbers, so that its results are comparable with earlier and later ones.

    Lightning passes the epoch to samplers, which is early enough here.
    """

    tell_epoch = False

    def begin(self) -> Pass:
        return Pass("evaluation", self.position.seed, 0, 0, self.position.rank)


def walk(
    items: Iterable[Any], current: Pass, first: int = 0, draws: float = math.inf, device: torch.device | None = None
) -> Iterator[tuple[int, Any]]:
    """Go through the items of a pass, each drawn with a seed of its own; yields their numbers and the items.

    Args:
        items: the items, each of which is asked for once.
        current: the pass, with the seeds.
        first: the number of the first item.
        draws: items with lower numbers may draw random numbers in this process; later ones don't.
        device: an accelerator on which random numbers may also be drawn.
    """
    with Seeded(current.order_seed, device):
        iterator = iter(items)
    for number in itertools.count(first):
        with Seeded(current.fetch_seed(number), device) if number < draws else nullcontext():
            item = next(iterator, END)
        if item is END:
            return
        yield number, item
