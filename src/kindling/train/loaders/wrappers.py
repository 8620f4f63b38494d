"""Wrappers that let foreign loaders resume exactly: by indices, by their state, or by reading seen batches again."""

import copy
import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler

from kindling.data.position import Seeded, forget_normal_number
from kindling.train.loaders.parts import parts_of
from kindling.train.loaders.passes import END, Pass, Passes, walk
from kindling.train.loaders.proxy import Proxy
from kindling.train.loaders.states import LoaderState, LoaderStates
from kindling.train.messages import warn

AGAIN = "batches that this epoch has seen are read again; a loader and data with a state_dict avoid that"


class ForeignLoader(Proxy):
    """Base of the wrappers: every `iter` is a pass, which begins when its first batch is asked for.

    By then a checkpoint's counters are restored; Lightning's own `iter` comes too early for that (its issue 21938).

    Args:
        loader: any iterable of batches.
        passes: counts the passes through it.
        generators: those of the loader and its samplers, if they have their own; they are seeded at every pass.
        **own: what a subclass keeps for itself.
    """

    _wrapped: Any
    _passes: Passes
    _generators: list[torch.Generator]

    def __init__(self, loader: Any, passes: Passes, generators: list[torch.Generator], **own: Any) -> None:
        super().__init__(loader, _passes=passes, _generators=generators, **own)

    def __iter__(self) -> Iterator[Any]:
        current = self._passes.begin()
        if self._passes.tell_epoch:
            set_epoch(self._wrapped, current.epoch)
        self._seed_generators(current)
        for batch in self._batches(current):
            forget_normal_number()
            yield batch
        self._passes.complete = True

    def _seed_generators(self, current: Pass) -> None:
        for generator in self._generators:
            generator.manual_seed(current.order_seed)

    def _batches(self, current: Pass) -> Iterator[Any]:
        """The batches of a pass, without those seen before an interruption."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the checkpoint's `position` has the state. Lightning warns about loaders without this method."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do nothing: see `state_dict`."""


class ReplayedLoader(ForeignLoader):
    """Any iterable: order and fetches are seeded, and seen batches are read again and dropped."""

    def __init__(self, loader: Any, passes: Passes, **own: Any) -> None:
        if isinstance(loader, DataLoader):  # or it would draw its workers' seed from the training's generator
            loader.generator = loader.generator or torch.Generator()
        super().__init__(loader, passes, generators_of(loader), **own)

    def _batches(self, current: Pass) -> Iterator[Any]:
        if self._passes.seen > self._passes.read:
            warn(self._passes.position.trainer, f"{self._passes.seen} {AGAIN}")
        for _, batch in self._walk(self._wrapped, current):
            if not self._passes.is_seen():
                yield batch

    def _walk(self, batches: Any, current: Pass, first: int = 0) -> Iterator[tuple[int, Any]]:
        workers = getattr(self._wrapped, "num_workers", 0)
        # Workers have generators of their own, and may be started when the first batch is asked for.
        draws = first + 1 if workers else math.inf
        return walk(batches, current, first, draws, self._device())

    def _device(self) -> torch.device:
        return self._passes.position.trainer.strategy.root_device


SavedState = Callable[["StatefulLoader"], dict[str, Any] | None]


class StatefulLoader(ReplayedLoader):
    """A loader with `state_dict` and `load_state_dict`: it goes on from its state before a batch.

    Args:
        loader: the loader.
        passes: counts the passes through it.
        saved: gives this loader's state in the checkpoint, if there is one.
    """

    _states: LoaderStates
    _saved: SavedState

    def __init__(self, loader: Any, passes: Passes, saved: SavedState) -> None:
        super().__init__(loader, passes, _states=LoaderStates(loader, passes), _saved=saved)

    def before_next_batch(self) -> dict[str, Any] | None:
        """The newest state before the next batch to train on, for a checkpoint; None if there is none."""
        return self._states.before_next_batch()

    def _batches(self, current: Pass) -> Iterator[Any]:
        batches, first = self._wrapped, 0
        saved = self._saved(self)
        state = LoaderState(**saved) if saved else None
        if state and state.belongs_to(self._passes):
            current = self._passes.go_on(state.number, state.read)
            first = state.batch
            with Seeded(current.order_seed, self._device()):
                self._wrapped.load_state_dict(state.content)
                if state.read == 0:
                    batches = self._after_last_epoch(current)
        walked = self._walk(batches, current, first)
        try:
            for number, batch in walked:
                is_seen = self._passes.is_seen()
                self._states.take_if_cheap(number + 1)
                if not is_seen:
                    yield batch
        finally:
            if self._states.has_given_all():  # let it see its end: Lightning stops before that if it has a length
                next(walked, END)

    def _after_last_epoch(self, current: Pass) -> Any:
        """The batches of a new epoch, from a state at the end of one: many loaders first end that, without a batch."""
        rest = iter(self._wrapped)
        self._seed_generators(current)
        with Seeded(current.order_seed, self._device()):
            batch = next(rest, END)
        return self._wrapped if batch is END else chain([batch], rest)


