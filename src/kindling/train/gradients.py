"""The gradients of an optimiser, and their length."""

import torch
from torch import Tensor
from torch.optim import Optimizer


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """Length of all gradients: torch's `get_total_norm` takes as long again to sort them by device and type.

    Raises:
        RuntimeError: if they are of several devices or types, sparse, or none at all.
    """
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    return [each.grad for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
