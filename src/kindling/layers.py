"""Small parts that several models share."""

from difflib import get_close_matches

from torch import nn


def activation(name: str) -> nn.Module:
    """Build an activation of `torch.nn` from its name: relu, leaky_relu, gelu, silu, SELU…

    Raises:
        ValueError: if `torch.nn` has no activation of that name.
    """
    known = {key.lower(): getattr(nn.modules.activation, key) for key in nn.modules.activation.__all__}
    key = name.lower().replace("_", "")
    if key not in known:
        near = get_close_matches(key, known, n=3) or ["relu", "gelu", "silu"]
        raise ValueError(f"activation is {name!r}: expected a name from torch.nn, such as {', '.join(near)}")
    return known[key]()
