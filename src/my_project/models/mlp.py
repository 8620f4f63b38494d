"""A multilayer perceptron: `kindling fit --config configs/digits_mlp.yaml`."""

import math
from typing import Any, Literal

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from kindling import Model
from kindling.models.layers import activation as build_activation

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(Model):
    """Multilayer perceptron: inputs of any shape, flattened, (B, *input_shape) float32 → (B, outputs).

    Each hidden layer is linear → norm → activation → dropout (Ioffe & Szegedy, 2015; Srivastava et al., 2014).

    Args:
        hidden_sizes: width of each hidden layer; an empty list gives a linear model.
        activation: name of an activation in `torch.nn`: relu, leaky_relu, gelu, silu…
        dropout: share of hidden units zeroed in training, in [0, 1).
        norm: normalisation of the hidden layers; null for none.
        optimizer: builds the optimiser from the parameters; part of the recipe.
        **model: input_shape, classes, targets, task, schedule …: see Model.

    Raises:
        ValueError: if a size is not positive or the dropout is out of range.
    """

    def __init__(
        self,
        hidden_sizes: list[int] = [256, 128],  # noqa: B006 (read only)
        activation: str = "relu",
        dropout: float = 0.0,
        norm: Literal["batch", "layer"] | None = "batch",
        optimizer: OptimizerCallable = lambda params: AdamW(params, lr=2e-3, weight_decay=0.01),
        **model: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **model)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: expected a fraction in [0, 1)")
        if any(size < 1 for size in hidden_sizes):
            raise ValueError(f"hidden_sizes is {hidden_sizes}: expected positive integers")

        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(self.input_shape)
        for size in hidden_sizes:
            layers.append(nn.Linear(width, size, bias=norm is None))  # the norm has a bias of its own
            if norm:
                layers.append(NORMS[norm](size))
            layers.append(build_activation(activation))
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        layers.append(nn.Linear(width, self.num_outputs))
        self.net = nn.Sequential(*layers)
        self.initialize()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)
