"""Where the channels of arrays are, first or last, and what else their shape is taken for."""

from typing import Any, Literal

from kindling.data.preprocessing import CHANNELS

Layout = Literal["first", "last"]


def layout_of(shape: tuple[int, ...], form: str, longest: int | None = None) -> Layout | None:
    """Where the channels of images (N, H, W), (N, C, H, W) or (N, H, W, C), or of sequences, most likely are.

    None where the shape does not tell, or there are none. Of images with other than 1, 3 or 4 channels, the side unlike
    two equal ones is the channels, or else the shortest. Sequences are (N, L, C), or (N, C, L) if that gives more
    steps, as in archives of series.

    Args:
        shape: of all samples.
        form: what the inputs are.
        longest: the longest of the lengths of padded sequences, which shows how many steps there are.
    """
    if form == "sequences":
        return _layout_of_sequences(shape[1], shape[2], longest)
    if form != "images":
        return None
    return "first" if len(shape) == 3 else _layout_of_images(*shape[1:])


def _layout_of_sequences(one: int, other: int, longest: int | None) -> Layout:
    if longest is not None and longest in (one, other) and one != other:
        return "last" if longest == one else "first"
    return "first" if other > one else "last"


def _layout_of_images(one: int, middle: int, other: int) -> Layout | None:
    if one in CHANNELS or other in CHANNELS:
        return "first" if one in CHANNELS else "last"
    if (one == middle) != (middle == other):  # the equal ones are the sides
        return "last" if one == middle else "first"
    fewest = min(one, middle, other)
    if fewest == middle:
        return None
    return "first" if fewest == one else "last"


def layout_of_before(shape: tuple[int, ...], form: str) -> Layout | None:
    """The layout of older runs, which keep no look of their inputs: their weights belong to it."""
    if form != "images" or len(shape) == 3:
        return {"images": "first", "sequences": "last"}.get(form)  # type: ignore[return-value]
    return "last" if shape[1] not in CHANNELS and shape[3] in CHANNELS else "first"


def told(
    name: str, x: Any, form: str, channels: Layout | None, is_form_given: bool, is_layout_given: bool
) -> list[str]:
    """A note of what inputs are taken for, with the flags that decide otherwise; none if nothing was guessed."""
    flags = []
    if not is_layout_given and (form == "sequences" or x.ndim == 4):
        flags.append(f"--data.channels {'last' if channels == 'first' else 'first'}")
    if not is_form_given and x.ndim == 3:
        flags.append(f"--data.inputs {'sequences' if form == 'images' else 'images'}")
    if not is_form_given and x.ndim == 2 and x.dtype.kind in "iu":
        flags.append("--data.inputs tokens")
    if not flags:
        return []
    shape = "×".join(map(str, x.shape))
    return [f"{name}, {shape} {x.dtype}, is taken for {_described(x.shape, form, channels)}; else {' or '.join(flags)}"]


def _described(shape: tuple[int, ...], form: str, channels: Layout | None) -> str:
    if form == "vectors":
        return f"vectors of {shape[1]} numbers"
    if form == "sequences":
        steps, width = (shape[2], shape[1]) if channels == "first" else (shape[1], shape[2])
        return f"sequences of {steps} steps with {width} channel{'s' * (width != 1)}, {channels}"
    if len(shape) == 3:
        return f"grey images of {shape[1]}×{shape[2]} pixels"
    depth, height, width = shape[1:] if channels == "first" else (shape[3], *shape[1:3])
    return f"images of {height}×{width} pixels with {depth} channel{'s' * (depth != 1)}, {channels}"
