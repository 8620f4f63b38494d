import math

import pytest
import torch
from torch import Tensor, nn

from kindling.models.attention import EncoderBlock, MultiHeadAttention, sinusoids

WIDTH, HEADS, B, L, S = 12, 3, 2, 5, 7


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values, keys = (torch.randn(B, S, WIDTH, generator=generator) for _ in range(2))
    return values, keys, torch.randn(B, L, WIDTH, generator=generator)


def causal() -> Tensor:
    return torch.ones(L, S, dtype=torch.bool).tril()


@pytest.mark.parametrize("mask", [None, causal()], ids=["free", "causal"])
def test_it_equals_torchs_multi_head_attention_on_the_same_weights(mask: Tensor | None) -> None:
    ours, theirs = MultiHeadAttention(WIDTH, HEADS), nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    values, keys, query = inputs()
    expected, _ = theirs(query, keys, values, attn_mask=None if mask is None else ~mask)
    torch.testing.assert_close(ours(query, keys, values, mask), expected)


def test_it_equals_an_explicit_softmax() -> None:
    layer = MultiHeadAttention(WIDTH, HEADS)
    values, keys, query = inputs()
    mask = torch.arange(S) < torch.tensor([4, 7])[:, None, None, None]  # (B, 1, 1, S): padding
    heads = []
    for head in range(HEADS):
        part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
        q, k, v = layer.query(query)[..., part], layer.key(keys)[..., part], layer.value(values)[..., part]
        scores = (q @ k.transpose(1, 2) / math.sqrt(WIDTH / HEADS)).masked_fill(~mask[:, 0], -math.inf)
        heads.append(scores.softmax(dim=-1) @ v)
    torch.testing.assert_close(layer(query, keys, values, mask), layer.out(torch.cat(heads, dim=-1)))


def test_a_fully_masked_row_gives_the_bias_and_no_nan() -> None:
    layer = MultiHeadAttention(WIDTH, HEADS)
    values, keys, query = inputs()
    mask = torch.zeros(B, 1, L, S, dtype=torch.bool)
    mask[:, :, 0] = True  # only the first query may look
    out = layer(query.requires_grad_(), keys, values, mask)
    out.sum().backward()
    torch.testing.assert_close(out[:, 1:], layer.out.bias.expand(B, L - 1, WIDTH))
    assert out.isfinite().all()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_the_width_must_fit_the_heads() -> None:
    with pytest.raises(ValueError, match="heads is 5: expected a divisor of the width, 12"):
        MultiHeadAttention(WIDTH, 5)


def test_a_block_keeps_its_shape_and_drops_nothing_in_evaluation() -> None:
    block = EncoderBlock(WIDTH, HEADS, nn.GELU(), dropout=0.5).eval()
    x = inputs()[2]
    assert block(x).shape == x.shape
    torch.testing.assert_close(block(x), block(x))
    assert not torch.equal(block.train()(x), block(x))


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids(width: int) -> None:
    table = sinusoids(10, width)
    assert table.shape == (10, width)
    for position, feature in [(0, 0), (3, 0), (3, 1), (9, 4), (9, 5)]:
        angle = position / 10_000 ** (feature // 2 * 2 / width)
        assert float(table[position, feature]) == pytest.approx(
            math.cos(angle) if feature % 2 else math.sin(angle), abs=1e-5
        )
