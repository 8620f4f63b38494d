"""Small parts that several models share."""

import inspect
from difflib import get_close_matches

from torch import nn


def activation(name: str) -> nn.Module:
    """Build an activation of `torch.nn` from its name: relu, leaky_relu, gelu, silu, SELU…

    Raises:
        ValueError: if `torch.nn` has no activation of that name.
    """
    classes = [getattr(nn.modules.activation, key) for key in nn.modules.activation.__all__]
    known = {cls.__name__.lower(): cls for cls in classes if not _needs_arguments(cls)}
    key = name.lower().replace("_", "")
    if key not in known:
        near = get_close_matches(key, known, n=3) or ["relu", "gelu", "silu"]
        raise ValueError(f"activation is {name!r}: expected a name from torch.nn, such as {', '.join(near)}")
    return known[key]()


def _needs_arguments(cls: type) -> bool:
    parameters = inspect.signature(cls).parameters.values()
    return any(parameter.default is parameter.empty for parameter in parameters)
