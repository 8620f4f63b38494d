"""What is measured on a device without float64, such as Apple's GPU, as on the CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from kindling.tasks.measures import (
    ClassMeasures,
    LabelMeasures,
    NumberMeasures,
    ReconstructionMeasures,
    WeightedMean,
)
from kindling.tasks.token_measures import TokenMeasures

MPS = torch.device("mps")


class OnMps(Tensor):
    """A tensor that behaves as on Apple's GPU, which refuses float64; `cpu` brings it back."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function == Tensor.device.__get__:  # type: ignore[attr-defined]
            return MPS
        if function is Tensor.cpu:
            return args[0].as_subclass(Tensor)
        result = super().__torch_function__(function, types, args, kwargs or {})
        if isinstance(result, cls) and result.as_subclass(Tensor).dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return result


SCORES, LABELS = torch.rand(12, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=1), torch.arange(12) % 3
# Pixels are counted in whole numbers, and computed from the counts on the CPU.
CASES: dict[str, tuple[Callable[[], Metric], Tensor, Tensor]] = {
    "mean": (WeightedMean, torch.tensor(0.5), torch.tensor(4.0)),
    "classes": (lambda: ClassMeasures(whole_split=True), SCORES, LABELS),
    "labels": (lambda: LabelMeasures(True, 0.5, whole_split=True), SCORES, (SCORES > 0.4).float()),
    "numbers": (lambda: NumberMeasures(whole_split=True), SCORES, SCORES + 1),
    "reconstruction": (lambda: ReconstructionMeasures(of_images=True), SCORES, SCORES.square()),
    "tokens": (lambda: TokenMeasures(3, -100), SCORES[:, None].reshape(4, 3, 3), LABELS.reshape(4, 3)),
}


def test_the_stand_in_refuses_float64() -> None:
    values = torch.ones(2).as_subclass(OnMps)
    assert values.device == MPS
    assert type(values.cpu().double()) is Tensor
    with pytest.raises(TypeError, match="doesn't support float64"):
        values.double()


@pytest.mark.parametrize("name", CASES)
def test_a_measure_needs_no_float64_on_the_device(name: str) -> None:
    make, scores, targets = CASES[name]
    found = []
    for kind in (Tensor, OnMps):
        metric = make()
        metric.update(scores.as_subclass(kind), targets.as_subclass(kind))
        metric.update(scores.as_subclass(kind), targets.as_subclass(kind))
        value = metric.compute()
        found.append(value if isinstance(value, dict) else {"": value})
    expected, measured = found
    assert measured.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(measured[key].as_subclass(Tensor), value, rtol=0, atol=0, equal_nan=True)
