import re
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
from conftest import Result

from kindling.cli.find import find
from kindling.core.errors import UsageError

FIND = ["fit", "--config", "configs/digits_mlp.yaml", "--trainer.accelerator", "cpu", "--find"]


def test_the_learning_rate_is_near_where_it_should_be(kindling: Callable[..., Result]) -> None:
    told = kindling(*FIND, "lr")
    assert (told.code, told.err) == (0, "")
    (rate,) = re.findall(r"--model\.optimizer\.lr (\S+)", told.out)
    assert 1e-3 < float(rate) < 1e-1
    assert [path.name for path in Path("lightning_logs").rglob("*")] == ["learning_rate.png"]  # and no run


def test_the_batch_size_is_bounded_by_the_data(kindling: Callable[..., Result]) -> None:
    told = kindling(*FIND, "batch_size")
    assert (told.code, told.err) == (0, "")
    (size,) = re.findall(r"--data\.batch_size (\d+)", told.out)
    assert 64 < int(size) <= 2048
    assert not Path("lightning_logs").exists()


def test_data_without_a_batch_size_is_refused() -> None:
    with pytest.raises(UsageError, match="--find batch_size changes the batch_size of the data, and .*Module has none"):
        find("batch_size", L.Trainer(accelerator="cpu", logger=False), L.LightningModule(), L.LightningDataModule())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*FIND, "dropout"], "--find: invalid choice: 'dropout'"),
        (["test", "--config", "configs/digits_mlp.yaml", "--find", "lr"], "--find is for a new training"),
    ],
)
def test_what_can_not_be_found(arguments: list[str], message: str, kindling: Callable[..., Result]) -> None:
    told = kindling(*arguments)
    assert told.code == 2
    assert message in told.err
