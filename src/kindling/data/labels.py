"""What the values of labels say."""

import numpy as np


def is_one_hot(y: np.ndarray) -> bool:
    """Whether labels (N, K) hold 0 and exactly one 1 per row."""
    return y.ndim == 2 and y.shape[1] > 1 and bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
