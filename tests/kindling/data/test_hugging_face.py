"""Data sets of Hugging Face: which splits and targets are taken, what is refused, and an exact resume."""

import io
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

from kindling.core.errors import UnreadableSample
from kindling.data.hugging_face import HuggingFace

datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install -e '.[hub]'")
Kindling = Callable[..., Result]
NAMES = ["zebra", "ant"]  # in another order than sorted
FIT = ["fit", "--model", "CNN", "--model.channels", "[4]", "--data", "HuggingFace", "--data.path", "saved"]
FIT += ["--data.inputs", "image", "--data.target", "label", "--data.image_size", "8", "--data.batch_size", "8"]
FIT += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]


def png(number: int) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def animals(first: int, count: int, labels: bool = True) -> Any:
    rows = range(first, first + count)
    features = datasets.Features({
        "image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES), "weight": datasets.Value("float64"),
        "age": datasets.Value("int64"), "word": datasets.Value("string"), "trace": datasets.Array2D((5, 2), "float32"),
    })  # fmt: skip
    columns = {
        "image": [{"bytes": png(row), "path": None} for row in rows],
        "label": [row % 2 if labels else -1 for row in rows],
        "weight": [row / 7 for row in rows],
        "age": list(rows),
        "word": [f"word {row}" for row in rows],
        "trace": [np.full((5, 2), row, np.float32) for row in rows],
    }
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def saved(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", project / "cache")
    parts = {"train": animals(0, 60), "validation": animals(60, 20), "test": animals(80, 20, labels=False)}
    datasets.DatasetDict(parts).save_to_disk(str(project / "saved"))
    return project / "saved"


def data_of(path: Path, inputs: str | list[str] = "image", **arguments: Any) -> HuggingFace:
    options: dict[str, Any] = {"target": "label", "image_size": 8, "batch_size": 8}
    data = HuggingFace(str(path), inputs, **(options | arguments))
    data.setup("fit")
    return data


def test_splits_are_those_of_the_data_set(saved: Path) -> None:
    data = data_of(saved)
    assert data.classes == ["ant", "zebra"]
    assert "the split for test has no labels (-1), and is left out" in data.notes
    assert data.splits["val"].tolist() == list(range(60, 80))
    assert len(data.splits["train"]) + len(data.splits["test"]) == 60  # the test is drawn
    assert data.class_counts["val"] == {"ant": 10, "zebra": 10}
    inputs, targets = data.samples
    expected = np.asarray(Image.open(io.BytesIO(png(61)))).transpose(2, 0, 1)
    np.testing.assert_array_equal(inputs[torch.tensor([3, 61])][1], expected)
    assert targets[:4].tolist() == [1, 0, 1, 0]


def test_splits_that_are_named(saved: Path) -> None:
    data = data_of(saved, splits={"train": "train", "test": "validation"})
    assert data.splits["test"].tolist() == list(range(60, 80))
    with pytest.raises(ValueError, match="splits is {'val': 'train'}: expected a name for train"):
        data_of(saved, splits={"val": "train"})


def test_columns_of_numbers(saved: Path) -> None:
    data = data_of(saved, ["weight", "trace"], target="age", normalize=False)
    assert (data.input_shape, data.targets) == ((11,), ["age"])
    inputs, targets = data.samples
    torch.testing.assert_close(inputs[torch.tensor([14])], torch.tensor([[2.0] + [14.0] * 10]))
    assert targets[14].tolist() == [14.0]
    assert data_of(saved, "trace").input_shape == (5, 2)
    assert data_of(saved, "trace", target=None).samples[1].shape == (100, 0)


def test_a_folder_of_files(saved: Path) -> None:
    (saved.parent / "files").mkdir()
    animals(0, 60).to_parquet(saved.parent / "files" / "train.parquet")
    data = data_of(saved.parent / "files", splits={"train": "train[:80%]", "test": "train[80%:]"})
    assert data.splits["test"].tolist() == list(range(48, 60))
    assert data.classes == ["ant", "zebra"]


def test_workers_read_the_same(saved: Path) -> None:
    alone, helped = data_of(saved), data_of(saved, workers=2)
    for one, other in zip(alone.loader("train"), helped.loader("train"), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_pictures_that_can_not_be_read(saved: Path) -> None:
    rows = animals(0, 40).to_list()
    rows[30]["image"] = {"bytes": b"no picture", "path": None}
    broken = datasets.Dataset.from_list(rows, features=animals(0, 1).features)
    broken.save_to_disk(str(saved.parent / "broken"))
    data = data_of(saved.parent / "broken", statistics_samples=1)
    with pytest.raises(UnreadableSample, match=r"record 30 \(from 0\), image, can't be read: it is not a JPEG"):
        data.samples[0][torch.tensor([30])]


def test_numbers_that_are_missing(saved: Path, kindling: Kindling) -> None:
    columns = {"age": [None, *map(float, range(39))], "word": ["b", "a"] * 20, "row": list(map(float, range(40)))}
    datasets.Dataset.from_dict(columns).save_to_disk(str(saved.parent / "gaps"))
    data = data_of(saved.parent / "gaps", "row", target="word")
    assert (data.classes, data.samples[1][:3].tolist()) == (["a", "b"], [1, 0, 1])
    with pytest.raises(ValueError, match=r"target age has no value in record 0 \(from 0\): leave such records out"):
        data_of(saved.parent / "gaps", "row", target="age")
    finished = kindling(
        *FIT, "--model", "MLP", "--data.path", "gaps", "--data.inputs", "[age,row]", "--data.target", "word"
    )
    assert finished.code != 0
    message = "record 0 (from 0) holds a value in age or row that is missing or not a finite number: correct it"
    assert message in finished.err
    assert "Traceback" not in finished.err


@pytest.mark.slow
def test_a_training_that_was_interrupted_ends_the_same(
    saved: Path, kindling: Kindling, monkeypatch: pytest.MonkeyPatch
) -> None:
    flips = '[{"class_path": "torchvision.transforms.v2.RandomHorizontalFlip"}]'
    assert_resumes_identically(kindling, monkeypatch, [*FIT, "--data.transforms", flips], [], accident=7, every=3)
    assert kindling("test", "--run", "lightning_logs/broken/version_0").code == 0
    assert "16 of 16 inputs" in kindling("predict", "--run", "lightning_logs/broken/version_0").out
    assert "HuggingFace: images 3×8×8, 80 samples" in kindling("data", *FIT[FIT.index("--data") : -4]).out


def test_what_can_not_be_used_is_refused(saved: Path, kindling: Kindling, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str, *arguments: str) -> None:
        assert_refused(kindling(*FIT, *arguments), message)

    refused("inputs is 'picture', which the records don't have: image, label, weight", "--data.inputs", "picture")
    refused("inputs has 'word', which holds text: expected one picture, or numbers", "--data.inputs", "word")
    refused("inputs has 'image', which holds a picture beside others", "--data.inputs", "[age,image]")
    refused("'label' is in inputs and in target", "--data.inputs", "label")
    (saved.parent / "pickles").mkdir()
    (saved.parent / "pickles" / "data.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (saved.parent / "pickles" / "pickles.py").write_text("open('ran', 'w')")
    refused("path is 'pickles', which can't be loaded", "--data.path", "pickles")
    assert not Path("ran").exists()

    refused(
        "there is no such folder, and --data.download true downloads it from the hub", "--data.path", "nobody/animals"
    )
    refused("path is 's3://place/animals', which is not a folder here", "--data.path", "s3://place/animals")
    asked = []

    def unreachable(*arguments: Any, **_: Any) -> None:
        asked.append((arguments, datasets.config.HF_HUB_OFFLINE))
        raise ConnectionError("Couldn't reach 'nobody/animals' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    message = (
        "path is 'nobody/animals', which can't be loaded (Couldn't reach 'nobody/animals' on the Hub): where there is"
    )
    refused(message, "--data.path", "nobody/animals", "--data.download", "true")
    refused("--data.download true", "--data.path", "nobody/animals")
    assert asked == [(("nobody/animals", None), False), (("nobody/animals", None), True)]
    assert not datasets.config.HF_HUB_OFFLINE


def test_the_library_is_asked_for_where_it_is_missing(
    saved: Path, kindling: Kindling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert_refused(kindling(*FIT), "HuggingFace needs the library datasets: pip install -e '.[hub]'")
