"""Where a training is, and the random numbers that belong to that place: the same whenever it is reached."""

import hashlib
import os
import random
from typing import Any

import lightning as L
import numpy as np
import torch

NUMPY: Any = np.random  # its type hints leave out two functions


def run_seed() -> int:
    return int(os.environ.get("PL_GLOBAL_SEED", 0))  # Lightning's name for the seed of the run


class Position:
    """The one place that reads Lightning's counters, which have a batch half counted between its transfer and its end.

    Args:
        trainer: of the training; may still be at its start, or not have restored its checkpoint yet.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self.trainer = trainer

    @property
    def seed(self) -> int:
        return run_seed()

    @property
    def rank(self) -> int:
        """Which share of the data this process trains on; the same in processes that train parts of one model."""
        return int((self.trainer.distributed_sampler_kwargs or {}).get("rank", 0))

    @property
    def epoch(self) -> int:
        """How many epochs are over: the number of the one in progress, from 0."""
        return self._epochs.processed

    @property
    def batch(self) -> int:
        """How many batches of the epoch in progress were trained: the number of the next one, from 0."""
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return batches.processed if self._epochs.ready > self._epochs.processed else 0

    @property
    def seen(self) -> int:
        """How many batches of this epoch were trained before an interruption, which a loader now skips."""
        return self.batch if self.trainer.fit_loop.epoch_loop.restarting else 0

    @property
    def _epochs(self) -> Any:
        return self.trainer.fit_loop.epoch_progress.current

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Seed, epoch, batch and process, by which the random changes of a batch are seeded."""
        return self.seed, self.epoch, self.batch, self.rank


def seed_of(*place: int | str) -> int:
    """A seed of 64 bits: the same for the same place, and unlike that of any other. It takes 1 µs."""
    return int.from_bytes(hashlib.blake2b(repr(place).encode(), digest_size=8).digest(), "little")


class Seeded:
    """Inside, torch, NumPy and Python draw from a seed; afterwards they go on as if nothing had been drawn.

    It is entered for every batch and takes 35 µs: `torch.manual_seed`, which looks for devices, would take 340 µs, and
    `np.random.get_state` with `set_state` 160 µs. So NumPy gets another generator meanwhile, which makes it forget
    the second of two normal numbers if it has one in store: see `forget_normal_number`.

    Args:
        seed: any integer from 0 to 2⁶⁴ - 1.
        device: an accelerator whose generator is seeded too; None for none.
    """

    numpy_inside = np.random.MT19937(0)

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        self.seed = seed
        self.accelerator = torch.get_device_module(device) if device and device.type != "cpu" else None

    def __enter__(self) -> None:
        self.python, self.torch = random.getstate(), torch.default_generator.get_state()
        self.numpy = NUMPY.get_bit_generator()
        NUMPY.set_bit_generator(self.numpy_inside)
        random.seed(self.seed)
        np.random.seed(self.seed % 2**32)
        torch.default_generator.manual_seed(self.seed)
        if self.accelerator:
            self.on_device = self.accelerator.get_rng_state()
            self.accelerator.manual_seed(self.seed)

    def __exit__(self, *_: object) -> None:
        random.setstate(self.python)
        NUMPY.set_bit_generator(self.numpy)
        torch.default_generator.set_state(self.torch)
        if self.accelerator:
            self.accelerator.set_rng_state(self.on_device)


def forget_normal_number() -> None:
    """Do to NumPy what `Seeded` does, so that a training draws the same where other processes load its batches."""
    NUMPY.set_bit_generator(NUMPY.get_bit_generator())


def generator_states() -> dict[str, Any]:
    """The states of all random generators, of the processor and of GPUs, in tensors and plain values."""
    version, integers, gauss = random.getstate()
    name, words, *rest = NUMPY.get_state()
    return {
        "python": (version, torch.from_numpy(np.array(integers, dtype="int64")), gauss),
        "numpy": (name, torch.from_numpy(words.astype("int64")), *rest),
        "torch": torch.get_rng_state(),
        "torch.cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "torch.mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,  # Apple's
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Bring back what `generator_states` has kept, for as many CUDA devices as there are now."""
    version, integers, gauss = states["python"]
    random.setstate((version, tuple(integers.tolist()), gauss))
    name, words, *rest = states["numpy"]
    np.random.set_state((name, words.numpy(), *rest))
    torch.set_rng_state(states["torch"])
    torch.cuda.set_rng_state_all(states["torch.cuda"][: torch.cuda.device_count()])
    if states.get("torch.mps") is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["torch.mps"])
