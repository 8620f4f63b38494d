"""Synthetic images of shapes, made in memory from a seed: `kindling fit --config configs/shapes_cnn.yaml`.

With masks for segmentation: `kindling fit --config configs/shapes_unet.yaml`.
"""

from typing import Any

import torch
from torch import Tensor

from kindling import Data

SHAPES = ["circle", "square", "diamond", "cross", "ring"]


class Shapes(Data):
    """One shape per image, anywhere and of any size, with noise: (1 or 3, side, side) float32 → class index int64.

    Args:
        size: number of images, spread evenly over the classes.
        side: height and width, in pixels.
        colour: three channels, each shape in its own colour, or one channel.
        noise: standard deviation of the noise on each pixel; the shapes are brighter than the ground by 1, or by
            less in colour.
        seed: seed of the images.
        **data: batch_size, val_fraction, test_fraction, split_seed, normalize, augment: see Data.

    Raises:
        ValueError: if a count is too small or the noise is negative.
    """

    classes = SHAPES

    def __init__(
        self, size: int = 5000, side: int = 16, colour: bool = False, noise: float = 0.1, seed: int = 0, **data: Any
    ) -> None:
        super().__init__(**data)
        if size < 1 or side < 8 or noise < 0:
            raise ValueError(f"size is {size}, side is {side}, noise is {noise}: expected at least 1, 8 and 0")
        self.size, self.side, self.colour, self.noise, self.seed = size, side, colour, noise, seed

    def load(self) -> tuple[Tensor, Tensor]:
        images, labels, _ = self.drawn()
        return images, labels

    def drawn(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, the number of the shape in each (N,), and where it is: (N, side, side) bool."""
        generator = torch.Generator().manual_seed(self.seed)
        labels = torch.arange(self.size) % len(SHAPES)
        radius, x, y = torch.rand(3, self.size, 1, 1, generator=generator)
        radius = 0.25 + 0.2 * radius  # of the side
        grid = (torch.arange(self.side) + 0.5) / self.side
        across = (grid - radius - x * (1 - 2 * radius)).abs() / radius  # (N, 1, side), 1 at the shape's edge
        down = (grid[:, None] - radius - y * (1 - 2 * radius)).abs() / radius  # (N, side, 1)
        distance = (across.square() + down.square()).sqrt()  # from the middle
        largest, smallest = torch.maximum(across, down), torch.minimum(across, down)
        inside = [  # (N, side, side) each, in the order of the classes
            distance < 1,
            largest < 0.85,
            across + down < 1.2,
            (smallest < 0.25) & (largest < 1),
            (distance < 1) & (distance > 0.6),
        ]
        shape = torch.stack(inside)[labels, torch.arange(self.size)]  # (N, side, side)
        image = shape.float()[:, None]
        if self.colour:
            image = image * (0.3 + 0.7 * torch.rand(self.size, 3, 1, 1, generator=generator))
        return image + self.noise * torch.randn(image.shape, generator=generator), labels, shape


class ShapesMasks(Shapes):
    """The same images, with a mask of the shape in each as target: (side, side) class indices uint8, 0 around it.

    Args:
        **shapes: size, side, colour, noise, seed, and what Data takes: see Shapes.
    """

    classes = ["background", *SHAPES]

    def __init__(self, **shapes: Any) -> None:
        super().__init__(**shapes)

    def load(self) -> tuple[Tensor, Tensor]:
        images, labels, shape = self.drawn()
        return images, shape.byte() * (labels[:, None, None] + 1).byte()
