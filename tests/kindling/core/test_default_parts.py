"""The default optimiser of a model is one that flags can change and configs can keep, whatever its `__init__` does."""

from typing import Any

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import OptimizerCallable
from torch.optim import SGD

import kindling.core.default_parts  # noqa: F401 (what is tested)
from kindling import Model


class Counts(Model):
    """Looks at an argument that is the base's: the parser can't follow that."""

    def __init__(self, **model: Any) -> None:
        self.count = len(model["classes"])
        super().__init__(**model)


class CountsBySGD(Counts):
    """Has a default of its own besides."""

    def __init__(
        self, optimizer: OptimizerCallable = lambda params: SGD(params, lr=0.5, momentum=0.9), **model: Any
    ) -> None:
        self.count = len(model["classes"])
        super().__init__(optimizer=optimizer, **model)


class CountsLikewise(CountsBySGD):
    def __init__(self, **model: Any) -> None:
        self.count = len(model["classes"])
        super().__init__(**model)


@pytest.mark.parametrize(
    ("model", "optimizer", "arguments"),
    [
        (Counts, "torch.optim.AdamW", {"lr": 0.001}),
        (CountsBySGD, "torch.optim.SGD", {"lr": 0.5, "momentum": 0.9}),
        (CountsLikewise, "torch.optim.SGD", {"lr": 0.5, "momentum": 0.9}),
    ],
)
def test_a_default_optimiser_is_known_by_its_parts(
    model: type[Model], optimizer: str, arguments: dict[str, float]
) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(model, "model", skip={"task", "preprocessing"})
    found = parser.parse_args(["--model.input_shape=[4]", "--model.optimizer.lr=0.25"]).model.optimizer
    assert found.class_path == optimizer
    assert {name: found.init_args[name] for name in arguments} == arguments | {"lr": 0.25}
    assert "Unable to serialize" not in parser.dump(parser.parse_args(["--model.input_shape=[4]"]))
