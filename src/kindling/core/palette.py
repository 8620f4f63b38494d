"""The colours of classes in masks: those of Pascal VOC, which tools for masks know."""


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """Red, green and blue of each class, from 0 to 255: black for the first, which is mostly the background."""
    return [_colour(index) for index in range(count)]


def _colour(index: int) -> tuple[int, int, int]:
    """The bits of the index become bits of red, green and blue in turn, the lowest being the brightest."""
    channels = [0, 0, 0]
    for bit in range(8):
        if index >> bit & 1:
            channels[bit % 3] |= 1 << (7 - bit // 3)
    red, green, blue = channels
    return red, green, blue
