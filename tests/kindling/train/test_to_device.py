"""Batches on their way to a device: what is there stays, unless a step could change it for the loader that holds it."""

from collections import namedtuple
from typing import Any

import pytest
import torch

from kindling.train.to_device import to_device

CPU, HERE = torch.device("cpu"), torch.ones(2)


def test_a_tuple_of_tensors_that_is_there_stays() -> None:
    batch = (HERE, HERE)
    assert to_device(batch, CPU) is batch


@pytest.mark.parametrize("batch", [[HERE, HERE], {"x": HERE}, namedtuple("Pair", "x y")(HERE, HERE), [HERE, [HERE]]])
def test_any_other_batch_is_a_new_one_of_the_same_tensors(batch: Any) -> None:
    found = to_device(batch, CPU)
    assert found is not batch
    assert type(found) is type(batch)
    torch.testing.assert_close(found, batch)
