"""Takes the states of a loader that has one, so that a checkpoint can hold that from before the current batch."""

import io
import time
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Any

import torch

from kindling.train.loaders.parts import parts_of
from kindling.train.loaders.passes import Passes
from kindling.train.messages import warn

PLAIN = (dict, list, tuple, set, str, bytes, int, float, bool, NoneType, torch.Tensor)
SHARE = 0.01  # the share of the time that taking states may cost
AGAIN = "a resume reads again the batches that its epoch has seen; exact with a state of tensors, numbers and strings"
UNFINISHED = "a resume may not repeat the batches of a train loader whose epochs end before it does"
UNFINISHED += "; exact if each epoch goes through all of it, without trainer.limit_train_batches"


@dataclass(frozen=True)
class LoaderState:
    """The state of a loader after some batches."""

    epoch: int
    read: int  # batches of the epoch
    number: int  # of the pass within its epoch
    batch: int  # batches of the pass
    content: dict[str, Any]  # what the loader's `state_dict` gave

    def belongs_to(self, passes: Passes) -> bool:
        """Whether the pass that has just begun can go on from this state."""
        return passes.read == 0 and self.epoch == passes.epoch and self.read <= passes.seen


class LoaderStates:
    """Takes states as often as is cheap: the batches between a state and a checkpoint are read again.

    Lightning draws a batch before a checkpoint is taken, or two if it does not know how many there are: the loader's
    state at that time would lose them.

    Args:
        loader: a loader with `state_dict` and `load_state_dict`.
        passes: the passes through it.
    """

    def __init__(self, loader: Any, passes: Passes) -> None:
        self.loader, self.passes = loader, passes
        self.taken: list[LoaderState] = []  # the last one before the batch being trained, and those after it
        self.batch = 0  # batches of the last pass
        self.next_time = 0.0  # when the next state becomes cheap
        self.usable = True
        self.told = False

    def take_if_cheap(self, batch: int) -> None:
        """Take the state after some batches of a pass, unless the last one was expensive and recent."""
        self.batch = batch
        if time.perf_counter() >= self.next_time:
            current = self.passes.current
            self._take(current.epoch, self.passes.read, current.number, batch)

    def before_next_batch(self) -> dict[str, Any] | None:
        """The newest state before the next batch to train on, for a checkpoint; None if there is none."""
        epoch = self.passes.position.epoch
        if self.passes.epoch == epoch - 1:
            self._take_at_the_end_of_an_epoch(epoch)
        before = self._before_next_batch()
        return asdict(before[-1]) if before else None

    def _take_at_the_end_of_an_epoch(self, next_epoch: int) -> None:
        if self.has_given_all():
            self._take(next_epoch, read=0, number=0, batch=0)
        elif self.passes.read == self.passes.position.trainer.num_training_batches and not self.told:
            self.told = True
            warn(self.passes.position.trainer, UNFINISHED)

    def _before_next_batch(self) -> list[LoaderState]:
        epoch, batch = self.passes.position.epoch, self.passes.position.batch
        return [state for state in self.taken if state.epoch == epoch and state.read <= batch]

    def has_given_all(self) -> bool:
        """Whether the loader has given all batches of the last pass."""
        try:
            return self.passes.complete or self.batch == len(self.loader)
        except (TypeError, NotImplementedError):  # it has no length
            return False

    def _take(self, epoch: int, read: int, number: int, batch: int) -> None:
        if not self.usable:
            return
        begun = time.perf_counter()
        state = self.loader.state_dict()
        try:
            content = as_from_checkpoint(state)
        except Exception:  # objects that can't be saved fail in many ways
            self.usable, self.taken = False, []
            names = [type(part).__name__ for part in parts_of(state) if not isinstance(part, PLAIN)]
            where = f"the train loader's state, which has a {(names or ['hidden object'])[0]} in it"
            warn(self.passes.position.trainer, f"no checkpoint can hold {where}: {AGAIN}")
            return
        later = [state for state in self.taken if state.epoch == epoch and state.read > self.passes.position.batch]
        self.taken = [*self._before_next_batch()[-1:], *later, LoaderState(epoch, read, number, batch, content)]
        now = time.perf_counter()
        self.next_time = now + (now - begun) / SHARE


def as_from_checkpoint(state: dict[str, Any]) -> dict[str, Any]:
    """A copy as a checkpoint would give it back, which takes only tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
