"""A residual network for images: `kindling fit --config configs/digits_resnet.yaml`."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling import Model
from kindling.models.layers import activation as build_activation


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut: (B, C, H, W) → (B, channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1, activation: str = "relu") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.activation = build_activation(activation)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return self.activation(out + self.shortcut(x))


class ResNet(Model):
    """Residual network (He et al., 2016) with a 3×3 stem for small images: (B, C, H, W) float32 → (B, outputs).

    Args:
        width: channels of the first stage; each later stage doubles them and halves height and width.
        depths: residual blocks in each stage; [2, 2, 2, 2] with width 64 is ResNet-18.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if width or depths are not positive.
    """

    takes = ("images",)

    def __init__(
        self,
        width: int = 64,
        depths: list[int] = [2, 2, 2, 2],  # noqa: B006 (read only)
        activation: str = "relu",
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-3, weight_decay=0.05),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if width < 1 or not depths or any(depth < 1 for depth in depths):
            raise ValueError(f"width is {width} and depths is {depths}: expected positive integers")

        stem = nn.Conv2d(self.input_shape[0], width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), build_activation(activation))
        self.stages = nn.Sequential()
        channels = width
        for stage, depth in enumerate(depths):
            stage_channels = width * 2**stage
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                self.stages.append(ResidualBlock(channels, stage_channels, stride, activation))
                channels = stage_channels
        self.head = nn.Linear(channels, self.num_outputs)
        self.initialize()

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))  # (B, channels, H', W')
        return self.head(features.mean(dim=(2, 3)))
