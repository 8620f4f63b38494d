"""A convolutional network for images and sequences: `kindling fit --config configs/digits_cnn.yaml`."""

from typing import Any, Literal

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling import Model
from kindling.models.layers import activation as build_activation

LAYERS_1D = {"conv": nn.Conv1d, "norm": nn.BatchNorm1d, "max": nn.MaxPool1d, "average": nn.AvgPool1d}
LAYERS_2D = {"conv": nn.Conv2d, "norm": nn.BatchNorm2d, "max": nn.MaxPool2d, "average": nn.AvgPool2d}


class CNN(Model):
    """Convolutional network (LeCun et al., 1998): images (B, C, H, W), or sequences (B, L, F), float32 → (B, outputs).

    A stage is two convolutions, each with batch norm and activation, then pooling that halves the size, then dropout.
    The last stage ends in the mean over all positions. The zeros that pad a short sequence are seen as part of it.

    Args:
        channels: channels of each stage.
        kernel_size: width of the convolutions, in pixels or steps; odd.
        pooling: whether to take the largest of neighbouring positions, or their mean.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        dropout: share of the features zeroed after each stage in training, in [0, 1).
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if an argument is out of range, or the input is too small for so many stages.
    """

    takes = ("images", "sequences")

    def __init__(
        self,
        channels: list[int] = [32, 64],  # noqa: B006 (read only)
        kernel_size: int = 3,
        pooling: Literal["max", "average"] = "max",
        activation: str = "relu",
        dropout: float = 0.1,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=3e-3, weight_decay=0.05),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if not channels or min(channels) < 1 or kernel_size % 2 == 0:
            raise ValueError(f"channels is {channels}, kernel_size is {kernel_size}: expected positive, the size odd")
        layers: dict[str, Any]
        if len(self.input_shape) == 3:
            layers = LAYERS_2D
            in_channels, *sides = self.input_shape
        else:
            layers = LAYERS_1D
            *sides, in_channels = self.input_shape
        if min(sides) < 2 ** (len(channels) - 1):
            raise ValueError(f"channels is {channels}: inputs of size {min(sides)} can't be halved that often")

        self.stages = nn.Sequential()
        for stage, out_channels in enumerate(channels):
            if stage > 0:
                self.stages.append(layers[pooling](2))
            for _ in range(2):
                conv = layers["conv"](in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
                self.stages.extend([conv, layers["norm"](out_channels), build_activation(activation)])
                in_channels = out_channels
            self.stages.append(nn.Dropout(dropout))
        self.head = nn.Linear(in_channels, self.num_outputs)
        self.initialize()

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dim() == 3:
            inputs = inputs.transpose(1, 2)  # (B, F, L)
        return self.head(self.stages(inputs).flatten(2).mean(dim=2))
