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

import numpy as np
import torch
import torch.distributed as dist
from lightning.fabric.utilities.seed import pl_worker_init_function
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from kindling.data.position import Position, run_seed

CHUNK = 2**22  # numbers that are held at once while statistics are taken
GATHERED = 2**18  # numbers that a loader gathers at once: more are memory that the system hands out anew each time
GPU_SHARE = 0.25  # of a GPU's free memory that a data set may take


def rows(inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """All positions of vectors, sequences (without their padding) or images as rows of features: (M, F)."""
    if inputs.dim() == 4:
        return inputs.transpose(0, 1).flatten(1).T
    if lengths is not None:
        return inputs[torch.arange(inputs.shape[1]) < lengths[:, None]]
    return inputs.flatten(0, -2)


class MappedArray:
    """Arrays (N, …) one after the other, which are read when a batch asks for them: like a tensor, by samples.

    Memory-mapped ones can be larger than the memory.

    Args:
        *arrays: of the same shape and type but for their lengths.
        arrange: brings a batch of them to (B, *input_shape), such as channels first; None if they have that shape.
        names: what a user calls each of them; None for inputs.
    """

    def __init__(
        self, *arrays: Any, arrange: Callable[[Tensor], Tensor] | None = None, names: list[str] | None = None
    ) -> None:
        self.arrays, self.arrange, self.names = arrays, arrange, names or ["inputs"] * len(arrays)
        self.ends = np.cumsum([len(array) for array in arrays])
        first = self[torch.arange(int(self.ends[-1] > 0))]
        self.shape, self.dtype = (int(self.ends[-1]), *first.shape[1:]), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Tensor) -> Tensor:
        rows = indices.numpy()
        batch = np.empty((len(rows), *self.arrays[0].shape[1:]), self.arrays[0].dtype.newbyteorder("="))
        for array, end in zip(self.arrays, self.ends, strict=True):
            inside = (rows < end) & (rows >= end - len(array))
            batch[inside] = array[rows[inside] - (end - len(array))]
        return self.arrange(torch.from_numpy(batch)) if self.arrange else torch.from_numpy(batch)

    def statistics(self, indices: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standard deviation and mean of each feature or channel over some samples; uint8 is taken for 0 to 1."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for part in indices.sort().values.split(max(1, CHUNK // math.prod(self.shape[1:]))):
            features = rows(self[part], None if lengths is None else lengths[part]).double()  # (M, F)
            count += len(features)
            total, squares = total + features.sum(dim=0), squares + features.square().sum(dim=0)
        deviation = ((squares - total.square() / count).clamp_min(0) / max(1, count - 1)).sqrt()
        unit = 255 if self.dtype == torch.uint8 else 1
        return deviation / unit, total / count / unit

    def place_of(self, index: int) -> str:
        """A sample by the name of its array and its number there, such as `x_val, sample 3 (from 0)`."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        start = self.ends[number] - len(self.arrays[number])
        return f"{self.names[number]}, sample {index - start} (from 0)"

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process, which maps a file itself rather than get a copy of it all."""

        def place(array: Any) -> Any:
            order = "C" if array.flags.c_contiguous else "F"
            return array.filename, array.dtype, "r", array.offset, array.shape, order

        return {**vars(self), "arrays": [place(a) if isinstance(a, np.memmap) else a for a in self.arrays]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.arrays = tuple(np.memmap(*array) if isinstance(array, tuple) else array for array in self.arrays)


def first_non_finite(inputs: Tensor | MappedArray, indices: Tensor) -> int | None:
    """The first of some samples that holds NaN or infinity; None if none does."""
    if not inputs.dtype.is_floating_point:
        return None
    for part in indices.split(max(1, CHUNK // max(1, math.prod(inputs.shape[1:])))):
        is_fine = inputs[part].isfinite().flatten(1).all(dim=1)
        if not is_fine.all():
            return int(part[~is_fine][0])
    return None


class Batches(Dataset):
    """Samples by whole batches: positions (B,) in `indices` → inputs (B, *input_shape), …, targets.

    Args:
        *tensors: inputs (also a MappedArray), lengths if they are padded sequences, and targets, of all splits.
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

    With several processes each takes every n-th sample; in training all take equally many.

    Args:
        size: number of samples.
        batch_size: samples a batch.
        shuffle: whether to draw an order and leave out the last, smaller batch, as in training.
        position: of a training, whose epoch it is; one that goes on after an interruption has seen some of its batches.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, position: Position | None = None) -> None:
        distributed = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if distributed else 0
        self.num_replicas = dist.get_world_size() if distributed else 1
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed = run_seed()
        self.epoch = 0  # without a position: Lightning calls set_epoch
        self.position = position

    def order(self) -> Tensor:
        """The indices of the epoch's batches, one after the other."""
        seen = 0
        if self.position:  # on a resume Lightning calls set_epoch too late (its issue 21938)
            self.epoch, seen = self.position.epoch, self.position.seen
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
    """Tensors on a GPU if all fit there, so that no batch has to be brought there; otherwise as they are."""
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


def start_worker(worker_id: int) -> None:
    """Prepare a worker process of a loader: random numbers as Lightning seeds them, and an end when it has to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all, and the main process finishes its step first
    if hasattr(signal, "sigwaitinfo"):  # Linux
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, daemon=True).start()
    Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]
    pl_worker_init_function(worker_id)


def _end_when_told() -> None:
    """End at a SIGTERM from the main process; one that a cluster sends to all processes is for that one."""
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
