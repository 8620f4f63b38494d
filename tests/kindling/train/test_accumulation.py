"""Gradients of several batches: each step is the mean over the batches that it has, also the last of an epoch."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from simple_modules import QUIET
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader, IterableDataset

from kindling.train.callbacks import NonFinite
from kindling.train.trainer import Trainer

INPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


class Line(L.LightningModule):
    """A line by gradient descent."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)
        nn.init.ones_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.line(batch) - batch[:, :1] * 2).square().mean()

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.1)


class Stream(IterableDataset):
    """Has no length."""

    def __iter__(self) -> Any:
        return iter(INPUTS)


def expected(batches: list[Tensor], window: int) -> Tensor:
    """The weights after gradient descent on the mean loss of each window."""
    module = Line()
    optimizer = module.configure_optimizers()
    for start in range(0, len(batches), window):
        optimizer.zero_grad()
        losses = [module.training_step(batch, 0) for batch in batches[start : start + window]]
        torch.stack(losses).mean().backward()
        optimizer.step()
    return module.line.weight.detach()


@pytest.mark.parametrize("lean", [True, False], ids=["Kindling's loop", "Lightning's loop"])
@pytest.mark.parametrize("window", [1, 3, 4, 8])
def test_a_step_is_the_mean_of_its_batches(window: int, lean: bool, tmp_path: Path) -> None:
    module = Line()
    trainer = Trainer(accumulate_grad_batches=window, max_epochs=1, lean_loop=lean, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, DataLoader(list(INPUTS), batch_size=8))  # type: ignore[arg-type]
    assert trainer.fit_loop.epoch_loop.lean == lean  # type: ignore[attr-defined]
    torch.testing.assert_close(module.line.weight.detach(), expected(list(INPUTS.split(8)), window))


def test_it_is_so_where_nobody_knows_the_end(tmp_path: Path) -> None:
    module = Line()
    checks = [NonFinite()]
    trainer = Trainer(accumulate_grad_batches=3, max_epochs=1, callbacks=checks, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, DataLoader(Stream(), batch_size=8))
    torch.testing.assert_close(module.line.weight.detach(), expected(list(INPUTS.split(8)), 3))
