"""A transformer for sequences: `kindling fit --config configs/memory_transformer.yaml`.

As a language model: `kindling fit --config configs/text.yaml`.
"""

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling import Model
from kindling.models.attention import EncoderBlock, sinusoids
from kindling.models.layers import activation as build_activation
from kindling.models.layers import embedding
from kindling.tasks import NextToken


class Transformer(Model):
    """Transformer encoder (Vaswani et al., 2017), pre-norm; the mean over all positions decides.

    Sequences (B, L, F) float32 or tokens (B, L) int64, and their lengths (B,) → (B, outputs). Padding changes nothing.
    For the task NextToken it is a decoder: causal, with outputs (B, L, vocabulary) at each position.

    Args:
        width: features of a position.
        depth: encoder blocks.
        heads: attention heads; they share the width.
        positions: learned, or the paper's sinusoids.
        causal: whether a position sees only those before it; always for the task NextToken.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        dropout: share of features and attention weights zeroed in training, in [0, 1).
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if an argument is out of range.
    """

    takes = ("sequences", "tokens")

    def __init__(
        self,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        positions: Literal["learned", "sinusoidal"] = "learned",
        causal: bool = False,
        activation: str = "gelu",
        dropout: float = 0.0,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-3, weight_decay=0.01),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        self.embedding = embedding(self.input_shape, self.vocabulary, width)
        length = self.input_shape[0]
        if positions == "learned":
            self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        else:
            self.register_buffer("positions", sinusoids(length, width), persistent=False)
        self.tells_next = isinstance(self.task, NextToken)
        self.causal = causal or self.tells_next
        self.blocks = nn.ModuleList(
            EncoderBlock(width, heads, build_activation(activation), dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.num_outputs)
        self.initialize()

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.embedding(inputs) + self.positions[: inputs.shape[1]]  # (B, L, width)
        samples, length = x.shape[:2]
        steps = torch.arange(length, device=x.device)
        if lengths is None:
            lengths = torch.full((samples,), length, device=x.device)
        real = steps < lengths[:, None]  # (B, L), false where padded
        mask = real[:, None, None]  # (B, 1, 1, L)
        if self.causal:
            mask = mask & (steps <= steps[:, None])  # (B, 1, L, L)
        for block in self.blocks:
            x = block(x, mask)
        if self.tells_next:
            return self.head(self.norm(x))
        x = self.norm(x) * real[:, :, None]
        return self.head(x.sum(dim=1) / lengths[:, None])
