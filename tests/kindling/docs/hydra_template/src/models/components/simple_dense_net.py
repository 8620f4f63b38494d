"""A network of the names and arguments that ashleve/lightning-hydra-template (MIT) has here."""

import itertools

from torch import Tensor, nn


class SimpleDenseNet(nn.Module):
    def __init__(self, input_size: int = 784, lin1_size: int = 256, lin2_size: int = 256, lin3_size: int = 256):
        super().__init__()
        widths = [input_size, lin1_size, lin2_size, lin3_size]
        pairs = list(itertools.pairwise(widths))
        layers = [nn.Sequential(nn.Linear(*pair), nn.BatchNorm1d(pair[1]), nn.ReLU()) for pair in pairs]
        self.model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(lin3_size, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
