"""Every data set of the project gives batches that fit what it declares. One that needs files joins in STAND_INS."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningDataModule
from project_parts import parts_below
from stand_ins import use_stand_ins
from torch import Tensor

from kindling import Data

DATA = parts_below(LightningDataModule)
ARGUMENTS: dict[str, dict[str, Any]] = {}  # of a data set whose defaults are not enough


@pytest.fixture
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LightningDataModule:
    monkeypatch.chdir(tmp_path)
    use_stand_ins({request.param}, monkeypatch)
    made = DATA[request.param](**ARGUMENTS.get(request.param, {}))
    made.prepare_data()
    made.setup("fit")
    return made


every_data = pytest.mark.parametrize("data", DATA, indirect=True)
every_declared_data = pytest.mark.parametrize(
    "data", [name for name, cls in DATA.items() if issubclass(cls, Data)], indirect=True
)


@every_data
def test_it_gives_batches(data: LightningDataModule) -> None:
    assert next(iter(data.train_dataloader())) is not None
    assert next(iter(data.val_dataloader())) is not None


@every_declared_data
def test_its_splits_share_no_sample(data: Data) -> None:
    indices = [index for split in data.splits.values() for index in split.tolist()]
    assert len(indices) == len(set(indices))
    assert all(len(split) > 0 for split in data.splits.values())


@every_declared_data
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_its_inputs_have_the_declared_shape(data: Data, split: str) -> None:
    inputs, *_ = next(iter(data.loader(split)))
    assert inputs.shape[1:] == data.input_shape
    if data.vocabulary:
        assert inputs.dtype == torch.int64
        assert 0 <= inputs.min() <= inputs.max() < data.vocabulary
    else:
        assert inputs.dtype == torch.float32
        assert inputs.isfinite().all()


@every_declared_data
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_its_targets_are_the_declared_classes_or_numbers(data: Data, split: str) -> None:
    *_, targets = next(iter(data.loader(split)))
    assert isinstance(targets, Tensor)
    if not data.classes and not data.targets:
        assert targets.shape[1:] == (0,)
        return
    if data.targets:
        assert targets.dtype == torch.float32
        assert targets.shape[1:] == (len(data.targets),)
        assert targets.isfinite().all()
        return
    count = len(data.classes or [])
    if targets.dim() == 3:  # masks, where 255 is a pixel that does not count
        assert targets.shape[1:] == data.input_shape[1:]
        counted = targets[targets != 255]
        assert 0 <= counted.min() <= counted.max() < count
        return
    assert targets.dtype == torch.int64
    assert targets.shape[1:] == ((count,) if data.multilabel else ())
    assert 0 <= targets.min() <= targets.max() < (2 if data.multilabel else count)
