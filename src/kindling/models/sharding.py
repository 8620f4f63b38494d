"""Shares a model's weights out over several processes: what `Model.configure_model` does with ModelParallelStrategy."""

from collections import Counter
from collections.abc import Iterator

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Leave each process a share of every weight, gathered block by block in a step (FSDP; Zhao et al., 2023).

    Blocks are the direct children of the model, and the elements of those that are a list or a sequence. Parameters in
    no block, and those that several share, belong to the model itself.

    Args:
        model: with all its layers; one that is sharded already is left alone.
        mesh: the strategy's, with the dimensions data_parallel and tensor_parallel.

    Raises:
        MisconfigurationException: for tensor parallelism, which each architecture has to arrange for itself.
    """
    if isinstance(model, FSDPModule):
        return
    name = type(model).__name__
    if mesh["tensor_parallel"].size() > 1:
        size = f"tensor_parallel_size is {mesh['tensor_parallel'].size()}"
        raise MisconfigurationException(
            f"{size}, but {name} does not say how its layers are split: set it to 1, or give the model a "
            "configure_model that calls torch's parallelize_module"
        )
    model.to(memory_format=torch.contiguous_format)  # fully_shard takes no other format
    blocks = list(_blocks(model))
    owners = Counter(id(parameter) for block in blocks for parameter in block.parameters())
    for block in blocks:
        if all(owners[id(parameter)] == 1 for parameter in block.parameters()):
            fully_shard(block, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The parts that are gathered one after the other: those with parameters."""
    for child in model.children():
        parts = child.children() if isinstance(child, nn.ModuleList | nn.Sequential) else [child]
        yield from (part for part in parts if any(True for _ in part.parameters()))
