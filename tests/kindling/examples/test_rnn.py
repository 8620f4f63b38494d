from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from my_project.models.rnn import RNN

LENGTHS = torch.tensor([8, 3, 5, 1, 8, 2])
every_kind = pytest.mark.parametrize(("cell", "bidirectional"), list(product(["lstm", "gru"], [False, True])))


def build(**arguments: Any) -> RNN:
    torch.manual_seed(0)
    return RNN(input_shape=(8, 3), classes=["a", "b", "c"], width=24, **arguments).eval()


def packed(net: RNN, cell: str, inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """What torch's own layers make of a packed sequence, with the weights of `net`."""
    layers, back = len(net.layers), net.layers[0].back is not None
    rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](24, 24, layers, batch_first=True, bidirectional=back)
    rnn.load_state_dict(dict(zip(rnn.state_dict(), net.layers.state_dict().values(), strict=True)))
    steps = net.embedding(inputs)
    if lengths is not None:
        steps = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    state = rnn(steps)[1]
    state = state[0] if cell == "lstm" else state
    return net.head(state.unflatten(0, (layers, -1))[-1].transpose(0, 1).flatten(1))


@every_kind
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_it_computes_what_torch_does_with_packed_sequences(
    cell: str, bidirectional: bool, layers: int, lengths: Tensor | None
) -> None:
    net = build(cell=cell, bidirectional=bidirectional, layers=layers)
    inputs = torch.randn(6, 8, 3)
    outputs, expected = net(inputs, lengths), packed(net, cell, inputs, lengths)
    torch.testing.assert_close(outputs, expected)
    gradients = [torch.autograd.grad(each.square().sum(), net.embedding.weight)[0] for each in (outputs, expected)]
    torch.testing.assert_close(*gradients)


@every_kind
@pytest.mark.parametrize("padded", [True, False])
def test_it_can_be_exported_for_batches_of_any_size(cell: str, bidirectional: bool, padded: bool) -> None:
    net = build(cell=cell, bidirectional=bidirectional)
    inputs = (torch.randn(6, 8, 3), LENGTHS)[: 1 + padded]
    program = torch.export.export(net, inputs, dynamic_shapes=[{0: torch.export.Dim("batch")}] * len(inputs))
    for size in (1, 4):
        batch = [each[:size] for each in inputs]
        torch.testing.assert_close(program.module()(*batch), net(*batch))


def test_dropout_is_between_the_layers_and_before_the_last_one() -> None:
    net = build(layers=2, dropout=0.5).train()
    zeros = []
    for module in (*net.layers, net.head):
        module.register_forward_pre_hook(lambda module, inputs: zeros.append(float((inputs[0] == 0).float().mean())))
    net(torch.randn(64, 8, 3))
    assert zeros == pytest.approx([0, 0.5, 0.5], abs=0.05)
