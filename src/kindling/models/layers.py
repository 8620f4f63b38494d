"""Small parts that several models share: activations by name, sequences as vectors, the guide's initialisation."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

from torch import nn

# Those of torch.nn that keep the shape and need no argument.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "celu": nn.CELU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "hardshrink": nn.Hardshrink,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "hardtanh": nn.Hardtanh,
    "leakyrelu": nn.LeakyReLU,
    "logsigmoid": nn.LogSigmoid,
    "logsoftmax": partial(nn.LogSoftmax, dim=-1),  # over the features
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "rrelu": nn.RReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softmax": partial(nn.Softmax, dim=-1),
    "softmax2d": nn.Softmax2d,
    "softmin": partial(nn.Softmin, dim=-1),
    "softplus": nn.Softplus,
    "softshrink": nn.Softshrink,
    "softsign": nn.Softsign,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "tanhshrink": nn.Tanhshrink,
}


def activation(name: str) -> nn.Module:
    """Build an activation of `torch.nn` from its name: relu, leaky_relu, gelu, silu (or swish), SELU…

    Raises:
        ValueError: if there is no activation of that name.
    """
    key = name.lower().replace("_", "")
    if key not in ACTIVATIONS:
        near = get_close_matches(key, ACTIVATIONS, n=3) or ["relu", "gelu", "silu"]
        raise ValueError(f"activation is {name!r}: expected a name from torch.nn, such as {', '.join(near)}")
    return ACTIVATIONS[key]()


def embedding(input_shape: tuple[int, ...], vocabulary: int | None, width: int) -> nn.Module:
    """What turns a sequence into vectors: tokens (B, L) int64, or features (B, L, F) float32 → (B, L, width)."""
    return nn.Embedding(vocabulary, width) if vocabulary else nn.Linear(input_shape[-1], width)


def initialize(module: nn.Module) -> None:
    """Xavier for linear layers (Glorot & Bengio, 2010), Kaiming for convolutions (He et al., 2015), 1 and 0 for norms.

    Biases become 0.01 in linear layers and 0 elsewhere, where a layer has one. For `module.apply`.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Conv1d | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
        nn.init.ones_(module.weight)
    else:
        return
    if module.bias is not None:
        nn.init.constant_(module.bias, 0.01 if isinstance(module, nn.Linear) else 0.0)
