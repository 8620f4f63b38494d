"""Small parts that several models share: activations by name, inputs of sequences, the guide's initialisation."""

import inspect
from difflib import get_close_matches

from torch import nn


def activation(name: str) -> nn.Module:
    """Build an activation of `torch.nn` from its name: relu, leaky_relu, gelu, silu (or swish), SELU…

    Raises:
        ValueError: if `torch.nn` has no activation of that name.
    """
    classes = [getattr(nn.modules.activation, key) for key in nn.modules.activation.__all__ if key != "GLU"]  # halves
    known = {cls.__name__.lower(): cls for cls in classes if not _needs_arguments(cls)} | {"swish": nn.SiLU}
    key = name.lower().replace("_", "")
    if key not in known:
        near = get_close_matches(key, known, n=3) or ["relu", "gelu", "silu"]
        raise ValueError(f"activation is {name!r}: expected a name from torch.nn, such as {', '.join(near)}")
    return known[key](dim=-1) if "dim" in inspect.signature(known[key]).parameters else known[key]()


def _needs_arguments(cls: type) -> bool:
    parameters = inspect.signature(cls).parameters.values()
    return any(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)


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
