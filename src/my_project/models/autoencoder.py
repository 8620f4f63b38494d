"""An autoencoder for images and vectors: `kindling fit --config configs/digits_autoencoder.yaml`."""

from itertools import pairwise
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling import Model
from kindling.models.layers import activation as build_activation
from kindling.tasks import Reconstruction


class Autoencoder(Model):
    """Autoencoder (Hinton & Salakhutdinov, 2006): inputs float32 → their reconstructions, and latent vectors (B, L).

    Images (B, C, H, W) go through convolutions that halve the size, and back through ones that double it; vectors
    (B, F) go through linear layers, the widest first. In between is the latent vector, whose few numbers have to hold
    everything. Labels are not needed.

    Args:
        latent: numbers in a latent vector.
        widths: channels of each stage for images, or units of each hidden layer for vectors, from narrow to wide.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, task, schedule …: see Model.

    Raises:
        ValueError: if a size is not positive, or the task is not Reconstruction.
    """

    takes = ("vectors", "images")
    default_task = Reconstruction

    def __init__(
        self,
        latent: int = 16,
        widths: list[int] = [32, 64],  # noqa: B006 (read only)
        activation: str = "gelu",
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=3e-3, weight_decay=0.01),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if min(latent, *widths, 1) < 1 or not widths:
            raise ValueError(f"latent is {latent} and widths is {widths}: expected positive numbers")
        if not isinstance(self.task, Reconstruction):
            raise ValueError(f"task is {type(self.task).__name__}: Autoencoder is for Reconstruction")
        build = self._of_images if len(self.input_shape) == 3 else self._of_vectors
        self.encoder, self.decoder = build(latent, widths, activation)
        self.initialize()

    def _of_vectors(self, latent: int, widths: list[int], activation: str) -> tuple[nn.Module, nn.Module]:
        sizes = [self.input_shape[0], *reversed(widths), latent]
        return _linear(sizes, activation), _linear(sizes[::-1], activation)

    def _of_images(self, latent: int, widths: list[int], activation: str) -> tuple[nn.Module, nn.Module]:
        channels, height, width = self.input_shape
        encoder, decoder = nn.Sequential(), nn.Sequential()
        for number, wider in enumerate(widths):
            up = nn.Upsample(size=(height, width))
            narrower = nn.Conv2d(wider, channels, kernel_size=3, padding=1)
            last = [nn.BatchNorm2d(channels), build_activation(activation)] if number else []  # pixels have any sign
            decoder = nn.Sequential(up, narrower, *last, *decoder)
            down = nn.Conv2d(channels, wider, kernel_size=3, stride=2, padding=1)
            encoder.extend([down, nn.BatchNorm2d(wider), build_activation(activation)])
            channels, height, width = wider, (height + 1) // 2, (width + 1) // 2
        numbers = channels * height * width
        encoder.extend([nn.Flatten(), nn.Linear(numbers, latent)])
        start = [nn.Linear(latent, numbers), build_activation(activation), nn.Unflatten(1, (channels, height, width))]
        return encoder, nn.Sequential(*start, *decoder)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.encoder(inputs)
        return self.decoder(latent), latent


def _linear(sizes: list[int], activation: str) -> nn.Sequential:
    """Linear layers from each size to the next, with an activation between them."""
    layers: list[nn.Module] = []
    for size, next_size in pairwise(sizes):
        layers += [nn.Linear(size, next_size), build_activation(activation)]
    return nn.Sequential(*layers[:-1])
