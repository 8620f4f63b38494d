"""Muon, an optimiser: `--model.optimizer Muon --model.optimizer.lr 0.05`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Newton-Schulz iterations of this odd polynomial bring every singular value near 1 (to about 0.7 … 1.2) in five rounds.
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrix: Tensor, rounds: int = 5) -> Tensor:
    """Bring the singular values of a matrix (M, N) near 1 and keep its singular vectors.

    X ← A·X + B·(XXᵀ)X + C·(XXᵀ)²X multiplies X by a polynomial of XXᵀ. So only the small product is iterated, which
    takes a third of the time for the weights of convolutions; in float32, since it squares the singular values: with
    fewer digits some would come out negative, and grow.
    """
    if len(matrix) > matrix.shape[1]:
        return orthogonalize(matrix.T, rounds).T
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    gram = exact @ exact.T  # (M, M), M ≤ N
    norm = gram.trace().sqrt().clamp(min=1e-7)
    gram = gram / norm**2
    product = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / norm  # of the polynomials of all rounds
    for _ in range(rounds):
        factor = torch.addmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal().add_(A)
        product = factor @ product
        gram = factor @ gram @ factor
    return (product @ exact).to(matrix.dtype)


class Muon(Optimizer):
    """Momentum, with each layer's update brought near an orthogonal matrix (Jordan et al., 2024).

    So a step moves all directions of a weight alike, and a small network needs fewer of them. The weight of a layer is
    a matrix, outputs × all else; a bias or norm, as a matrix of one row, gets an update of norm 1. torch's Muon, in
    contrast, takes neither convolutions nor biases.

    Args:
        params: parameters, or groups of them.
        lr: learning rate; the update's singular values, so that it doesn't depend on a layer's size.
        momentum: share of the old update in the new; Nesterov's.
        weight_decay: share of the weights taken off in a step, times the learning rate.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(self, params: Any, lr: float = 0.05, momentum: float = 0.95, weight_decay: float = 0.02) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"lr is {lr}, momentum is {momentum}, weight_decay is {weight_decay}: "
                "expected at least 0, and a momentum in [0, 1)"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure:
            with torch.enable_grad():
                loss = closure()
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # no TF32 in `orthogonalize`
        try:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, parameter.grad, group)
        finally:
            torch.set_float32_matmul_precision(precision)
        return loss

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        lr, momentum, weight_decay = group["lr"], group["momentum"], group["weight_decay"]
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        buffer = state["momentum_buffer"].mul_(momentum).add_(grad)
        update = grad.add(buffer, alpha=momentum)
        matrix = update.flatten(1) if update.dim() > 1 else update.view(1, -1)
        if len(matrix) > 1:
            rows, columns = matrix.shape
            update = orthogonalize(matrix).view_as(update) * max(1, rows / columns) ** 0.5
        else:
            update = update / update.norm().clamp(min=1e-7)
        parameter.mul_(1 - lr * weight_decay).add_(update, alpha=-lr)
