"""Options of the optimiser for some of the parameters, by a pattern for their names."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, AdamW
from torch.optim.lr_scheduler import CyclicLR, StepLR

from kindling.models.groups import fits, names_by_pattern
from kindling.models.muon import Muon
from kindling.models.schedules import Constant, OneCycleLR, ReduceLROnPlateau, WarmupCosine
from my_project.models.mlp import MLP
from my_project.models.resnet import ResNet


def build(**arguments: Any) -> MLP:
    return MLP(input_shape=(10,), classes=["a", "b", "c"], hidden_sizes=[8], **arguments)  # net.1 … net.4


def groups_of(model: Any) -> list[dict[str, Any]]:
    return model.configure_optimizers()["optimizer"].param_groups


def names_in(model: nn.Module, group: dict[str, Any]) -> list[str]:
    own = {id(parameter) for parameter in group["params"]}
    return [name for name, parameter in model.named_parameters() if id(parameter) in own]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("head", "head.weight", True),
        ("head", "head", True),
        ("head", "header.weight", False),
        ("head", "old.head.weight", False),
        (r".*norm.*", "stages.0.norm1.bias", True),
        (r".*\.bias", "head.bias", True),
        ("stages.[01]", "stages.1.conv.weight", True),
        ("stages.1", "stages.10.conv.weight", False),
    ],
)
def test_a_pattern_is_for_a_whole_name_or_what_it_is_in(pattern: str, name: str, expected: bool) -> None:
    assert fits(pattern, name) is expected


def test_the_first_pattern_that_fits_wins_and_the_others_keep_the_optimisers_options() -> None:
    model = ResNet(
        input_shape=(1, 8, 8),
        classes=["a", "b"],
        width=4,
        depths=[1],
        optimizer=partial(AdamW, lr=1e-3, weight_decay=0.1),
        groups={"head": {"lr": 1e-2, "betas": [0.8, 0.9]}, ".*norm.*": {"weight_decay": 0}, "stages": {"lr": 1e-4}},
    )
    rest, head, norms, stages = groups_of(model)
    assert names_in(model, rest) == ["stem.0.weight", "stem.1.weight", "stem.1.bias"]
    assert names_in(model, head) == ["head.weight", "head.bias"]
    assert names_in(model, norms) == [f"stages.0.norm{n}.{part}" for n in (1, 2) for part in ("weight", "bias")]
    assert names_in(model, stages) == ["stages.0.conv1.weight", "stages.0.conv2.weight"]
    assert [group["lr"] for group in (rest, head, norms, stages)] == [1e-3, 1e-2, 1e-3, 1e-4]
    assert [group["weight_decay"] for group in (rest, head, norms, stages)] == [0.1, 0.1, 0, 0.1]
    assert head["betas"] == [0.8, 0.9]


def test_decay_of_weights_alone_holds_in_each_group_that_says_nothing_else() -> None:
    options = {"net.4": {"lr": 0.1}, "net.2": {"weight_decay": 0.5}}
    model = build(optimizer=partial(SGD, lr=1.0, weight_decay=0.2), decay="weights", groups=options)
    found = {
        name: (group["lr"], group["weight_decay"]) for group in groups_of(model) for name in names_in(model, group)
    }
    assert found == {
        "net.1.weight": (1.0, 0.2),
        "net.2.weight": (1.0, 0.5),  # a norm
        "net.2.bias": (1.0, 0.5),
        "net.4.weight": (0.1, 0.2),
        "net.4.bias": (0.1, 0.0),
    }


def test_without_groups_the_optimiser_has_those_of_before() -> None:
    model = build()
    (group,) = groups_of(model)
    assert list(map(id, group["params"])) == list(map(id, model.parameters()))
    assert "pattern" not in group
    assert len(groups_of(build(decay="weights"))) == 2


def test_muon_steps_each_group_by_its_own_rate() -> None:
    torch.manual_seed(0)
    model = build(optimizer=partial(Muon, lr=0.1, weight_decay=0.0), groups={"net.4": {"lr": 0.0}})
    optimizer = model.configure_optimizers()["optimizer"]
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer.param_groups[0]["lr"] = 0.1  # the schedule has not begun
    model(torch.randn(4, 10)).square().sum().backward()
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert not any(name.startswith("net.4") for name in moved)


SCHEDULES = [Constant, WarmupCosine, partial(StepLR, step_size=1), OneCycleLR, partial(OneCycleLR, max_lr=0.5)]


@pytest.mark.parametrize("schedule", [*SCHEDULES, ReduceLROnPlateau])
def test_schedules_keep_the_proportion_of_the_rates(schedule: Any) -> None:
    model = build(optimizer=partial(SGD, lr=0.1, momentum=0.9), schedule=schedule, groups={"net.4": {"lr": 0.01}})
    config = model.configure_optimizers()
    optimizer, scheduler = config["optimizer"], config["lr_scheduler"]["scheduler"]
    if hasattr(scheduler, "start"):
        scheduler.start(10)
    for _ in range(8):
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(0.1 * first)
        optimizer.step()
        scheduler.step(*[1.0] * (schedule is ReduceLROnPlateau))


def test_one_rate_for_all_stays_the_peak_as_it_was_typed() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    assert OneCycleLR(optimizer, max_lr=0.7).peak == 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": {"head": {"lr": 1}}}, r"groups is wrong: 'head' fits no parameter; the modules are net, net\.1"),
        ({"groups": {"net": {}, "net.1": {}}}, r"all that 'net\.1' fits is taken by the patterns before it"),
        ({"groups": {"[": {"lr": 1}}}, r"'\[' is not a regular expression \(unterminated character set"),
        (
            {"groups": {"net": {"rate": 1}}},
            r"groups is \{net: \{'rate': 1\}\}: AdamW has no option rate: it has amsgrad, betas",
        ),
        ({"groups": {"net": {"lr": -1}}}, r"groups is .*: AdamW refuses it: Invalid learning rate: -1"),
        ({"groups": {"net": {"lr": "high"}}}, r"groups is .*: AdamW refuses it: "),
        ({"groups": {"net": {"params": []}}}, r"AdamW has no option params"),
        ({"groups": {"net": {"lr": 1}}, "optimizer": LBFGS}, r"LBFGS refuses it: "),
        (
            {
                "groups": {"net": {"lr": 1}},
                "schedule": partial(CyclicLR, base_lr=0.1, max_lr=0.2, cycle_momentum=False),
            },
            r"gets one learning rate for all from CyclicLR: leave out lr here",
        ),
    ],
)
def test_what_has_no_effect_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_of_many_modules_an_error_names_the_first() -> None:
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(30)])
    with pytest.raises(ValueError, match=r"the modules are 0, 1, .*, 19 and 10 more$"):
        names_by_pattern(model, ["head"], "groups")
