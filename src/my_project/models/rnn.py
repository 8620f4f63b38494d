"""A recurrent network for sequences: `kindling fit --config configs/memory_lstm.yaml`."""

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling import Model
from kindling.models.layers import embedding


class RecurrentLayer(nn.Module):
    """One LSTM or GRU layer, or one for each direction: (B, L, inputs) → (B, L, width or 2 · width)."""

    def __init__(self, cell: Literal["lstm", "gru"], inputs: int, width: int, bidirectional: bool) -> None:
        super().__init__()
        recurrent = nn.LSTM if cell == "lstm" else nn.GRU
        self.ahead = recurrent(inputs, width, batch_first=True)
        self.back = recurrent(inputs, width, batch_first=True) if bidirectional else None

    def forward(self, x: Tensor, mirror: tuple[Tensor, Tensor]) -> Tensor:
        """`x[mirror]` is what the second direction reads; indexed with `mirror` twice, it is `x` again."""
        ahead, _ = self.ahead(x)
        if self.back is None:
            return ahead
        back, _ = self.back(x[mirror])
        return torch.cat([ahead, back[mirror]], dim=2)


class RNN(Model):
    """LSTM (Hochreiter & Schmidhuber, 1997) or GRU (Cho et al., 2014): its last state decides.

    Sequences (B, L, F) float32 or tokens (B, L) int64, and their lengths (B,) → (B, outputs). Padding changes nothing.

    Args:
        cell: the recurrent layer.
        width: features of a state.
        layers: recurrent layers, one on top of the other.
        bidirectional: whether a second network reads from the end backwards.
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
        self.width = width
        outputs = 2 * width if bidirectional else width  # features of a layer's output
        self.layers = nn.ModuleList([RecurrentLayer(cell, width, width, bidirectional)])
        self.layers.extend(RecurrentLayer(cell, outputs, width, bidirectional) for _ in range(layers - 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(outputs, self.num_outputs)
        self.initialize()

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(inputs)  # (B, L, width)
        samples, steps = (torch.arange(size, device=x.device) for size in x.shape[:2])
        last = torch.full_like(samples, x.shape[1] - 1) if lengths is None else lengths - 1  # (B,)
        # Each sample's real steps from the last to the first, then its padding. (Packed sequences can't be exported.)
        mirror = samples[:, None], (last[:, None] - steps) % x.shape[1]  # indices (B, 1), (B, L)
        for layer in self.layers:
            x = self.dropout(layer(x, mirror))
        end_ahead, end_back = x[samples, last, : self.width], x[:, 0, self.width :]  # the last one has seen all steps
        return self.head(torch.cat([end_ahead, end_back], dim=1))
