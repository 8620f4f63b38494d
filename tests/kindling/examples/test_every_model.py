"""What holds for the example models beyond what every project's models are tested for."""

from inspect import signature
from typing import Any

import pytest
import torch
from model_cases import MODELS, SHAPES, build, classification_cases, inputs_of, make_batch

from kindling.models.layers import activation


@pytest.mark.slow
@classification_cases
def test_it_compiles_as_one_graph(model: str, kind: str) -> None:
    net = build(model, kind, "Classification").eval()
    inputs, _ = make_batch(kind, "Classification")
    whole = model != "RNN"  # torch's compiler leaves its recurrent layers as they are
    with torch.no_grad():
        compiled = torch.compile(net.forward, backend="aot_eager", fullgraph=whole)(inputs)
        torch.testing.assert_close(compiled, net(inputs))


@pytest.mark.parametrize("model", MODELS)
def test_inputs_that_it_does_not_take_are_refused(model: str) -> None:
    takes = MODELS[model].takes
    for kind in set(SHAPES) - set(takes):
        with pytest.raises(ValueError, match=f"{model} takes {' or '.join(takes)}: the data has {kind}"):
            build(model, kind, "Classification")


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "swish", "softmax", "PReLU"])
@pytest.mark.parametrize("model", [name for name, cls in MODELS.items() if "activation" in signature(cls).parameters])
def test_any_activation_can_be_named(model: str, name: str) -> None:
    kind = inputs_of(model)[-1]
    outputs = build(model, kind, "Classification", activation=name).eval()(make_batch(kind, "Classification", 5)[0])
    plain = build(model, kind, "Classification").eval()(make_batch(kind, "Classification", 5)[0])
    assert outputs.isfinite().all()
    same = activation(name).__class__ is activation({"Transformer": "gelu", "ViT": "gelu"}.get(model, "relu")).__class__
    assert torch.equal(outputs, plain) == same


PADDED: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"cell": "lstm"}),
    ("RNN", {"cell": "gru", "bidirectional": True, "layers": 2}),
    ("Transformer", {}),
    ("Transformer", {"causal": True, "positions": "sinusoidal"}),
]


@pytest.mark.parametrize(("model", "arguments"), [case for case in PADDED if case[0] in MODELS])
@pytest.mark.parametrize("kind", ["sequences", "tokens"])
def test_padding_changes_nothing(model: str, arguments: dict[str, Any], kind: str) -> None:
    net = build(model, kind, "Classification", **arguments).eval()
    inputs, _ = make_batch(kind, "Classification", 6)
    lengths = torch.tensor([8, 3, 5, 1, 8, 2])
    with torch.no_grad():
        alone = torch.cat([net(one[None, :length]) for one, length in zip(inputs, lengths, strict=True)])
        for filler in (0, 5):  # whatever stands in the padding
            padded = inputs.clone()
            for row, length in zip(padded, lengths, strict=True):
                row[length:] = filler
            torch.testing.assert_close(net(padded, lengths), alone)
