"""A residual network for images: `kindling fit --config configs/digits_resnet.yaml`."""

from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling.models.base import Model
from kindling.optim import WarmupCosine


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut: (B, C, H, W) → (B, channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return torch.relu(out + self.shortcut(x))


class ResNet(Model):
    """Residual network (He et al., 2016) with a 3×3 stem for small images: (B, C, H, W) float32 → (B, outputs).

    Args:
        width: channels of the first stage; each later stage doubles them and halves height and width.
        depths: residual blocks in each stage; [2, 2, 2, 2] with width 64 is ResNet-18.
        optimizer: builds the optimiser from the parameters; part of the recipe.
        schedule: builds the learning-rate schedule from the optimiser; part of the recipe. `Constant` for none.
        **model: input_shape, classes, targets, task: see Model.

    Raises:
        ValueError: if the data has no images, or if width or depths are not positive.
    """

    def __init__(
        self,
        width: int = 64,
        depths: list[int] = [2, 2, 2, 2],  # noqa: B006 (read only)
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-3, weight_decay=0.05),
        schedule: LRSchedulerCallable = lambda optimizer: WarmupCosine(optimizer),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, schedule=schedule, **model)
        if len(self.input_shape) != 3:
            raise ValueError(f"ResNet needs images (channels, height, width): the data has inputs {self.input_shape}")
        if width < 1 or not depths or any(depth < 1 for depth in depths):
            raise ValueError(f"width is {width} and depths is {depths}: expected positive integers")

        self.stem = nn.Sequential(
            nn.Conv2d(self.input_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = nn.Sequential()
        channels = width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                self.stages.append(ResidualBlock(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.head = nn.Linear(channels, self.num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))  # (B, channels, H', W')
        return self.head(features.mean(dim=(2, 3)))
