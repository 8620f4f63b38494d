"""Attention, and the encoder block that `models/transformer.py` and `models/vit.py` are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017), for self- and cross-attention.

    Values and keys (B, S, width), query (B, L, width) → (B, L, width). Each head has projections of its own and its
    scores are divided by the root of the head's width. A query that may look nowhere gets zeros before the last layer.

    Args:
        width: features of a position.
        heads: number of heads; they share the width.
        dropout: share of the attention weights zeroed in training, in [0, 1).

    Raises:
        ValueError: if the width is not a multiple of the heads.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads is {heads}: expected a divisor of the width, {width}")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, values: Tensor, keys: Tensor, query: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` is boolean and broadcasts to (B, heads, L, S): true where a query may look at a key."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, length, width / heads)
            for layer, x in ((self.query, query), (self.key, keys), (self.value, values))
        )
        if mask is not None:
            somewhere = mask.any(dim=-1, keepdim=True)
            mask = mask | ~somewhere  # the softmax over nothing is NaN
        attended = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        if mask is not None:
            attended = attended * somewhere
        return self.out(attended.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Attention and a two-layer network, each behind a layer norm and beside a shortcut (pre-norm; Xiong et al., 2020).

    (B, L, width) → (B, L, width); `mask` as in SelfAttention.
    """

    def __init__(self, width: int, heads: int, activation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), activation, nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.dropout(self.attention(normed, normed, normed, mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


def sinusoids(length: int, width: int) -> Tensor:
    """Positions as sines and cosines of falling frequency, (length, width) (Vaswani et al., 2017)."""
    rates = 10_000 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates  # (length, width / 2, rounded up)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
