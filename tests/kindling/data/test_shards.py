"""Shards of LitData: read by number, without what could run code, and resumed exactly."""

import io
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result, assert_refused
from interrupted import assert_resumes_identically
from PIL import Image

from kindling.data.shards import ShardRecords, Shards

pytest.importorskip("litdata", reason="litdata is not installed: pip install -e '.[shards]'")
Kindling = Callable[..., Result]
FIT = ["fit", "--model", "CNN", "--model.channels", "[4]", "--data", "Shards", "--data.path", "shards"]
FIT += ["--data.inputs", "image", "--data.target", "label", "--data.image_size", "8", "--data.batch_size", "8"]
FIT += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)


def record(number: int) -> dict[str, Any]:
    content = io.BytesIO()
    Image.fromarray(pixels(number)).save(content, "PNG")
    label = "dog" if number % 3 else "cat"
    return {"image": content.getvalue(), "label": label, "weight": number / 2, "trace": np.full((5, 2), number, "f4")}


def write(folder: Path, records: list[Any]) -> Path:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_size=20)
    for number, each in enumerate(records):
        writer.add_item(number, each)
    writer.done()
    writer.merge()
    return folder


@pytest.fixture
def shards(project: Path) -> Path:
    return write(project / "shards", list(map(record, range(100))))


def data_of(path: Path, inputs: str | list[str] = "image", **arguments: Any) -> Shards:
    options: dict[str, Any] = {"target": "label", "image_size": 8, "batch_size": 8}
    data = Shards(str(path), inputs, **(options | arguments))
    data.setup("fit")
    return data


def test_records_are_read_by_number(shards: Path) -> None:
    assert len([*shards.glob("*.bin")]) == 5
    data = data_of(shards)
    assert data.classes == ["cat", "dog"]
    inputs, targets = data.samples
    np.testing.assert_array_equal(inputs[torch.tensor([99, 7])][1], pixels(7).transpose(2, 0, 1))
    assert targets[:4].tolist() == [0, 1, 1, 0]
    numbers = data_of(shards, ["trace", "weight"], target=None, normalize=False)
    torch.testing.assert_close(numbers.samples[0][torch.tensor([40])], torch.tensor([[40.0] * 10 + [20.0]]))


def test_folders_are_splits(project: Path) -> None:
    for split, first in {"train": 0, "val": 60, "test": 80}.items():
        write(project / "shards" / split, list(map(record, range(first, first + 20))))
    data = data_of(project / "shards")
    assert [data.splits[split].tolist()[::19] for split in ("train", "val", "test")] == [[0, 19], [20, 39], [40, 59]]
    np.testing.assert_array_equal(data.samples[0][torch.tensor([40])][0], pixels(80).transpose(2, 0, 1))


def test_workers_read_the_same(shards: Path) -> None:
    alone, helped = data_of(shards), data_of(shards, workers=2)
    again = pickle.loads(pickle.dumps(ShardRecords(shards)))
    assert again[3]["label"] == "cat"
    batches = 0
    for one, other in zip(alone.loader("train"), helped.loader("train"), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        batches += 1
    assert batches == 8


@pytest.mark.slow
def test_a_training_that_was_interrupted_ends_the_same(
    shards: Path, kindling: Kindling, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_resumes_identically(kindling, monkeypatch, [*FIT, "--data.workers", "2"], [], accident=11, every=3)
    assert kindling("test", "--run", "lightning_logs/broken/version_0").code == 0
    assert "20 of 20 inputs" in kindling("predict", "--run", "lightning_logs/broken/version_0").out
    assert "Shards: images 3×8×8, 100 samples" in kindling("data", *FIT[FIT.index("--data") : -4]).out


class Touch:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_what_could_run_code_is_refused(project: Path, kindling: Kindling) -> None:
    write(project / "shards", [{"image": Touch(), "label": 0}])
    assert_refused(kindling(*FIT), "shards/index.json: image is written as pickle, which is not read since it could")
    index = write(project / "lists", [[1, 2], [3, 4]]) / "index.json"
    assert_refused(
        kindling(*FIT, "--data.path", "lists"), "lists/index.json has samples other than flat dicts of values"
    )
    content = json.loads(index.read_text())
    content["config"]["data_spec"] = content["config"]["data_spec"].replace("builtins.list", "collections.defaultdict")
    index.write_text(json.dumps(content))
    assert_refused(
        kindling(*FIT, "--data.path", "lists"), "lists/index.json has samples other than flat dicts of values"
    )
    index.write_text("{}")
    assert_refused(kindling(*FIT, "--data.path", "lists"), "lists/index.json can't be read as the index of shards")
    assert not Path("ran").exists()


def test_what_can_not_be_used_is_refused(shards: Path, kindling: Kindling, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str, *arguments: str) -> None:
        assert_refused(kindling(*FIT, *arguments), message)

    refused("target is 'colour', which the records don't have: image, label, weight, trace", "--data.target", "colour")
    refused("path is 'configs': expected index.json, as litdata.optimize writes it", "--data.path", "configs")
    monkeypatch.setitem(sys.modules, "litdata", None)
    refused("Shards needs the library litdata: pip install -e '.[shards]'")


def test_two_folders_for_one_split_are_refused(project: Path) -> None:
    for name in ("train", "val", "validation"):
        (project / "twice" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="has the folders train, val, validation: keep one per split"):
        Shards(str(project / "twice"), "image")
