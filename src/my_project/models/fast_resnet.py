"""A residual network that trains in minutes: `kindling fit --config configs/fashion_mnist_fast.yaml`."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from kindling import Model
from kindling.models.layers import activation as build_activation
from kindling.models.muon import Muon


class Block(nn.Module):
    """A 3×3 convolution beside a shortcut: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, activation: str = "relu") -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = build_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.activation(self.norm(self.conv(x)))


class FastResNet(Model):
    """Shallow residual network for small images (after Page, 2018): (B, C, H, W) float32 → (B, outputs).

    A stage is a 3×3 convolution, pooling that halves height and width (rounded up), and blocks of one convolution each:
    all but the first convolution see at most a quarter of the pixels. Muon needs fewer epochs than AdamW or SGD.

    Args:
        channels: channels of each stage.
        blocks: residual blocks in each stage.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if channels and blocks don't match.
    """

    takes = ("images",)

    def __init__(
        self,
        channels: list[int] = [32, 64, 128],  # noqa: B006 (read only)
        blocks: list[int] = [0, 2, 2],  # noqa: B006
        activation: str = "relu",
        optimizer: OptimizerCallable = lambda params: Muon(params),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if not channels or min(channels) < 1 or len(blocks) != len(channels) or min(blocks) < 0:
            raise ValueError(f"channels is {channels}, blocks is {blocks}: expected positive channels, blocks for each")

        self.stages = nn.Sequential()
        in_channels = self.input_shape[0]
        for out_channels, depth in zip(channels, blocks, strict=True):
            self.stages.append(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False))
            self.stages.append(nn.MaxPool2d(2, ceil_mode=True))  # first, so that norm and activation cost a quarter
            self.stages.append(nn.BatchNorm2d(out_channels))
            self.stages.append(build_activation(activation))
            self.stages.extend(Block(out_channels, activation) for _ in range(depth))
            in_channels = out_channels
        self.head = nn.Linear(in_channels, self.num_outputs)
        nn.init.normal_(self.head.weight, std=0.01)  # small, as the blocks' sums are large: at first it only guesses
        self.initialize()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(images).mean(dim=(2, 3)))
