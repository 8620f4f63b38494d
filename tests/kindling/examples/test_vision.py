"""torchvision's data sets, on small files in their formats."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from sklearn import model_selection as ms
from torchvision import datasets

from kindling.data.splits import Splitter, draw_splits
from my_project.data.vision import CIFAR10, FashionMNIST


def write_fashion_mnist(root: Path, train: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    """Write a small FashionMNIST of random images in the real format; return all images and labels."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (train + test, 28, 28), dtype=np.uint8)
    labels = (np.arange(train + test) % 10).astype(np.uint8)
    for name, part in [("train", slice(0, train)), ("t10k", slice(train, None))]:
        size = len(labels[part])
        header = np.array([2051, size, 28, 28], dtype=">i4").tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + images[part].tobytes())
        header = np.array([2049, size], dtype=">i4").tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + labels[part].tobytes())
    return images, labels


def test_images_and_the_own_test_split_are_read(tmp_path: Path) -> None:
    images, labels = write_fashion_mnist(tmp_path, train=200, test=50)
    data = FashionMNIST(root=str(tmp_path), val_fraction=0.25, batch_size=16)
    assert data.input_shape == (1, 28, 28)
    assert data.classes is not None
    assert data.classes[9] == "Ankle boot"
    assert data.splits["test"].tolist() == list(range(200, 250))  # torchvision's own
    assert len(data.splits["val"]) == 50
    assert len(data.splits["train"]) == 150
    inputs, targets = data.samples
    np.testing.assert_allclose(inputs[:, 0].numpy(), images / 255, rtol=1e-6)
    assert targets.tolist() == labels.tolist()


def test_five_thousand_images_are_for_validation() -> None:
    assert FashionMNIST().val_fraction * 60_000 == pytest.approx(5000)
    assert CIFAR10().val_fraction * 50_000 == pytest.approx(5000)


def test_the_five_thousand_are_those_of_a_share_of_all_images() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(70_000) % 10)
    shares = {"test": 0.2, "folds": 0, "fold": 0}
    drawn = draw_splits(Splitter(labels), 70_000, 0, 10_000, val=FashionMNIST().val_fraction, **shares)
    train, val = ms.train_test_split(np.arange(60_000), test_size=5000, random_state=0, stratify=labels[:60_000])
    assert drawn["val"].tolist() == val.tolist()
    assert drawn["train"].tolist() == train.tolist()
    assert drawn["test"].tolist() == list(range(60_000, 70_000))


def test_colour_images_have_their_channels_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        content = {"data": pixels.reshape(30, -1), "labels": [i % 10 for i in range(30)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CIFAR10.classes}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)  # checksums of the real files
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
    inputs, targets = CIFAR10(root=str(tmp_path)).load()
    assert inputs.shape == (180, 3, 32, 32)
    torch.testing.assert_close(inputs[:30], torch.from_numpy(pixels).float() / 255)
    assert targets[:10].tolist() == list(range(10))


def test_missing_files_are_told_in_one_sentence(kindling: Callable[..., Result]) -> None:
    told = kindling("fit", "--model", "MLP", "--data", "MNIST", "--data.root", "nowhere")
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert (
        "MNIST is missing or incomplete in the folder data.root, 'nowhere': --data.download true downloads it"
        in told.err
    )
    assert not Path("lightning_logs").exists()


def test_a_download_that_fails_is_told(kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no_network)
    told = kindling("fit", "--model", "MLP", "--data", "MNIST", "--data.download", "true")
    assert told.code == 2
    assert "downloading failed" in told.err


def test_the_written_files_are_in_the_format_of_the_real_ones(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, train=10, test=5)
    header = (tmp_path / "FashionMNIST/raw/train-images-idx3-ubyte").read_bytes()[:16]
    assert struct.unpack(">4i", header) == (2051, 10, 28, 28)
