"""How a language model is measured: by sums over tokens, from which the values of a whole split follow exactly."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kindling.tasks.float64 import in_float64
from kindling.tasks.measures import Measures


class TokenMeasures(Measures):
    """Of the next tokens, from logits (B, L, V) and targets (B, L): over all tokens; only sums of each batch are kept.

    Args:
        vocabulary: number of different tokens.
        ignored: the target of a position that does not count.
    """

    names = ("accuracy", "bits_per_byte", "perplexity")
    token_bytes: Tensor

    def __init__(self, vocabulary: int, ignored: int) -> None:
        super().__init__(whole_split=False)
        self.ignored = ignored
        self.register_buffer("token_bytes", torch.zeros(vocabulary, dtype=torch.int32))  # of each token; 0 if unknown

    def update(self, scores: Tensor, targets: Tensor) -> None:
        counted = targets != self.ignored
        losses = in_float64(token_losses(scores, targets, self.ignored))
        right = scores.argmax(dim=-1) == targets
        counts = [counted.sum(), (right & counted).sum(), self.token_bytes[targets[counted]].sum()]
        super().update(losses.sum().reshape(1), torch.stack(counts)[None])

    def each(self, scores: Tensor, targets: Tensor) -> dict[str, Tensor]:
        loss, (count, right, size) = scores.sum(), targets.sum(dim=0).double().split(1)
        measured = {"accuracy": right / count, "perplexity": (loss / count).exp()}
        if self.token_bytes.any():
            measured["bits_per_byte"] = loss / size / math.log(2)
        return measured


def token_losses(logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """The loss of each token in nats, 0 where it does not count: (B, L, V) and (B, L) → (B, L)."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=ignored, reduction="none")
    return losses.view(targets.shape)
