"""Asks a GPU whether a step is fine, without waiting for the answer."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

READ_FOUND_INF = (Adam, AdamW, SGD, Adagrad)  # in their fused form
ASYNCHRONOUS = {"cuda"}  # devices that are still at work when Python goes on


def can_leave_out(optimizer: Optimizer, device: torch.device) -> bool:
    """Whether the device can skip a step of this optimiser by itself, which is worth it if Python runs ahead."""
    if device.type not in ASYNCHRONOUS or type(optimizer) not in READ_FOUND_INF:
        return False
    return all(group.get("fused") for group in optimizer.param_groups)


class LateAnswer:
    """Whether the losses and gradients of a step are finite, as a GPU finds out while Python goes on.

    If they are not, the optimiser's kernel skips the step: it reads `found_inf`, as with torch's GradScaler. Asking a
    step later costs no time, since by then the GPU has long computed the answer.

    Args:
        optimizer: the one that is about to step; see `can_leave_out`.
        norm: the norm of its gradients, a scalar; one that is too large for its type counts as infinite.
        losses: the scalars that the gradients come from.
    """

    def __init__(self, optimizer: Any, norm: Tensor, losses: list[Tensor]) -> None:
        total = sum(losses, norm).float()
        self.found_inf = torch.nan_to_num(total * 0, nan=1.0)  # 0 or 1: zero times infinity is NaN
        self.optimizer = optimizer
        self.optimizer.found_inf = self.found_inf
        self.answer = self.found_inf.to("cpu", non_blocking=True)
        self.copied = torch.cuda.Event() if norm.is_cuda else None
        if self.copied:
            self.copied.record()

    def take(self) -> bool:
        """Whether the step was fine. From now on the optimiser skips none, until the next answer is asked for."""
        self.optimizer.found_inf = None
        if self.copied:
            self.copied.synchronize()
        return not self.answer.item()

    def restore_unless_fine(self, tensors: list[Tensor], before: list[Tensor]) -> None:
        """Set tensors that the step may have changed back to what they were, also on the device."""
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(torch.where(self.found_inf > 0, old, tensor))
