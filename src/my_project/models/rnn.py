"""A recurrent network for sequences: `kindling fit --config configs/memory_lstm.yaml`."""

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling.models.base import Model
from kindling.models.layers import embedding


class RecurrentLayer(nn.Module):
    """One LSTM or GRU layer, or one for each direction: (B, L, inputs) → (B, L, width · directions)."""

    def __init__(self, cell: Literal["lstm", "gru"], inputs: int, width: int, bidirectional: bool) -> None:
        super().__init__()
        recurrent = nn.LSTM if cell == "lstm" else nn.GRU
        self.ahead = recurrent(inputs, width, batch_first=True)
        self.back = recurrent(inputs, width, batch_first=True) if bidirectional else None

    def forward(self, x: Tensor, mirror: tuple[Tensor, Tensor]) -> Tensor:
        """`x[mirror]` is what the second direction reads, and `mirror` is its own inverse."""
        ahead = self.ahead(x)[0]
        return ahead if self.back is None else torch.cat([ahead, self.back(x[mirror])[0][mirror]], dim=2)


class RNN(Model):
    """LSTM (Hochreiter & Schmidhuber, 1997) or GRU (Cho et al., 2014): its last state decides.

    Sequences (B, L, F) float32 or tokens (B, L) int64, and their lengths (B,) → (B, outputs). Padding changes nothing.

    Args:
        cell: the recurrent layer.
        width: features of a state.
        layers: recurrent layers on top of each other.
        bidirectional: whether a second network reads from the end.
        dropout: share of the features zeroed between layers and before the last one in training, in [0, 1).
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if an argument is out of range.
    """

    takes = ("sequences", "tokens")

    def __init__(
        self,
        cell: Literal["lstm", "gru"] = "lstm",
        width: int = 64,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=3e-3, weight_decay=0.01),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if min(width, layers) < 1:
            raise ValueError(f"width is {width} and layers is {layers}: expected positive integers")
        self.embedding = embedding(self.input_shape, self.vocabulary, width)
        self.width, states = width, width * (1 + bidirectional)
        self.layers = nn.ModuleList(
            RecurrentLayer(cell, states if layer else width, width, bidirectional) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(states, self.num_outputs)
        self.initialize()

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(inputs)  # (B, L, width)
        samples, steps = (torch.arange(size, device=x.device) for size in x.shape[:2])
        last = torch.full_like(samples, x.shape[1] - 1) if lengths is None else lengths - 1  # (B,)
        # Each sample's real steps from the last to the first, then its padding. Packing could not be exported.
        mirror = samples[:, None], (last[:, None] - steps) % x.shape[1]  # indices (B, 1), (B, L)
        for layer in self.layers:
            x = self.dropout(layer(x, mirror))
        ends = x[samples, last, : self.width], x[:, 0, self.width :]  # where the directions end
        return self.head(torch.cat(ends, dim=1))
