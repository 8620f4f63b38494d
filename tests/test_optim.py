import math

import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim import SGD

from kindling.optim import Constant, WarmupCosine


def optimizer(lr: float = 2.0) -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def curve(schedule: WarmupCosine | Constant, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(float(schedule.optimizer.param_groups[0]["lr"]))
        schedule.optimizer.step()
        schedule.step()
    return rates


def test_warmup_then_cosine() -> None:
    schedule = WarmupCosine(optimizer(), warmup=0.2, final=0.1)
    schedule.start(20)
    expected = [2 * (step + 1) / 5 for step in range(4)]
    expected += [2 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 16)) / 2) for step in range(16)]
    assert curve(schedule, 20) == pytest.approx(expected)
    assert float(schedule.get_last_lr()[0]) == pytest.approx(0.2)


def test_past_its_end_it_stays_at_the_final_rate() -> None:
    schedule = WarmupCosine(optimizer(), warmup=0, final=0.5)
    schedule.start(4)
    assert curve(schedule, 8)[4:] == pytest.approx([1.0] * 4)


def test_a_resumed_schedule_goes_on_where_it_was() -> None:
    whole = WarmupCosine(optimizer())
    whole.start(30)
    expected = curve(whole, 30)
    first = WarmupCosine(optimizer())
    first.start(30)
    curve(first, 12)
    second = WarmupCosine(optimizer())
    second.load_state_dict(first.state_dict())
    second.start(30)
    assert curve(second, 18) == pytest.approx(expected[12:])


def test_constant_changes_nothing() -> None:
    assert curve(Constant(optimizer()), 5) == [2.0] * 5


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="warmup is 1.5: expected a fraction"):
        WarmupCosine(optimizer(), warmup=1.5)
    with pytest.raises(ValueError, match="final is -1: expected a fraction"):
        WarmupCosine(optimizer(), final=-1)
    with pytest.raises(MisconfigurationException, match="a run with an end"):
        WarmupCosine(optimizer()).start(float("inf"))
