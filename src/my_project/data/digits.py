"""Handwritten digits that ship with scikit-learn: real images, no download."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from kindling import Data


class Digits(Data):
    """1,797 grey images (1, 8, 8) of handwritten digits in ten classes (Alpaydin & Kaynak, 1998).

    By default 1,167 train, 270 validation and 360 test images.

    Args:
        classes: the digits to tell apart, such as [3, 8].
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize: see Data.

    Raises:
        ValueError: if `classes` is not a list of at least two different digits.
    """

    def __init__(self, classes: list[int] = list(range(10)), **data: Any) -> None:  # noqa: B006 (read only)
        super().__init__(**data)
        if len(classes) < 2 or len(set(classes)) < len(classes) or not set(classes) <= set(range(10)):
            raise ValueError(f"classes is {classes}: expected at least two different digits from 0 to 9")
        self.digits = classes
        self.classes = [str(digit) for digit in classes]

    def load(self) -> tuple[Tensor, Tensor]:
        images, labels = load_digits(return_X_y=True)
        inputs = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16  # grey values 0…16
        matches = torch.from_numpy(labels)[:, None] == torch.tensor(self.digits)  # (N, K)
        wanted = matches.any(dim=1)
        return inputs[wanted], matches[wanted].int().argmax(dim=1)
