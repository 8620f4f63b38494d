"""The gradients of one optimiser step, whose norm is computed once for all that ask for it."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kindling.models.shares import whole


class Gradients:
    """The gradients that an optimiser is about to step by.

    The training loop makes one for each step, and calls `forget` after every hook that may have changed a gradient:
    all but those of callbacks with `keeps_gradients = True`.

    Args:
        optimizer: the optimiser whose gradients they are.
        are_of_the_loop: whether the training loop steps by them next, as they are or clipped.
    """

    def __init__(self, optimizer: Optimizer, are_of_the_loop: bool = False) -> None:
        self.optimizer, self.are_of_the_loop = optimizer, are_of_the_loop
        self.forget()

    def forget(self) -> None:
        """Compute everything anew when it is next asked for."""
        self._parameters: list[nn.Parameter] | None = None
        self._tensors: list[Tensor] | None = None
        self._norms: Tensor | None = None
        self._norm: Tensor | None = None
        self._length: float | None = None
        self._alike = True  # whether all are dense and on one device

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that have a gradient."""
        if self._parameters is None:
            groups = self.optimizer.param_groups
            self._parameters = [each for group in groups for each in group["params"] if each.grad is not None]
        return self._parameters

    @property
    def tensors(self) -> list[Tensor]:
        """The gradients of these parameters."""
        if self._tensors is None:
            self._tensors = [each.grad for each in self.parameters if each.grad is not None]
        return self._tensors

    @property
    def norms(self) -> Tensor:
        """Norm of each gradient, (P,), on the device of the first."""
        if self._norms is None:
            self._norms = self._compute_norms()
        return self._norms

    @property
    def norm(self) -> Tensor:
        """Norm of all gradients together: a scalar on the device of the first."""
        if self._norm is None:
            self._norm = torch.linalg.vector_norm(self.norms)
        return self._norm

    @property
    def length(self) -> float:
        """The norm as a number, which makes Python wait until a GPU has finished the backward pass."""
        if self._length is None:
            self._length = self.norm.item()
        return self._length

    @property
    def are_finite(self) -> bool:
        return math.isfinite(self.length) or all(map(is_finite, self.tensors))  # the norm of finite ones can overflow

    @property
    def can_clip(self) -> bool:
        """Whether the norm has been computed already, so that `clip` saves time."""
        return self._norm is not None and self._alike

    def clip(self, limit: float) -> None:
        """Scale them down to a norm of `limit`: bit for bit as Lightning, which also multiplies by one."""
        if self._length is None or not self._length + 1e-6 < limit:
            torch._foreach_mul_(self.tensors, (limit / (self.norm + 1e-6)).clamp(max=1.0))
            self.forget()

    def _compute_norms(self) -> Tensor:
        if not self.tensors:
            return torch.zeros(0)
        try:  # torch's get_total_norm gives the same bits, but takes twice as long, since it sorts by device and type
            return whole(torch.stack(torch._foreach_norm(self.tensors)))
        except (RuntimeError, NotImplementedError):
            self._alike = False
            dense = [each.coalesce().values() if each.is_sparse else each for each in self.tensors]
            return torch.stack([torch.linalg.vector_norm(each).to(dense[0].device) for each in dense])


def gradients_of(trainer: Any, optimizer: Optimizer) -> Gradients:
    """The Gradients that the training loop shares in this step; a new object where the loop shares none."""
    shared = getattr(trainer.fit_loop.epoch_loop, "gradients", None)
    return shared if shared is not None and shared.optimizer is optimizer else Gradients(optimizer)


def is_finite(values: Tensor) -> bool:
    """Whether a tensor, which may be sparse, contains neither NaN nor infinity."""
    return bool(whole((values * 0).sum()) == 0)
