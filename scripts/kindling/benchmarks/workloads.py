"""What the contestants train on: a model and its data, for the command line and for plain loops."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.data.base import Data
from kindling.models.base import Model
from my_project.data.memory import Memory
from my_project.data.vision import FashionMNIST

REAL = Path(__file__).resolve().parents[3] / "data"
RAW = "FashionMNIST/raw"
MISSING = "no data/FashionMNIST (`--data.download true`, or the files of Debian's dataset-fashion-mnist)"
QUICK = 3  # steps in an epoch


@dataclass
class Workload:
    """A model and data of Kindling's with their arguments."""

    model: type[Model]
    data: type[Data]
    model_arguments: dict[str, Any] = field(default_factory=dict)
    data_arguments: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None  # in an epoch; None for all that there are

    @property
    def flags(self) -> list[str]:
        flags = ["--model", self.model.__name__, "--data", self.data.__name__]
        for group, arguments in (("model", self.model_arguments), ("data", self.data_arguments)):
            flags += [f"--{group}.{name}={value}" for name, value in arguments.items()]
        return flags + ["--trainer.limit_train_batches", str(self.steps)] * bool(self.steps)

    @property
    def batch_size(self) -> int:
        return self.data_arguments["batch_size"]

    def build(self) -> tuple[Model, list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]]:
        """The model as a plain network, and all batches of the training and the validation split, already made."""
        data = self.data(**self.data_arguments)
        data.setup("fit")
        sizes: dict[str, Any] = {
            "input_shape": data.input_shape,
            "classes": data.classes,
            "vocabulary": data.vocabulary,
        }
        model = self.model(**self.model_arguments, **sizes)
        batches, evaluation = (
            [tuple(batch) for batch in load()] for load in (data.train_dataloader, data.val_dataloader)
        )
        return model, batches[: self.steps], evaluation


def joined(batches: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """All samples of some batches: inputs (N, …), …, targets (N,)."""
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def has_images() -> bool:
    return (REAL / RAW / "train-images-idx3-ubyte").exists()


def images(quick: bool) -> str:
    """The folder that holds Fashion-MNIST; where there is none, random images in the same files."""
    if has_images() and not quick:
        return str(REAL)
    if not quick:
        print(f"images of random pixels: {MISSING}")
    rng, folder = np.random.default_rng(0), Path(RAW).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in {"train": 2000 if quick else 60_000, "t10k": 300 if quick else 10_000}.items():
        pixels, labels = rng.integers(0, 256, (size, 28, 28), np.uint8), rng.integers(0, 10, size, np.uint8)
        for kind, array in {"images-idx3": pixels, "labels-idx1": labels}.items():
            head = np.array([2048 + array.ndim, *array.shape], ">i4")  # the format's number for bytes of so many axes
            (folder / f"{name}-{kind}-ubyte").write_bytes(head.tobytes() + array.tobytes())
    return str(folder.parents[1])


def on_images(
    model: type[Model], arguments: dict[str, Any], batch_size: int, quick: bool, steps: int | None = None
) -> Workload:
    """Train on Fashion-MNIST: 55,000 images of 28×28."""
    data = {"root": images(quick), "batch_size": batch_size}
    return Workload(model, FashionMNIST, arguments, data, QUICK if quick else steps)


def on_sequences(model: type[Model], arguments: dict[str, Any], quick: bool) -> Workload:
    """Train on padded token sequences, 64 a batch."""
    data = {"size": 10_000, "length": 50, "tokens": True, "val_fraction": 0.01, "test_fraction": 0.01, "batch_size": 64}
    return Workload(model, Memory, arguments, data, QUICK if quick else None)
