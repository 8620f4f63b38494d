"""A recurrent network for sequences: `kindling fit --config configs/memory_lstm.yaml`."""

from typing import Any, Literal

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim import AdamW

from kindling.layers import embedding
from kindling.models.base import Model


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
        between = dropout if layers > 1 else 0.0
        recurrent = nn.LSTM if cell == "lstm" else nn.GRU
        self.rnn = recurrent(width, width, layers, batch_first=True, dropout=between, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width * (1 + bidirectional), self.num_outputs)
        self.initialize()

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        steps = self.embedding(inputs)  # (B, L, width)
        if lengths is not None:
            steps = pack_padded_sequence(steps, lengths.cpu(), batch_first=True, enforce_sorted=False)
        state = self.rnn(steps)[1]  # (layers · directions, B, width), an LSTM's beside its cells
        state = state[0] if isinstance(state, tuple) else state
        last = state.unflatten(0, (self.rnn.num_layers, -1))[-1]  # (directions, B, width)
        return self.head(self.dropout(last.transpose(0, 1).flatten(1)))
