"""The loaders of a training: those that are not Kindling's are wrapped, so that a resume goes on with the same batches.

Kindling's own            left alone: its order depends on the seed and the epoch, and it leaves seen batches out
map-style DataLoader      its order is drawn again, without reading what was seen
with `state_dict`         goes on from its state before the batch being trained
any other                 is read again up to the batch being trained
"""

from typing import Any

import lightning as L
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, IterableDataset

from kindling.data.batches import BatchIndices
from kindling.data.position import Position
from kindling.train.loaders.doubts import comes_from, doubts
from kindling.train.loaders.passes import EvaluationPasses, Passes
from kindling.train.loaders.transfers import seed_transfers
from kindling.train.loaders.wrappers import ForeignLoader, PlacedLoader, ReplayedLoader, StatefulLoader, has_state
from kindling.train.messages import warn


class Loaders:
    """Wraps the loaders of a trainer, and keeps their states for a checkpoint.

    Args:
        trainer: Lightning has its strategy process every loader before the first `iter`.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self.trainer, self.position = trainer, Position(trainer)
        self.prepared_at: tuple[int, int] | None = None  # epoch and batch
        self.saved: list[Any] = []  # the states from the checkpoint
        self.said: set[str] = set()
        trainer.strategy.process_dataloader = self.process  # type: ignore[assignment,method-assign]

    def process(self, loader: Any) -> Any:
        """Replace a loader by a wrapper, unless it is Kindling's own, and let the strategy process the result."""
        strategy = self.trainer.strategy
        if self.trainer.training:
            self.prepared_at = self.position.epoch, self.position.batch
            seed_transfers(self.trainer)
        if not is_own(loader) and not self.trainer.predicting:
            loader = self._for_training(loader) if self.trainer.training else self._for_evaluation(loader)
        return type(strategy).process_dataloader(strategy, loader)

    def _for_training(self, loader: Any) -> ForeignLoader:
        model = self.trainer.lightning_module
        for doubt in doubts(loader, model):
            self._say(f"a resume may not repeat the batches of the train loader: {doubt}")
        passes = Passes(self.position, replays=not comes_from(model, loader))
        if has_state(loader):
            return StatefulLoader(loader, passes, self._saved_state)
        return PlacedLoader(loader, passes) if can_be_placed(loader) else ReplayedLoader(loader, passes)

    def _for_evaluation(self, loader: Any) -> ForeignLoader:
        passes = EvaluationPasses(self.position)
        return PlacedLoader(loader, passes) if can_be_placed(loader) else ReplayedLoader(loader, passes)

    def _say(self, sentence: str) -> None:
        if sentence not in self.said and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.said.add(sentence)
            warn(self.trainer, sentence)

    def train_loaders(self) -> list[Any]:
        """The loaders that are trained on: more than one if they are combined."""
        return CombinedLoader(self.trainer.train_dataloader).flattened

    def layout(self) -> list[Any]:
        """What a batch's number depends on: with another batch size or number of processes it means other samples."""
        sizes = [samples_per_batch(loader) for loader in self.train_loaders()]
        return [sizes[0] if len(sizes) == 1 else sizes, self.trainer.world_size]

    def states(self) -> list[Any]:
        """The loaders' states before the next batch to train on, in this process; None for a loader without one."""
        loaders = self.train_loaders()
        return [each.before_next_batch() if type(each) is StatefulLoader else None for each in loaders]

    def _saved_state(self, loader: StatefulLoader) -> dict[str, Any] | None:
        """A loader's state from the checkpoint; None if that has none."""
        index = next(index for index, each in enumerate(self.train_loaders()) if each is loader)
        return self.saved[index] if index < len(self.saved) else None

    def start_again_if_too_early(self) -> None:
        """Call `iter` again where it was called before the checkpoint's counters were restored.

        A model that asks for `estimated_stepping_batches` in `configure_optimizers` makes Lightning do so.
        """
        if self.prepared_at != (self.position.epoch, self.position.batch):
            iter(self.trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]


def is_own(loader: Any) -> bool:
    return isinstance(getattr(loader, "sampler", None), BatchIndices)


def can_be_placed(loader: Any) -> bool:
    """Whether the indices of a loader's batches are available without reading the batches."""
    return (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and not isinstance(loader.dataset, IterableDataset)
    )


def samples_per_batch(loader: Any) -> Any:
    """The size of a loader's batches, if known; for an iterable data set also how many workers share it."""
    samplers = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    sizes = [getattr(each, "batch_size", None) for each in (loader, *samplers)]
    size = next((size for size in sizes if isinstance(size, int)), None)
    workers = getattr(loader, "num_workers", 0)
    return [size, workers] if workers and isinstance(getattr(loader, "dataset", None), IterableDataset) else size