class Fetch(NamedTuple):
    """The indices of a batch, and the seed with which it is read."""

    seed: int
    indices: Any


class PlacedLoader(ForeignLoader):
    """A DataLoader of a map-style data set: a resume draws the order again, and reads no batch that was seen.

    Each batch is read with its own seed, in whatever process.
    """

    _indices: "NumberedIndices"

    def __init__(self, loader: DataLoader, passes: Passes) -> None:
        placed = copy.copy(loader)
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        indices = NumberedIndices(getattr(loader, name), passes, len(foreign_samplers(loader)) == 0)
        placed.collate_fn = _as_it_is
        placed.generator = loader.generator or torch.Generator()
        # A DataLoader refuses to replace these by an assignment, which could come after its first batch.
        vars(placed).update({name: indices, "dataset": SeededFetches(loader.dataset, loader.collate_fn)})
        super().__init__(placed, passes, [*generators_of(loader), placed.generator], _indices=indices)

    def _batches(self, current: Pass) -> Iterator[Any]:
        vars(self._indices)["_current"] = current
        yield from self._wrapped


class NumberedIndices(Proxy):
    """A sampler whose indices carry the seed of their fetch, without those of batches that were seen.

    Args:
        sampler: a sampler of batches, or of samples if the loader does not batch them.
        passes: counts the batches.
        draws_at_once: whether all random numbers are drawn with the first indices, as torch's samplers do.
    """

    _wrapped: Any
    _current: Pass
    _passes: Passes
    _draws: float

    def __init__(self, sampler: Any, passes: Passes, draws_at_once: bool) -> None:
        super().__init__(sampler, _passes=passes, _draws=1 if draws_at_once else math.inf)

    def __iter__(self) -> Iterator[Fetch]:
        return self._numbered(self._current)

    def _numbered(self, current: Pass) -> Iterator[Fetch]:
        for number, indices in walk(self._wrapped, current, draws=self._draws):
            if not self._passes.is_seen():
                yield Fetch(current.fetch_seed(number), indices)


class SeededFetches(Proxy):
    """A map-style data set of whole batches, each read and collated with its seed, in whatever process."""

    _wrapped: Any
    _collate: Any

    def __init__(self, dataset: Any, collate: Any) -> None:
        super().__init__(dataset, _collate=collate)

    def __getitems__(self, fetch: Fetch) -> Any:
        with Seeded(fetch.seed):
            many = getattr(self._wrapped, "__getitems__", None)
            samples = many(fetch.indices) if many else [self._wrapped[index] for index in fetch.indices]
            return self._collate(samples)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, Fetch):
            return self._wrapped[index]
        with Seeded(index.seed):
            return self._collate(self._wrapped[index.indices])


def _as_it_is(batch: Any) -> Any:
    return batch


def has_state(loader: Any) -> bool:
    """Whether a loader can go on from its state; torchdata's can't if its iterable data set has none itself."""
    dataset = getattr(loader, "dataset", None)
    owners = [loader, dataset] if isinstance(dataset, IterableDataset) else [loader]
    names = ("state_dict", "load_state_dict")
    return all(callable(getattr(owner, name, None)) for owner in owners for name in names)


def set_epoch(loader: Any, epoch: int) -> None:
    """Pass the epoch to whatever asks for it, before the order is drawn."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    listeners = [loader, getattr(loader, "dataset", None), getattr(loader, "sampler", None)]
    listeners += [batch_sampler, getattr(batch_sampler, "sampler", None)]
    for listener in {id(each): each for each in listeners}.values():
        if callable(tell := getattr(listener, "set_epoch", None)):
            tell(epoch)


def generators_of(loader: Any) -> list[torch.Generator]:
    """The generators that a loader and its samplers draw from, if they have their own."""
    roots = [getattr(loader, name, None) for name in ("generator", "sampler", "batch_sampler")]
    parts = parts_of(*roots, without=getattr(loader, "dataset", None))
    return [part for part in parts if isinstance(part, torch.Generator)]


def foreign_samplers(loader: Any) -> list[Any]:
    """The samplers of a loader that are not torch's or Lightning's, and so may draw random numbers at any time."""
    roots = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    parts = parts_of(*roots, without=getattr(loader, "dataset", None))
    samplers = [part for part in parts if isinstance(part, Sampler) or any(part is root for root in roots)]
    usual = ("torch.", "torchdata.", "lightning.", "builtins")
    return [each for each in samplers if not f"{type(each).__module__}.".startswith(usual)]
