"""NaN and infinity in modules that know nothing of Kindling: batches of any kind, several optimisers, manual steps."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from simple_modules import QUIET, Gan, Plain, Points, loader
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader

from kindling.core.errors import Stopped
from kindling.train.callbacks import GradientNorm, NonFinite
from kindling.train.trainer import Trainer


class Pair(NamedTuple):
    image: Tensor
    row: Tensor


class AnyBatch(Plain):
    """Sums all tensors of a batch, whatever it is."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        total = sum(part.sum() for part in tensors_in(batch))
        return self.net.weight.sum() * total


def tensors_in(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, dict | tuple | list):
        return [each for part in (batch.values() if isinstance(batch, dict) else batch) for each in tensors_in(part)]
    return []


GOOD, BAD = torch.ones(2, 4), torch.tensor([[1.0, math.nan]])
BATCHES: dict[str, tuple[Any, str]] = {
    "dict": ({"image": BAD, "mask": GOOD, "name": ["a", "b"]}, "there is NaN or infinity in the batch's image"),
    "nested dict": (
        {"image": GOOD, "targets": {"boxes": [GOOD, BAD]}},
        "there is NaN or infinity in the batch's targets",
    ),
    "tensor": (BAD, "there is NaN or infinity in the batch's values"),
    "tuple of dicts": (({"left": BAD}, {"right": GOOD}), "there is NaN or infinity in the batch's inputs"),
    "three parts": ([GOOD, BAD, GOOD], "there is NaN or infinity in the batch's inputs"),
    "masks": ((GOOD, {"mask": BAD, "label": torch.tensor(1)}), "there is NaN or infinity in the batch's targets"),
    "named": (Pair(GOOD, BAD), "there is NaN or infinity in the batch's targets"),
}


def fit(module: Any, batches: Any, run: Path, *callbacks: L.Callback, **settings: Any) -> Trainer:
    (run / "config.yaml").touch()
    loaded = (
        batches if isinstance(batches, DataLoader) else DataLoader(batches, batch_size=None, collate_fn=lambda x: x)
    )
    settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "default_root_dir": run, **settings}
    trainer = Trainer(callbacks=list(callbacks), **QUIET, **settings)
    trainer.fit(module, loaded)
    return trainer


@pytest.mark.parametrize(("batch", "message"), BATCHES.values(), ids=BATCHES)
def test_it_says_which_part_of_a_batch_is_bad_and_keeps_the_batch(batch: Any, message: str, tmp_path: Path) -> None:
    module = AnyBatch()
    with pytest.raises(
        Stopped, match=rf"step 1 \(epoch 1\): the loss is nan, since {message}.*; batch and state are in"
    ):
        fit(module, [batch], tmp_path, NonFinite())
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    (kept,) = torch.load(tmp_path / "non_finite" / "batch.pt", weights_only=False)
    for found, expected in zip(tensors_in(kept), tensors_in(batch), strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=0)
    assert torch.load(tmp_path / "non_finite" / "state.ckpt", weights_only=True)["global_step"] == 0


