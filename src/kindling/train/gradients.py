"""The gradients of one step of an optimiser, whose length is computed once for all who ask."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kindling.models.shares import whole


class Gradients:
    """The gradients that an optimiser is about to step by.

    The training loop makes one for each step, and calls `forget` after a hook that may have changed a gradient,
    which are all but those of callbacks with `keeps_gradients = True`.

    Args:
        optimizer: whose gradients they are.
        are_of_the_loop: whether the training loop steps by them next, as they are or clipped.
    """

    def __init__(self, optimizer: Optimizer, are_of_the_loop: bool = False) -> None:
        self.optimizer, self.are_of_the_loop = optimizer, are_of_the_loop
        self.forget()

    def forget(self) -> None:
        """Look at the gradients anew when they are next asked for."""
        self._parameters: list[nn.Parameter] | None = None
        self._tensors: list[Tensor] | None = None
        self._norms: Tensor | None = None
        self._norm: Tensor | None = None
        self._length: float | None = None
        self._alike = True  # of one device and dense

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that have a gradient."""
        if self._parameters is None:
            groups = self.optimizer.param_groups
            self._parameters = [each for group in groups for each in group["params"] if each.grad is not None]
        return self._parameters

    @property
    def tensors(self) -> list[Tensor]:
        """Their gradients."""
        if self._tensors is None:
            self._tensors = [each.grad for each in self.parameters if each.grad is not None]
        return self._tensors

    @property
    def norms(self) -> Tensor:
        """Length of each gradient, (P,), on the device of the first."""
        if self._norms is None:
            self._norms = self._compute_norms()
        return self._norms

    @property
    def norm(self) -> Tensor:
        """Length of all gradients together: a scalar on the device of the first."""
        if self._norm is None:
            self._norm = torch.linalg.vector_norm(self.norms)
        return self._norm

    @property
    def length(self) -> float:
        """The norm as a number, for which a GPU has to finish the backward pass."""
        if self._length is None:
            self._length = self.norm.item()
        return self._length

    @property
    def are_finite(self) -> bool:
        return math.isfinite(self.length) or all(map(is_finite, self.tensors))  # the length of finite ones can overflow

    @property
    def can_clip(self) -> bool:
        """Whether somebody has asked for the length, so that `clip` is a gain."""
        return self._norm is not None and self._alike

    def clip(self, limit: float) -> None:
        """Scale them down to a length of `limit`: to the bit as Lightning does, which multiplies by one as well."""
        if self._length is None or not self._length + 1e-6 < limit:
            torch._foreach_mul_(self.tensors, (limit / (self.norm + 1e-6)).clamp(max=1.0))
            self.forget()

    def _compute_norms(self) -> Tensor:
        if not self.tensors:
            return torch.zeros(0)
        try:  # torch's get_total_norm has the same bits, and takes as long again to sort them by device and type
            return whole(torch.stack(torch._foreach_norm(self.tensors)))
        except (RuntimeError, NotImplementedError):
            self._alike = False
            dense = [each.coalesce().values() if each.is_sparse else each for each in self.tensors]
            return torch.stack([torch.linalg.vector_norm(each).to(dense[0].device) for each in dense])


def gradients_of(trainer: Any, optimizer: Optimizer) -> Gradients:
    """Those that the training loop shares in this step; new ones where a loop shares none."""
    shared = getattr(trainer.fit_loop.epoch_loop, "gradients", None)
    return shared if shared is not None and shared.optimizer is optimizer else Gradients(optimizer)


def is_finite(values: Tensor) -> bool:
    """Whether a tensor, which can be sparse, holds neither NaN nor infinity."""
    return bool(whole((values * 0).sum()) == 0)
