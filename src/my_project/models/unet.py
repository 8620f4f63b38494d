"""A small U-Net for masks: `kindling fit --config configs/shapes_unet.yaml`."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW

from kindling import Model
from kindling.models.layers import activation as build_activation
from kindling.tasks import Segmentation


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions, each with batch norm and activation: (B, C, H, W) → (B, channels, H, W)."""

    def __init__(self, in_channels: int, channels: int, activation: str) -> None:
        super().__init__()
        for inputs in (in_channels, channels):
            conv = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
            self.extend([conv, nn.BatchNorm2d(channels), build_activation(activation)])


class UNet(Model):
    """U-Net (Ronneberger et al., 2015): images (B, C, H, W) float32 → logits of each pixel's class (B, outputs, H, W).

    On the way down each level halves the sides and doubles the channels; on the way up each is joined with the one of
    the same size on the way down. Unlike in the paper, convolutions are padded, so that a mask is as large as its
    image. Sides that can't be halved that often are padded with zeros, later cut off. Its task is Segmentation.

    Args:
        width: channels of the first level.
        depth: how often the sides are halved.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        dropout: share of the channels at the lowest level zeroed in training, in [0, 1).
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, task, schedule …: see Model.

    Raises:
        ValueError: if an argument is out of range.
    """

    takes = ("images",)
    default_task = Segmentation

    def __init__(
        self,
        width: int = 16,
        depth: int = 3,
        activation: str = "relu",
        dropout: float = 0.1,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=3e-3, weight_decay=0.05),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if width < 1 or depth < 1:
            raise ValueError(f"width is {width} and depth is {depth}: expected positive integers")
        widths = [width * 2**level for level in range(depth + 1)]
        inputs = [self.input_shape[0], *widths]
        self.unit = 2**depth  # what a side must be a multiple of, in pixels
        self.down = nn.ModuleList(DoubleConv(inputs[level], widths[level], activation) for level in range(depth))
        self.bottom = nn.Sequential(DoubleConv(inputs[depth], widths[depth], activation), nn.Dropout2d(dropout))
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(depth)):
            self.grow.append(nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2))
            self.up.append(DoubleConv(2 * widths[level], widths[level], activation))
        self.head = nn.Conv2d(width, self.num_outputs, 1)
        self.initialize()

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        x = F.pad(images, (0, -width % self.unit, 0, -height % self.unit))
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([levels.pop(), grow(x)], dim=1))
        return self.head(x)[:, :, :height, :width]
