"""Every model on every task that fits. A new model joins by its defaults, or in SMALL."""

from typing import Any

import pytest
import torch
from torch import Tensor

import kindling.tasks
from kindling import Model
from kindling.core.parts import load_projects

PROJECTS = load_projects()
MODELS = {cls.__name__: cls for cls in Model.__subclasses__() if cls.__module__.partition(".")[0] in PROJECTS}
SMALL: dict[str, dict[str, Any]] = {
    "MLP": {"hidden_sizes": [32, 16]},
    "CNN": {"channels": [8, 16], "dropout": 0.0},
    "ResNet": {"width": 8, "depths": [1, 1]},
    "RNN": {"width": 24},
    "Transformer": {"width": 24, "depth": 1},
    "ViT": {"width": 24, "depth": 1, "dropout": 0.0},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "Classification": {"classes": ["a", "b", "c", "d"]},
    "BinaryClassification": {"classes": ["a", "b"]},
    "MultilabelClassification": {"classes": ["a", "b", "c"], "multilabel": True},
    "Regression": {"targets": ["x", "y"]},
}
TASKS = {name: getattr(kindling.tasks, name) for name in OUTPUTS}
SHAPES = {"vectors": (10,), "sequences": (8, 3), "tokens": (8,), "images": (1, 8, 8)}
VOCABULARY = 9
CASES = [
    pytest.param(model, kind, task, id=f"{model}-{kind}-{task}")
    for model, cls in MODELS.items()
    for kind in cls.takes
    for task in OUTPUTS
    if task == "Classification" or kind == cls.takes[-1]  # the kind of inputs changes nothing for the other tasks
]
every_case = pytest.mark.parametrize(("model", "kind", "task"), CASES)


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
    return inputs, torch.arange(size) % len(OUTPUTS[task]["classes"])