@pytest.mark.parametrize("kind", ["dict", "tensor", "masks"])
def test_such_a_batch_can_be_skipped(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = AnyBatch()
    before = module.net.weight.detach().clone()
    fit(module, [BATCHES[kind][0]], tmp_path, NonFinite("skip"))
    assert torch.equal(module.net.weight, before)
    assert "kindling: skipped step 1 (epoch 1): the loss is nan" in capsys.readouterr().err


def test_the_advice_names_no_setting_that_a_module_does_not_have(tmp_path: Path) -> None:
    class Explodes(Plain):
        def configure_optimizers(self) -> Any:
            return SGD(self.parameters(), lr=1e20)

    with pytest.raises(
        Stopped, match=r"though inputs and targets are finite: try a lower learning rate \(it is 1e\+20\)"
    ):
        fit(Explodes(), loader(), tmp_path, NonFinite())


class Spoilt(Gan):
    """Has a loss or a gradient that is NaN at the third batch, of its second optimiser."""

    what = "loss"

    def training_step(self, batch: Any, batch_idx: int) -> None:
        inputs, real = batch
        if batch_idx == 2 and self.what == "loss":
            real = real * math.nan
        super().training_step((inputs, real), batch_idx)
        if batch_idx == 2 and self.what == "gradient":
            second: Any = self.optimizers()[1]
            self.discriminator.weight.grad.fill_(math.nan)  # type: ignore[union-attr]
            second.step()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "loss",
            r"step 6 \(epoch 1\): the loss is nan, though inputs and targets are finite: try a lower learning rate",
        ),
        (
            "gradient",
            r"step 7 \(epoch 1\): 1 of 2 gradients are NaN or infinite, the first that of discriminator.weight",
        ),
    ],
)
def test_manual_optimisation_is_watched(what: str, message: str, tmp_path: Path) -> None:
    module = Spoilt()
    module.what = what
    with pytest.raises(Stopped, match=message) as stop:
        fit(module, loader(), tmp_path, NonFinite())
    assert "--non_finite.action skip" not in str(stop.value)  # which it could not
    assert "; batch and state are in " in str(stop.value)
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    ((inputs, _),) = torch.load(tmp_path / "non_finite" / "batch.pt", weights_only=True)
    assert torch.equal(inputs, Points().inputs[8:12])  # the third batch


def test_manual_optimisation_can_not_skip(tmp_path: Path) -> None:
    with pytest.raises(
        MisconfigurationException, match="non_finite.action is skip, but Gan optimises manually, .*: set"
    ):
        fit(Gan(), loader(), tmp_path, NonFinite("skip"))


def test_a_fine_gan_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = [Gan(), Gan()]
    fit(trained[0], loader(), tmp_path, NonFinite(), GradientNorm())
    fit(trained[1], loader(), tmp_path)
    torch.testing.assert_close(trained[0].state_dict(), trained[1].state_dict(), rtol=0, atol=0)
    assert capsys.readouterr().out == ""


class Hidden(Plain):
    """Takes its steps past Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        self.loss(batch).backward()
        optimizer.step()


def test_steps_that_it_can_not_see_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(Hidden(), loader(), tmp_path, NonFinite(), max_epochs=2)
    told = "note   NonFinite saw no step of Hidden's optimisers: it sees those of self.optimizers()\n"
    assert capsys.readouterr().out == told


class Direct(Plain):
    """Calls backward on the loss itself, so that nobody but the optimiser knows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        (self.loss(batch) * (math.inf if batch_idx == 1 else 1)).backward()
        optimizer.step()


def test_a_gradient_is_seen_though_its_loss_is_not(tmp_path: Path) -> None:
    with pytest.raises(
        Stopped, match=r"step 2 \(epoch 1\): 2 of 2 gradients are NaN or infinite, the first that of net."
    ):
        fit(Direct(), loader(), tmp_path, NonFinite())
    ((inputs, _),) = torch.load(tmp_path / "non_finite" / "batch.pt", weights_only=True)
    assert torch.equal(inputs, Points().inputs[4:8])  # the second batch


def test_a_module_without_a_loss_in_some_steps(tmp_path: Path) -> None:
    class Pauses(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) if batch_idx % 2 else None

    trainer = fit(Pauses(), loader(), tmp_path, NonFinite())
    assert trainer.global_step == 10


def test_a_batch_norm_in_a_plain_module_is_put_back_by_a_skip(tmp_path: Path) -> None:
    class Normed(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            inputs, targets = batch
            return nn.functional.mse_loss(self.net(self.norm(inputs)), targets)

    module = Normed()
    fit(module, [(GOOD * math.nan, torch.ones(2, 1))], tmp_path, NonFinite("skip"))
    assert module.norm.running_mean is not None
    assert module.norm.running_mean.eq(0).all()
    assert module.norm.num_batches_tracked == 0
