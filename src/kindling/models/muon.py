"""Muon, an optimiser: `--model.optimizer Muon --model.optimizer.lr 0.05`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Newton-Schulz iterations of this odd polynomial bring every singular value near 1 (to about 0.7 … 1.2) in five rounds.
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrix: Tensor, rounds: int = 5) -> Tensor:
    """Bring the singular values of a matrix (M, N) near 1 and keep its singular vectors."""
    return orthogonalize_all([matrix], rounds)[0]


def orthogonalize_all(matrices: list[Tensor], rounds: int = 5) -> list[Tensor]:
    """Orthogonalise matrices (M, N), those with the same smaller side together: it takes a GPU as long as one does.

    X ← A·X + B·(XXᵀ)X + C·(XXᵀ)²X multiplies X by a polynomial of XXᵀ. So only the small product is iterated, which
    takes a third of the time for the weights of convolutions; in float32, since it squares the singular values: with
    fewer digits some would come out negative and grow.
    """
    wide = [matrix.T if len(matrix) > matrix.shape[1] else matrix for matrix in matrices]
    exact = [matrix.to(torch.promote_types(matrix.dtype, torch.float32)) for matrix in wide]
    found: list[Tensor] = [*exact]
    for positions in _alike(exact):
        grams = torch.stack([exact[position] @ exact[position].T for position in positions])  # (G, M, M), M ≤ N
        for position, product in zip(positions, _polynomial(grams, rounds), strict=True):
            result = (product @ exact[position]).to(matrices[position].dtype)
            found[position] = result if wide[position] is matrices[position] else result.T
    return found


def _alike(matrices: list[Tensor]) -> list[list[int]]:
    """The positions of matrices that can be iterated together."""
    groups: dict[Any, list[int]] = {}
    for position, matrix in enumerate(matrices):
        groups.setdefault((len(matrix), matrix.dtype, matrix.device), []).append(position)
    return list(groups.values())


def _polynomial(grams: Tensor, rounds: int) -> Tensor:
    """What orthogonalises X, from XXᵀ: (G, M, M) → (G, M, M)."""
    norms = torch.stack([gram.trace() for gram in grams]).sqrt().clamp(min=1e-7)[:, None, None]
    grams = grams / norms**2
    product = torch.eye(grams.shape[1], dtype=grams.dtype, device=grams.device) / norms  # of the factors of all rounds
    for _ in range(rounds):
        factor = torch.baddbmm(grams, grams, grams, beta=B, alpha=C)
        factor.diagonal(dim1=1, dim2=2).add_(A)
        product = factor @ product
        grams = factor @ grams @ factor
    return product


class Muon(Optimizer):
    """Momentum, with each layer's update brought near an orthogonal matrix (Jordan et al., 2024).

    So a step moves all directions of a weight alike, and a small network needs fewer steps. The weight of a layer is
    a matrix, outputs × all else; a bias or norm, as a matrix of one row, gets an update of norm 1. torch's Muon, in
    contrast, takes neither convolutions nor biases.

    Args:
        params: parameters, or groups of them.
        lr: learning rate; the update's singular values, so that it doesn't depend on a layer's size.
        momentum: share of the old update in the new one; Nesterov's.
        weight_decay: share of the weights taken off in a step, multiplied by the learning rate.

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
                self._update(group)
        finally:
            torch.set_float32_matmul_precision(precision)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        lr, momentum, weight_decay = group["lr"], group["momentum"], group["weight_decay"]
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not parameters:
            return
        gradients = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        updates = _directions(torch._foreach_add(gradients, buffers, alpha=momentum))
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
        torch._foreach_add_(parameters, updates, alpha=-lr)


def _directions(updates: Sequence[Tensor]) -> list[Tensor]:
    """Updates with the lengths of their directions made alike, each as a matrix: outputs × all else."""
    matrices = [update.flatten(1) if update.dim() > 1 else update.view(1, -1) for update in updates]
    found = [matrix / matrix.norm().clamp(min=1e-7) if len(matrix) == 1 else matrix for matrix in matrices]
    several = [position for position, matrix in enumerate(matrices) if len(matrix) > 1]
    for position, matrix in zip(several, orthogonalize_all([matrices[each] for each in several]), strict=True):
        found[position] = matrix * max(1, len(matrix) / matrix.shape[1]) ** 0.5
    return [matrix.view_as(update) for matrix, update in zip(found, updates, strict=True)]
