"""Attention, and the encoder block that transformers are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in several heads (Vaswani et al., 2017): self-attention, or cross-attention.

    Query (B, L, width), keys and values (B, S, width) → (B, L, width). In self-attention all three are the same. Each
    head has projections of its own, and its scores are divided by the root of its width.

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

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` is boolean and broadcasts to (B, heads, L, S): true where a query may look at a key.

        A query that may look at no key attends to nothing: zeros go to the last layer.
        """
        q = self._by_head(self.query(query))
        k = self._by_head(self.key(keys))
        v = self._by_head(self.value(values))
        dropout = self.dropout if self.training else 0.0
        if mask is None:
            attended = F.scaled_dot_product_attention(q, k, v, None, dropout)
        else:
            sees_any = mask.any(dim=-1, keepdim=True)
            mask = mask | ~sees_any  # the softmax over nothing would be NaN
            attended = F.scaled_dot_product_attention(q, k, v, mask, dropout) * sees_any
        return self.out(attended.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, length, width) → (B, heads, length, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class EncoderBlock(nn.Module):
    """Attention and a two-layer network, each behind a layer norm and with a shortcut (pre-norm; Xiong et al., 2020).

    (B, L, width) → (B, L, width); `mask` as in MultiHeadAttention.
    """

    def __init__(self, width: int, heads: int, activation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, dropout)
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
