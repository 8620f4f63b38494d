"""Numbers of 64 bits, which not every device has."""

from torch import Tensor


def in_float64(values: Tensor) -> Tensor:
    """Values in float64: where they are, or on the CPU if they are on Apple's GPU, which has no such numbers."""
    return (values.cpu() if values.device.type == "mps" else values).double()
