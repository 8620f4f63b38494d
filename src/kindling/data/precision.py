"""Notes numbers, such as Unix times, that float32, in which a model computes, can hardly tell apart."""

import numpy as np

STEPS = 100  # of float32 that the range of numbers has to span, at least
SMALLEST = float(np.finfo(np.float32).tiny)  # below it float32 loses digits


def notes_of_precision(what: str, numbers: np.ndarray) -> list[str]:
    """A note if the numbers, NaN for missing ones, take fewer than 100 steps of float32.

    Args:
        what: what the numbers are, such as `column seconds`.
        numbers: of any type, (N,).
    """
    return _notes([what], np.nanmin(numbers, keepdims=True), np.nanmax(numbers, keepdims=True))


def notes_of_columns(rows: np.ndarray) -> list[str]:
    """Such a note for each column of rows (N, F), which are named by their places."""
    names = [f"column {place}" for place in range(rows.shape[1])]
    return _notes(names, np.nanmin(rows, axis=0), np.nanmax(rows, axis=0))


def _notes(names: list[str], low: np.ndarray, high: np.ndarray) -> list[str]:
    low, high = low.astype(np.float64), high.astype(np.float64)
    peak = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(over="ignore"):
        step = np.spacing(peak.astype(np.float32)).astype(np.float64)
    is_coarse = (high > low) & (high - low < STEPS * step)
    return [
        f"{names[place]} goes from {low[place]:.15g} to {high[place]:.15g} in float32's steps of {step[place]:g}: "
        + (f"subtract {low[place]:.15g}" if peak[place] > SMALLEST else "multiply by a large number")
        for place in np.flatnonzero(is_coarse).tolist()
    ]
