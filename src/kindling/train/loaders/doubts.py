"""Why a training may not go on exactly with a loader, and what would make it exact."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from kindling.train.loaders.parts import parts_of
from kindling.train.loaders.wrappers import foreign_samplers, has_state

OWN_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)


def comes_from(model: nn.Module, loader: Any) -> bool:
    """Whether a loader's batches come from the model that trains on them, as an agent's do."""
    modules = {id(module) for module in model.modules()}
    return any(id(part) in modules for part in parts_of(loader))


def doubts(loader: Any, model: nn.Module) -> Iterator[str]:
    """What can't be promised of a loader that is not Kindling's, one sentence for each doubt."""
    if comes_from(model, loader):
        yield "its batches come from the model, which no loader can make exact"
        return
    dataset = getattr(loader, "dataset", None)
    name = type(dataset).__name__
    for sampler in foreign_samplers(loader):
        yield (
            f"its {type(sampler).__name__} may keep a state from epoch to epoch; "
            "exact if its order depends only on set_epoch or on torch's global generator"
        )
    if any(isinstance(part, OWN_GENERATORS) for part in parts_of(dataset, getattr(loader, "collate_fn", None))):
        yield f"its {name} has a random generator of its own; exact with the global ones of torch, NumPy and Python"
    if not isinstance(loader, DataLoader) or loader.num_workers == 0:
        return
    if has_state(loader):
        yield "the random numbers of its workers are not in its state; exact with num_workers=0"
    if loader.persistent_workers and isinstance(dataset, IterableDataset):
        yield "its workers keep their state from epoch to epoch; exact with persistent_workers=False"
    elif loader.persistent_workers and hasattr(dataset, "set_epoch"):
        yield f"its workers don't see the set_epoch of its {name}; exact with persistent_workers=False"
    if not getattr(loader, "in_order", True):
        yield "its batches come in the order in which its workers finish; exact with in_order=True"
