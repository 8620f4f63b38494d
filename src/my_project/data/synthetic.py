"""Synthetic vectors of any size, made in memory from a seed: `kindling fit --config configs/spirals.yaml`."""

import math
from typing import Any, Literal

import torch
from sklearn.datasets import make_circles, make_moons
from torch import Tensor

from kindling import Data


class _Synthetic(Data):
    """What the data sets below share: a size, noise, and random numbers that depend on the seed alone."""

    def __init__(self, size: int, features: int, noise: float, seed: int, **data: Any) -> None:
        super().__init__(**data)
        if min(size, features) < 1:
            raise ValueError(f"size is {size} and features is {features}: expected positive integers")
        if noise < 0:
            raise ValueError(f"noise is {noise}: expected a standard deviation of at least 0")
        self.size, self.features, self.noise, self.seed = size, features, noise, seed

    def _normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Normal random numbers; those of another stream (0, 1 or 2) are independent of them."""
        generator = torch.Generator().manual_seed(3 * self.seed + stream)
        return torch.randn(*shape, generator=generator)


class SyntheticRegression(_Synthetic):
    """A linear map or a sine of it, with noise: (features,) float32 → (num_targets,) float32.

    Args:
        kind: linear, or sine: the sine of three times the linear map.
        size: number of samples.
        features: length of an input.
        num_targets: length of a target.
        noise: standard deviation of the noise that is added to the targets; theirs is about 1 (sine: 0.7).
        seed: seed of the samples.
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize: see Data.

    Raises:
        ValueError: if a count is not positive or the noise is negative.
    """

    def __init__(
        self,
        kind: Literal["linear", "sine"] = "linear",
        size: int = 1000,
        features: int = 10,
        num_targets: int = 1,
        noise: float = 0.1,
        seed: int = 0,
        **data: Any,
    ) -> None:
        super().__init__(size, features, noise, seed, **data)
        if num_targets < 1:
            raise ValueError(f"num_targets is {num_targets}: expected a positive integer")
        self.kind, self.targets = kind, [f"y{i}" for i in range(num_targets)]

    def load(self) -> tuple[Tensor, Tensor]:
        weights = self._normal(self.features, len(self.targets or []))
        inputs = self._normal(self.size, self.features, stream=1)
        targets = inputs @ (weights / weights.norm(dim=0))
        if self.kind == "sine":
            targets = (3 * targets).sin()
        return inputs, targets + self.noise * self._normal(*targets.shape, stream=2)


class SyntheticClassification(_Synthetic):
    """Clouds, half moons, circles or spirals: (features,) float32 → class index int64.

    Args:
        kind: blobs: one Gaussian cloud per class, any number of classes and features; moons and circles: two classes in
            two features; spirals: one arm per class in two features.
        size: number of samples, spread evenly over the classes.
        features: length of an input, for blobs.
        num_classes: number of classes, at least 2, for blobs and spirals.
        noise: standard deviation of the noise; that of the clouds' centres is 1, and the other kinds have radius 1.
        seed: seed of the samples.
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize: see Data.

    Raises:
        ValueError: if a count is not positive, the noise is negative, or the kind has different counts.
    """

    def __init__(
        self,
        kind: Literal["blobs", "moons", "circles", "spirals"] = "blobs",
        size: int = 1000,
        features: int | None = None,
        num_classes: int | None = None,
        noise: float = 0.5,
        seed: int = 0,
        **data: Any,
    ) -> None:
        if kind != "blobs" and features not in (None, 2):
            raise ValueError(f"features is {features}: {kind} have 2")
        if kind in ("moons", "circles") and num_classes not in (None, 2):
            raise ValueError(f"num_classes is {num_classes}: {kind} have 2")
        super().__init__(size, features or (10 if kind == "blobs" else 2), noise, seed, **data)
        num_classes = num_classes or (2 if kind in ("moons", "circles") else 3)
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}: expected at least 2")
        self.kind, self.classes = kind, [str(i) for i in range(num_classes)]

    def load(self) -> tuple[Tensor, Tensor]:
        count = len(self.classes or [])
        labels = torch.arange(self.size) % count
        noise = self.noise * self._normal(self.size, self.features, stream=1)
        if self.kind == "blobs":
            return self._normal(count, self.features)[labels] + noise, labels
        if self.kind == "spirals":
            radius = torch.linspace(0.05, 1, self.size)
            turns = 1.5 * radius + labels / count  # an arm turns one and a half times
            angle = 2 * math.pi * turns
            return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1) + noise, labels
        make = make_moons if self.kind == "moons" else make_circles
        points, labels = make(self.size, random_state=self.seed)
        return torch.from_numpy(points).float() + noise, torch.from_numpy(labels)


class SyntheticMultilabel(_Synthetic):
    """Each class is one side of a plane of its own: (features,) float32 → 0/1 labels (num_classes,) int64.

    Args:
        size: number of samples.
        features: length of an input.
        num_classes: number of classes.
        noise: standard deviation of the noise that is added to the distance from a plane.
        seed: seed of the samples.
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize: see Data.

    Raises:
        ValueError: if a count is not positive or the noise is negative.
    """

    multilabel = True

    def __init__(
        self, size: int = 1000, features: int = 10, num_classes: int = 5, noise: float = 0.1, seed: int = 0, **data: Any
    ) -> None:
        super().__init__(size, features, noise, seed, **data)
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}: expected a positive integer")
        self.classes = [str(i) for i in range(num_classes)]

    def load(self) -> tuple[Tensor, Tensor]:
        planes = self._normal(self.features, len(self.classes or []))
        inputs = self._normal(self.size, self.features, stream=1)
        distances = inputs @ (planes / planes.norm(dim=0))
        return inputs, (distances + self.noise * self._normal(*distances.shape, stream=2) > 0).long()
