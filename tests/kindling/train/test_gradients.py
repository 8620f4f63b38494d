"""The gradients of a step: their length is torch's, is computed once, and is forgotten with a change."""

from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from simple_modules import QUIET, Gan, Plain, loader
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import SGD

from kindling.train.callbacks import GradientNorm, NonFinite
from kindling.train.gradients import Gradients, gradients_of, is_finite
from kindling.train.trainer import Trainer


def gradients(*values: Tensor) -> Gradients:
    parameters = [nn.Parameter(torch.zeros_like(value.to_dense() if value.is_sparse else value)) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = value
    return Gradients(SGD(parameters or [nn.Parameter(torch.zeros(1))], lr=0.1))


def drawn(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), (2, 2, 2))]


def test_the_length_is_torchs_to_the_bit() -> None:
    found = gradients(*drawn())
    assert torch.equal(found.norm, get_total_norm(drawn()))
    assert found.length == found.norm.item()


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e3])
def test_they_are_clipped_as_torch_clips_to_the_bit(limit: float) -> None:
    found, expected = gradients(*drawn()), gradients(*drawn())
    found.clip(limit)
    clip_grad_norm_(expected.optimizer.param_groups[0]["params"], limit)
    for ours, torchs in zip(found.tensors, expected.tensors, strict=True):
        assert torch.equal(ours, torchs)
    assert found.length == pytest.approx(min(limit, get_total_norm(drawn()).item()), rel=1e-5)


def test_none_and_sparse_ones_have_a_length() -> None:
    assert gradients().length == 0
    assert gradients(torch.eye(4).to_sparse()).length == pytest.approx(2.0)
    assert gradients(torch.ones(4), torch.full((5,), 2.0).half()).length == pytest.approx(24**0.5, rel=1e-3)


def test_a_length_that_overflows_is_no_fault() -> None:
    assert gradients(torch.full((9,), 3e38)).are_finite
    assert not gradients(torch.tensor([1.0, torch.inf])).are_finite
    assert is_finite(torch.ones(2))
    assert not is_finite(torch.tensor([torch.nan]))


def test_what_is_known_is_kept_until_it_is_forgotten() -> None:
    found = gradients(*drawn())
    assert not found.can_clip
    length = found.length
    assert found.can_clip
    for tensor in found.tensors:
        tensor.data.mul_(2)  # which torch counts as no change
    assert found.length == length
    found.forget()
    assert not found.can_clip
    assert found.length == pytest.approx(2 * length)


class Asks(L.Callback):
    """Asks for the length of the gradients, and may change them."""

    def __init__(self, factor: float = 1.0, keeps: bool = False) -> None:
        self.factor, self.keeps_gradients = factor, keeps
        self.shared: list[Any] = []
        self.lengths: list[float] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        found = gradients_of(trainer, optimizer)
        self.shared.append(found)
        self.lengths.append(found.length)
        if self.factor != 1:
            for parameter in module.parameters():
                parameter.grad.data.mul_(self.factor)


def train(module: Any, *callbacks: L.Callback, **settings: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, **QUIET, "max_steps": 3}
    trainer = Trainer(callbacks=list(callbacks), **quiet, **settings)
    trainer.fit(module, loader())
    return trainer


def count_norms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    computed: list[int] = []
    compute = Gradients._compute_norms
    monkeypatch.setattr(Gradients, "_compute_norms", lambda self: computed.append(1) or compute(self))
    return computed


def test_callbacks_and_clipping_share_one_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = count_norms(monkeypatch)
    first, second = Asks(keeps=True), Asks(keeps=True)
    trainer = train(Plain(), NonFinite(), GradientNorm(), first, second, gradient_clip_val=1e-3, log_every_n_steps=1)
    assert trainer.fit_loop.epoch_loop.lean  # type: ignore[attr-defined]
    assert first.shared == second.shared
    assert len(set(map(id, first.shared))) == len(computed) == 3
    assert trainer.fit_loop.epoch_loop.gradients is None  # type: ignore[attr-defined]


def test_after_a_hook_that_may_change_them_it_is_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = count_norms(monkeypatch)
    before, changes, after = Asks(keeps=True), Asks(factor=10), Asks(keeps=True)
    train(Plain(), before, changes, after)
    assert after.lengths == pytest.approx([10 * length for length in before.lengths])
    assert changes.lengths == before.lengths
    assert len(computed) == 6


@pytest.mark.parametrize("module", [Gan, Plain])
def test_in_lightnings_own_loop_each_looks_for_itself(module: Any) -> None:
    asks = Asks()
    trainer = train(module(), asks, profiler="simple")
    assert not trainer.fit_loop.epoch_loop.lean  # type: ignore[attr-defined]
    assert len(set(map(id, asks.shared))) == len(asks.shared) > 2


def test_those_of_another_optimiser_are_not_shared() -> None:
    found = gradients(*drawn())
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(gradients=found)))
    assert gradients_of(trainer, found.optimizer) is found
    assert gradients_of(trainer, gradients().optimizer) is not found
