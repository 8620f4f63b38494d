"""Every model of the project on every task that fits. A new model joins by its defaults, or in SMALL."""

from typing import Any

import pytest
import torch
from project_parts import parts_below
from torch import Tensor

import kindling.tasks
from kindling import Model

# Arguments that make a model small and free of dropout, so that its tests take a moment and it can learn by heart.
SMALL: dict[str, dict[str, Any]] = {
    "MLP": {"hidden_sizes": [32, 16]},
    "Backbone": {"name": "shufflenet_v2_x0_5", "size": 32},
    "CNN": {"channels": [8, 16], "dropout": 0.0},
    "ResNet": {"width": 8, "depths": [1, 1]},
    "RNN": {"width": 24},
    "Transformer": {"width": 24, "depth": 1},
    "UNet": {"width": 8, "depth": 1, "dropout": 0.0},
    "ViT": {"width": 24, "depth": 1, "dropout": 0.0},
}
# The tasks of a model that is not for all of them, or so large that the one that needs most outputs is enough.
FOR_TASKS = {"Backbone": ["Classification"], "UNet": ["Segmentation"]}
OUTPUTS: dict[str, dict[str, Any]] = {
    "Classification": {"classes": ["a", "b", "c", "d"]},
    "BinaryClassification": {"classes": ["a", "b"]},
    "MultilabelClassification": {"classes": ["a", "b", "c"], "multilabel": True},
    "Regression": {"targets": ["x", "y"]},
    "Segmentation": {"classes": ["a", "b", "c", "d"]},
}
ONE_A_SAMPLE = [task for task in OUTPUTS if task != "Segmentation"]
TASKS = {name: getattr(kindling.tasks, name) for name in OUTPUTS}
SHAPES = {"vectors": (10,), "sequences": (8, 3), "tokens": (8,), "images": (1, 8, 8)}
VOCABULARY = 9

OF_OTHER_TASKS = ("Autoencoder",)  # whose outputs are none of these: they have tests of their own

MODELS = {name: cls for name, cls in parts_below(Model).items() if name not in OF_OTHER_TASKS}


def inputs_of(model: str) -> list[str]:
    """The kinds of inputs that a model takes, of those that these tests know."""
    return [kind for kind in MODELS[model].takes if kind in SHAPES]


CASES = [
    pytest.param(model, kind, task, id=f"{model}-{kind}-{task}")
    for model in MODELS
    for kind in inputs_of(model)
    for task in FOR_TASKS.get(model, ONE_A_SAMPLE)
    if task == "Classification" or kind == inputs_of(model)[-1]  # inputs change nothing for the other tasks
]
every_case = pytest.mark.parametrize(("model", "kind", "task"), CASES)
classification_cases = pytest.mark.parametrize(
    ("model", "kind"), [case.values[:2] for case in CASES if case.values[2] == "Classification"]
)


def build(model: str, kind: str, outputs: str, **arguments: Any) -> Model:
    torch.manual_seed(0)
    sizes = {"input_shape": SHAPES[kind], "vocabulary": VOCABULARY if kind == "tokens" else None, **OUTPUTS[outputs]}
    return MODELS[model](**sizes, **SMALL.get(model, {}), **{"task": TASKS[outputs](), **arguments})


def make_batch(kind: str, task: str, size: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(size, *SHAPES[kind], generator=generator)
    if kind == "tokens":
        inputs = torch.randint(1, VOCABULARY, (size, *SHAPES[kind]), generator=generator)
    if task == "Regression":
        return inputs, torch.randn(size, 2, generator=generator)
    if task == "MultilabelClassification":
        return inputs, torch.randint(2, (size, 3), generator=generator)
    if task == "Segmentation":
        return inputs, (inputs[:, 0] > 0).long() + 2 * (inputs[:, 0].abs() > 1).long()  # (B, H, W): by brightness
    return inputs, torch.arange(size) % len(OUTPUTS[task]["classes"])
