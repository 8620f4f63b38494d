"""Whole batches: from memory or from disk, in an order that depends on the seed and the epoch alone."""

import errno
import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.utilities.seed import pl_worker_init_function
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from kindling.data.position import Position, run_seed

GATHERED = 2**18  # numbers that a loader gathers at once: for more, the system hands out new memory each time
PRELOADED = ("kindling.data.base", "torchvision.transforms.v2")  # with torch and Lightning
GPU_SHARE = 0.25  # of a GPU's free memory that a data set may take


class Batches(Dataset):
    """Samples by whole batches: positions (B,) in `indices` → inputs (B, *input_shape), …, targets.

    Args:
        *tensors: inputs (also LazyInputs), lengths if they are padded sequences, and targets, of all splits.
        indices: of the samples of this split.
        transform: turns raw inputs (and lengths) into the model's; None if they are the model's already.
    """

    def __init__(self, *tensors: Any, indices: Tensor, transform: Callable[..., Tensor] | None = None) -> None:
        self.tensors, self.indices, self.transform = tensors, indices, transform

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, ...]:
        indices = self.indices[positions]
        inputs, *others = (tensor[indices] for tensor in self.tensors)
        if self.transform:
            inputs = self.transform(inputs, *others[:-1])
        return inputs, *others


class BatchIndices(DistributedSampler):
    """Yields the indices of whole batches. The order depends on the seed of the run and the epoch, and on nothing else.

    With several processes each takes every n-th sample; in training all take the same number.

    Args:
        size: number of samples.
        batch_size: samples per batch.
        shuffle: whether to draw an order and leave out the last, smaller batch, as in training.
        position: where the training is: in which epoch, and how many of its batches it saw before an interruption.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, position: Position | None = None) -> None:
        distributed = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if distributed else 0
        self.num_replicas = dist.get_world_size() if distributed else 1
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed = run_seed()
        self.epoch = 0  # without a position: Lightning calls set_epoch
        self.position = position

    def take_position(self) -> int:
        """Take up the epoch of the training, and say how many of its batches have been seen."""
        if not self.position:
            return 0
        self.epoch = self.position.epoch  # on a resume Lightning calls set_epoch too late (its issue 21938)
        return self.position.seen

    def order(self) -> Tensor:
        """The indices of the epoch's batches, one after the other."""
        seen = self.take_position()
        indices = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
            indices = torch.randperm(self.size, generator=generator)
        own = indices[self.rank :: self.num_replicas]
        return own[self.batch_size * seen : self.batch_size * len(self)]

    def __iter__(self) -> Iterator[Tensor]:
        yield from self.order().split(self.batch_size)

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, self.size // self.num_replicas // self.batch_size)
        return -(-len(range(self.rank, self.size, self.num_replicas)) // self.batch_size)


class MemoryLoader(DataLoader):
    """Loads `Batches` of tensors without workers or transform: several are gathered at once, and then cut.

    A DataLoader gathers each by itself, which takes three times as long. Tensors can lie on a GPU: see `on_gpu`.
    """

    dataset: Batches
    sampler: BatchIndices

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:  # type: ignore[override]
        size, tensors = self.sampler.batch_size, self.dataset.tensors
        batches = max(1, GATHERED // (size * math.prod(tensors[0].shape[1:])))
        order, device = self.dataset.indices[self.sampler.order()], tensors[0].device
        for indices in order.to(device).split(size * batches):
            parts = [tensor.index_select(0, indices) for tensor in tensors]
            if self.pin_memory and device.type == "cpu":
                parts = [part.pin_memory() for part in parts]
            yield from zip(*(part.split(size) for part in parts), strict=True)


def on_gpu(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors on a GPU if all fit there, so that no batch has to be moved there; otherwise as they are."""
    if device.type != "cuda":
        return tensors
    free, _ = torch.cuda.mem_get_info(device)
    fits = sum(tensor.nbytes for tensor in tensors) <= GPU_SHARE * free
    return [tensor.to(device) for tensor in tensors] if fits else tensors


def batch_size_of(batch: Any) -> int:
    """The number of samples in a batch: the length of the last tensor in it; 0 if there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    parts = list(batch.values()) if isinstance(batch, dict) else batch
    if not isinstance(parts, list | tuple):
        return 0
    return next((size for part in reversed(parts) if (size := batch_size_of(part))), 0)


def of_workers(count: int) -> dict[str, Any]:
    """A loader's options for its worker processes.

    Where a server forks them, as from Python 3.14 on in Linux, it imports once what each would import in seconds.
    """
    if count and multiprocessing.get_start_method() == "forkserver":
        multiprocessing.set_forkserver_preload(["__main__", *PRELOADED])
    return {"num_workers": count, "persistent_workers": count > 0, "worker_init_fn": start_worker}


def start_worker(worker_id: int) -> None:
    """Prepare a worker process of a loader: seed it as Lightning does, and let it end when it is told to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all, and the main process finishes its step first
    if hasattr(signal, "sigwaitinfo"):  # Linux
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, daemon=True).start()
    Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]
    pl_worker_init_function(worker_id)


def _end_when_told() -> None:
    """End at a SIGTERM from the main process; one that a cluster sends to all is for the main process."""
    main = multiprocessing.parent_process()
    while main and signal.sigwaitinfo({signal.SIGTERM}).si_pid != main.pid:
        pass
    os._exit(0)


def _end_worker(error: BaseException, batch: Any) -> None:
    """End this process rather than lose a batch that can't be handed over, for which torch would wait for ever."""
    full = "(shm)" in str(error)
    if not full:
        traceback.print_exception(error)
    os._exit(errno.ENOSPC if full else 1)
