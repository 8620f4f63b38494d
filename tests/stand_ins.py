"""Small stand-ins for data that is not in the repository: add one for each data set of yours that needs files."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from torchvision import datasets

SAMPLES = Path("data/samples")  # where scripts/sample_data.py writes


def use_stand_ins(names: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what stands in for these data sets (`FashionMNIST`) and files (`data/samples/digits`)."""
    for name in names & STAND_INS.keys():
        STAND_INS[name](monkeypatch)
    if any(SAMPLES in Path(name).parents for name in names) and not SAMPLES.exists():
        write_samples(SAMPLES, 200)


def random_images(monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, ...], classes: int) -> None:
    """Put random images (*shape) uint8 in the place of a data set of torchvision."""

    def made(root: str, train: bool, download: bool = False) -> SimpleNamespace:
        count = (40 if train else 10) * classes
        images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
        return SimpleNamespace(data=images, targets=np.arange(count) % classes)

    monkeypatch.setattr(datasets, name, made)


STAND_INS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "MNIST": partial(random_images, name="MNIST", shape=(28, 28), classes=10),
    "FashionMNIST": partial(random_images, name="FashionMNIST", shape=(28, 28), classes=10),
    "CIFAR10": partial(random_images, name="CIFAR10", shape=(32, 32, 3), classes=10),
    "CIFAR100": partial(random_images, name="CIFAR100", shape=(32, 32, 3), classes=100),
}


def write_samples(folder: Path, count: int) -> None:
    """Write the first `count` samples of each file, as scripts/sample_data.py does."""
    spec = importlib.util.spec_from_file_location("sample_data", ROOT / "scripts" / "sample_data.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(folder, count)
