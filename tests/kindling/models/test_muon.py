"""Muon's update against the singular value decomposition, torch's own Muon, and a resumed one."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from kindling.models.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16), (1, 5)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalize(matrix) @ right.T
    assert ((inner.diagonal() > 0.6) & (inner.diagonal() < 1.3)).all()
    torch.testing.assert_close(inner, inner.diagonal().diag(), atol=1e-3, rtol=0)


def test_in_bfloat16_no_singular_value_grows() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(64, 2, generator=generator) @ torch.randn(2, 256, generator=generator)  # of low rank
    found = orthogonalize(matrix.bfloat16())
    assert found.dtype == torch.bfloat16
    assert float(torch.linalg.matrix_norm(found.float(), 2)) < 1.3


def test_a_step_iterates_in_full_precision_and_leaves_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, before = list[str](), torch.get_float32_matmul_precision()
    monkeypatch.setattr(
        "kindling.models.muon.orthogonalize_all",
        lambda matrices: seen.append(torch.get_float32_matmul_precision()) or matrices,
    )
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    torch.set_float32_matmul_precision("high")
    try:
        Muon([weight]).step()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == ["highest"]


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonalize(torch.zeros(3, 5)), torch.zeros(3, 5))
    vector = nn.Parameter(torch.ones(3))
    vector.grad = torch.zeros(3)
    idle = nn.Parameter(torch.ones(2))
    Muon([vector, idle], weight_decay=0.0).step()
    assert torch.equal(vector, torch.ones(3))
    assert torch.equal(idle, torch.ones(2))


def test_a_matrix_is_updated_as_by_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (nn.Parameter(torch.eye(24, 8)) for _ in range(2))
    settings: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    optimizers = Muon([ours], **settings), torch.optim.Muon([theirs], **settings)
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(24, 8, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)  # torch iterates in bfloat16


def test_a_step_is_as_large_as_the_learning_rate() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel, bias = nn.Parameter(torch.zeros(8, 16, 3, 3)), nn.Parameter(torch.zeros(8))
    kernel.grad, bias.grad = (torch.randn(p.shape, generator=generator) for p in (kernel, bias))
    Muon([kernel, bias], lr=0.1).step()
    assert 0.06 < float(torch.linalg.matrix_norm(kernel.detach().flatten(1), 2)) < 0.13
    assert float(bias.detach().norm()) == pytest.approx(0.1)


def test_restored_it_goes_on_as_before() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    optimizer = Muon(net.parameters())

    def step(net: nn.Module, optimizer: Muon) -> None:
        optimizer.zero_grad()
        optimizer.step(lambda: net(torch.ones(2, 4)).square().sum().backward())

    step(net, optimizer)
    twin = copy.deepcopy(net)
    restored = Muon(twin.parameters())
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in ((net, optimizer), (twin, restored)):
        step(*each)
    for pair in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(*pair)


@pytest.mark.parametrize("wrong", [{"lr": -0.1}, {"momentum": 1.0}, {"weight_decay": -1.0}])
def test_bad_arguments(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected at least 0, and a momentum in .0, 1."):
        Muon([nn.Parameter(torch.zeros(1))], **wrong)
