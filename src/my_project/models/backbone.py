"""A network of torchvision or timm, perhaps pretrained: `kindling fit --config configs/digits_backbone.yaml`."""

import re
from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.optim import AdamW

from kindling import Model
from kindling.models.groups import fits
from kindling.models.pretrained import network_without_head
from kindling.train.messages import note

LAYER = r"((?:features|encoder|layers|blocks|stages|trunk_output)\.)*[^.]+"  # how the name of a parameter begins


class Backbone(Model):
    """A network that classifies images, with a new head: (B, C, H, W) float32 → (B, outputs).

    A pretrained network gets what it was trained with: images of its size and, if the data's pixels lie between 0 and
    1, with its own mean and spread. For a number of channels other than three, its first convolution has the sum of its
    weights, or repeats them in proportion. A lower rate for all but the head: --model.groups "{backbone: {lr: 1e-4}}".

    Args:
        name: of a network in torchvision.models, such as resnet18; or, after timm/, of one in timm, such as
            timm/convnext_tiny, which needs `pip install -e '.[timm]'`.
        pretrained: whether to start from the library's weights for it, which are downloaded once.
        size: side in pixels to which images are resized, as squares; null for that of pretrained weights, and for no
            resizing without them.
        freeze: how long all but the head stays unchanged: all of the run (or head: only the head trains), a share of it
            such as 0.5, or a number of epochs such as 3; null for not at all.
        layer_decay: factor of the learning rate from each layer to the one below it, in (0, 1]; 1 for the same rate.
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if there is no such network, it can't take such images, or its weights can't be read.
    """

    takes = ("images",)
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        name: str = "resnet18",
        pretrained: bool = False,
        size: int | None = None,
        freeze: int | float | Literal["all", "head"] | None = None,
        layer_decay: float = 1.0,
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=1e-3, weight_decay=0.05),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay is {layer_decay}: expected a factor in (0, 1]")
        if pretrained and self.init != "torch":
            raise ValueError(f"init is {self.init}: pretrained weights would be lost, so leave it out")
        channels, *sides = self.input_shape
        self.backbone, wanted = network_without_head(name, channels, pretrained)
        self.size = size or (wanted.size if pretrained else None)
        self.hparams["size"] = self.size  # in case the library's weights want another one day
        if self.size and sides != [self.size, self.size]:
            other = "" if size else f", as {name}'s weights expect (--model.size for another)"
            self.notes.append(f"images are resized from {sides[0]} × {sides[1]} to {self.size} × {self.size}{other}")
        self.wanted = wanted if pretrained else None
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        self.register_buffer("shift", torch.zeros(channels, 1, 1))
        self.head = nn.Linear(self._width(name), self.num_outputs)
        nn.init.normal_(self.head.weight, std=0.01)  # at first it only guesses
        self.frozen = {"backbone": "all" if freeze == "head" else freeze} if freeze is not None else {}
        if layer_decay < 1:
            self._decay_by_layer(layer_decay)
        self.initialize()

    def _width(self, name: str) -> int:
        """How many features the network makes of an image, by trying it on one."""
        try:
            with torch.inference_mode():
                return self._features(torch.zeros(1, *self.input_shape), self.backbone.eval()).shape[1]
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"name is {name}, which can't take these images ({reason}): try --model.size 224"
            ) from None
        finally:
            self.backbone.train()

    def _decay_by_layer(self, factor: float) -> None:
        """Give each layer of the backbone the rate of the layer above times a factor; the head keeps its own rate."""
        rate = self.optimizer([nn.Parameter(torch.zeros(1, 1))]).defaults["lr"]
        layer_of = {f"backbone.{name}": _layer(name) for name, _ in self.backbone.named_parameters()}
        free = {layer for name, layer in layer_of.items() if not any(fits(pattern, name) for pattern in self.groups)}
        for depth, layer in enumerate(reversed(dict.fromkeys(layer_of.values())), 1):
            if layer in free:  # what a user has said comes first
                self.groups[re.escape(f"backbone.{layer}")] = {"lr": rate * factor**depth}

    def on_fit_start(self) -> None:
        """Let a pretrained network see the data's pixels normalised by its own mean and spread."""
        super().on_fit_start()
        data = self.preprocessing
        if self.wanted and data and data["bounded"]:
            mean, std = self.wanted.statistics(len(self.scale))
            own_mean, own_std = (
                torch.tensor(data[key] or default) for key, default in (("mean", [0.0]), ("std", [1.0]))
            )
            self.scale.copy_(own_std.view(-1, 1, 1) / std)
            self.shift.copy_((own_mean.view(-1, 1, 1) - mean) / std)
        elif self.wanted:
            note(
                self.trainer,
                "pixels don't lie between 0 and 1: the pretrained network sees them as the data has them",
            )

    def _features(self, images: Tensor, network: nn.Module) -> Tensor:
        if self.size and images.shape[2:] != (self.size, self.size):
            smaller = min(images.shape[2:]) > self.size
            images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=smaller)
        return network(images * self.scale + self.shift)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self._features(images, self.backbone))


def _layer(name: str) -> str:
    """The layer of a parameter: the first module that is not a mere container."""
    found = re.match(LAYER, name)
    assert found
    return found[0]
