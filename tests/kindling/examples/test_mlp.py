from typing import Any

import pytest
import torch
from torch import nn

from my_project.models.mlp import MLP


def build(**arguments: Any) -> MLP:
    return MLP(input_shape=(2, 3), targets=["y"], **arguments)


def layers(model: MLP) -> list[type]:
    return [type(layer) for layer in model.net]


def test_no_hidden_layer_gives_a_linear_model() -> None:
    model = build(hidden_sizes=[])
    assert layers(model) == [nn.Flatten, nn.Linear]
    inputs = torch.randn(4, 2, 3)
    torch.testing.assert_close(model(inputs), model.net[1](inputs.flatten(1)))


@pytest.mark.parametrize(("norm", "layer"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_a_hidden_layer_is_linear_norm_activation_dropout(norm: Any, layer: type) -> None:
    model = build(hidden_sizes=[5], norm=norm, activation="gelu", dropout=0.5)
    assert layers(model) == [nn.Flatten, nn.Linear, layer, nn.GELU, nn.Dropout, nn.Linear]
    assert model.net[1].bias is None  # the norm has one


def test_the_guides_networks() -> None:
    """784-256-128-10 with dropout 0.2, and 10-20-1: parameters counted by hand."""
    digits = MLP(input_shape=(784,), classes=list("0123456789"), hidden_sizes=[256, 128], dropout=0.2, norm=None)
    assert digits.num_parameters == (784 + 1) * 256 + (256 + 1) * 128 + (128 + 1) * 10
    simple = MLP(input_shape=(10,), targets=["y"], hidden_sizes=[20], norm=None)
    assert simple.num_parameters == (10 + 1) * 20 + (20 + 1) * 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": 1.5}, r"dropout is 1.5: expected a fraction in \[0, 1\)"),
        ({"hidden_sizes": [0]}, "hidden_sizes is .0.: expected positive integers"),
        ({"activation": "relo"}, "activation is 'relo': expected a name from torch.nn, such as relu"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)
