"""Moves batches to the device that trains on them."""

from functools import cache
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch on the device.

    Tensors are copied to a GPU while it computes the previous step, if a loader has pinned them.
    """
    is_plain = type(batch) in (tuple, list) and all(isinstance(part, Tensor) for part in batch)
    if is_plain and type(batch) is tuple and all(part.device == device for part in batch):
        return batch  # unlike a list, a tuple can't be changed by a step
    if not is_plain or device.type != "cuda":
        return move_data_to_device(batch, device)
    computing, copying = torch.cuda.current_stream(device), _copy_stream(device)
    with torch.cuda.stream(copying):
        batch = move_data_to_device(batch, device)
    computing.wait_stream(copying)
    for part in batch:
        part.record_stream(computing)  # its memory is free for another copy only once the step is over
    return batch


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
