"""Synthetic data of any size, made in memory from a seed."""

from typing import Any

import torch
from torch import Tensor

from kindling.data.base import Data


class SyntheticRegression(Data):
    """A noisy linear map: inputs (features,) float32 → targets (num_targets,) float32, each with variance about 1.

    Args:
        size: number of samples.
        features: length of an input.
        num_targets: length of a target.
        noise: standard deviation of the noise that is added to the targets.
        seed: seed of the samples.
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize: see Data.

    Raises:
        ValueError: if a count is not positive or the noise is negative.
    """

    def __init__(
        self,
        size: int = 1000,
        features: int = 10,
        num_targets: int = 1,
        noise: float = 0.1,
        seed: int = 0,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        _check(noise, size=size, features=features, num_targets=num_targets)
        self.size, self.features, self.noise, self.seed = size, features, noise, seed
        self.targets = [f"y{i}" for i in range(num_targets)]

    def load(self) -> tuple[Tensor, Tensor]:
        assert self.targets
        generator = torch.Generator().manual_seed(self.seed)
        weights = torch.randn(self.features, len(self.targets), generator=generator)
        inputs = torch.randn(self.size, self.features, generator=generator)
        noise = self.noise * torch.randn(self.size, len(self.targets), generator=generator)
        return inputs, inputs @ (weights / weights.norm(dim=0)) + noise


class SyntheticClassification(Data):
    """One Gaussian cloud a class: inputs (features,) float32, class indices int64.

    Args:
        size: number of samples, spread evenly over the classes.
        features: length of an input.
        num_classes: number of classes, at least 2.
        noise: standard deviation of a cloud; the centres are drawn with standard deviation 1.
        seed: seed of the samples.
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize: see Data.

    Raises:
        ValueError: if a count is not positive or the noise is negative.
    """

    def __init__(
        self,
        size: int = 1000,
        features: int = 10,
        num_classes: int = 3,
        noise: float = 0.5,
        seed: int = 0,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        _check(noise, size=size, features=features, num_classes=num_classes)
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}: expected at least 2")
        self.size, self.features, self.noise, self.seed = size, features, noise, seed
        self.classes = [str(i) for i in range(num_classes)]

    def load(self) -> tuple[Tensor, Tensor]:
        assert self.classes
        generator = torch.Generator().manual_seed(self.seed)
        centres = torch.randn(len(self.classes), self.features, generator=generator)
        labels = torch.arange(self.size) % len(self.classes)
        noise = self.noise * torch.randn(self.size, self.features, generator=generator)
        return centres[labels] + noise, labels


def _check(noise: float, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}: expected a positive integer")
    if noise < 0:
        raise ValueError(f"noise is {noise}: expected a standard deviation of at least 0")
