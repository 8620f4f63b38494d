import pytest
import torch
from torch import nn

from kindling.models.layers import ACTIVATIONS, activation, initialize

GUIDE = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "softmax": nn.Softmax,
    "SELU": nn.SELU,
    "PReLU": nn.PReLU,
    "hard_tanh": nn.Hardtanh,
    "LogSoftmax": nn.LogSoftmax,
}


@pytest.mark.parametrize("name", GUIDE)
def test_an_activation_by_name(name: str) -> None:
    layer = activation(name)
    assert type(layer) is GUIDE[name]
    assert layer(torch.randn(3, 4)).shape == (3, 4)


def test_every_activation_keeps_the_shape() -> None:
    images = torch.randn(2, 3, 4, 4)
    assert {name: activation(name)(images).shape for name in ACTIVATIONS} == dict.fromkeys(ACTIVATIONS, images.shape)


def test_softmax_is_over_the_features() -> None:
    torch.testing.assert_close(activation("softmax")(torch.randn(3, 4)).sum(dim=1), torch.ones(3))


def test_what_changes_the_shape_is_none() -> None:
    with pytest.raises(ValueError, match="activation is 'glu': expected a name from torch.nn, such as"):
        activation("glu")


def test_an_unknown_activation_names_those_near() -> None:
    with pytest.raises(ValueError, match="activation is 'rellu': expected a name from torch.nn, such as relu"):
        activation("rellu")


@pytest.mark.parametrize("bias", [True, False])
def test_the_guides_initialisation(bias: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 64, 3, bias=bias), nn.BatchNorm2d(64), nn.Linear(200, 100, bias=bias), nn.ReLU())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    net.apply(initialize)
    conv, norm, linear, _ = net
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)  # Kaiming, fan out
    assert float(linear.weight.detach().abs().max()) == pytest.approx((6 / 300) ** 0.5, rel=0.01)  # Xavier, uniform
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    if bias:
        assert (linear.bias == 0.01).all()
        assert (conv.bias == 0).all()
