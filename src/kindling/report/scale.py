"""Where values are on an axis, and which of them stand beside it."""

import math


class Scale:
    """Maps values from `low` to `high` to places from `start` to `stop`.

    Args:
        low: the lowest value.
        high: the highest value; around a single one there is some room.
        start: the place of the lowest.
        stop: the place of the highest.
        is_logarithmic: for values above 0.
    """

    def __init__(self, low: float, high: float, start: float, stop: float, is_logarithmic: bool = False) -> None:
        if low == high:
            low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
        self.low, self.high, self.start, self.stop, self.is_logarithmic = low, high, start, stop, is_logarithmic

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low)
        return round(self.start + share * (self.stop - self.start), 1)


def ticks(scale: Scale, count: int = 5, whole: bool = False) -> list[float]:
    """Round values within a scale, about so many: powers of ten on a logarithmic one, else 1, 2 or 5 times one.

    Args:
        scale: whose values they are.
        count: of values.
        whole: whether only integers make sense.
    """
    if scale.is_logarithmic:
        lowest, highest = math.ceil(math.log10(scale.low)), math.floor(math.log10(scale.high))
        apart = math.ceil((highest - lowest + 1) / (count + 1))
        return [10.0**power for power in range(lowest, highest + 1, apart)]
    rough = (scale.high - scale.low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    if whole:
        step = max(1, round(step))
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [number * step for number in range(first, last + 1)]


def labelled_ticks(scale: Scale, whole: bool = False) -> list[tuple[float, str]]:
    """The places of `ticks`, and the values as they are written: with as many digits as tell them apart."""
    values, labels = ticks(scale, whole=whole), list[str]()
    for digits in range(6, 18):
        labels = [f"{value:.{digits}g}" for value in values]
        if len({*labels}) == len(labels):
            break
    return [(scale(value), label) for value, label in zip(values, labels, strict=True)]
