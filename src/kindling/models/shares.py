"""Tensors that are shared out over processes, torch's DTensor: each process has a part."""

from typing import Any

from torch import Tensor


def is_shared_out(tensor: Tensor) -> bool:
    """Whether it is a DTensor; not judged by its class, which not every build of torch has."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """All of a tensor, which all processes have to ask for at once; a tensor that is not shared out, as it is."""
    return tensor.full_tensor() if is_shared_out(tensor) else tensor


def own_share(tensor: Any) -> Tensor:
    """This process's part of a tensor; all of it if it is not shared out."""
    return tensor.to_local() if is_shared_out(tensor) else tensor
