"""A small vision transformer: `kindling fit --config configs/digits_vit.yaml`."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling import Model
from kindling.models.attention import EncoderBlock
from kindling.models.layers import activation as build_activation


class ViT(Model):
    """Vision transformer (Dosovitskiy et al., 2021): patches as tokens, learned positions; their mean decides.

    Images (B, C, H, W) float32 → (B, outputs).

    Args:
        patch: side of a patch, in pixels; a divisor of height and width.
        width: features of a patch.
        depth: encoder blocks.
        heads: attention heads; they share the width.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        dropout: share of features and attention weights zeroed in training, in [0, 1).
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if an argument is out of range.
    """

    takes = ("images",)

    def __init__(
        self,
        patch: int = 2,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        activation: str = "gelu",
        dropout: float = 0.1,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=3e-3, weight_decay=0.05),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        channels, height, image_width = self.input_shape
        if patch < 1 or height % patch or image_width % patch:
            raise ValueError(f"patch is {patch}: expected a divisor of the image's sides, {height} and {image_width}")
        count = (height // patch) * (image_width // patch)
        self.patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn(count, width))
        self.blocks = nn.Sequential(
            *(EncoderBlock(width, heads, build_activation(activation), dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.num_outputs)
        self.initialize()

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)  # (B, patches, width)
        return self.head(self.norm(self.blocks(patches + self.positions)).mean(dim=1))
