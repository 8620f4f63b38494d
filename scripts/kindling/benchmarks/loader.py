"""Batches against torch's DataLoader as everyone writes it, and how much of a fit is spent waiting for data.

A turn reads whole epochs for half a second or longer. Kindling's are shuffled and normalised as in a training.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import datasets, transforms

from benchmarks.loops import FIT
from benchmarks.report import Case, Row, each, times
from benchmarks.steps import LSTM, MLP_64, RESNET
from benchmarks.turns import Failure, Turns, compete
from benchmarks.workloads import QUICK, Workload
from kindling.cli import main
from kindling.data.base import Data
from kindling.data.image_folder import ImageFolder
from my_project.data.memory import Memory
from my_project.data.synthetic import SyntheticClassification

SPLIT: dict[str, Any] = {"val_fraction": 0.05, "test_fraction": 0.05, "batch_size": 64}
SIDE = 64  # pixels


def read(build: Callable[[], DataLoader], least: float, turns: Turns) -> None:
    loader, batches = build(), 0
    while True:
        turns.take(batches=batches)
        batches, start = 0, perf_counter()
        while perf_counter() - start < least:
            batches += sum(1 for _batch in loader)


def ours(data: type[Data], arguments: dict[str, Any]) -> DataLoader:
    made = data(**arguments, **SPLIT)
    made.setup("fit")
    return made.train_dataloader()


def usual(build: Callable[[], Dataset], **options: Any) -> DataLoader:
    return DataLoader(build(), batch_size=64, shuffle=True, **options)


def race(contestants: Mapping[str, Callable[[], DataLoader]], quick: bool) -> list[Row]:
    least, rounds = (0.05, 2) if quick else (0.5, 7)
    found = compete({name: partial(read, build, least) for name, build in contestants.items()}, rounds)
    return times(each(found, lambda turn: 1e6 * turn["seconds"] / turn["batches"]), "µs a batch")


def tensors(size: int) -> Dataset:
    return TensorDataset(torch.randn(size, 784), torch.randint(10, (size,)))


def from_memory(quick: bool) -> list[Row]:
    size = 1000 if quick else 55_000
    arguments = {"size": size, "features": 784, "num_classes": 10}
    contestants = {
        "DataLoader(TensorDataset)": partial(usual, partial(tensors, size)),
        "Kindling": partial(ours, SyntheticClassification, arguments),
    }
    return race(contestants, quick)


def write_images(size: int) -> str:
    rng = np.random.default_rng(0)
    for index, image in enumerate(rng.integers(0, 256, (size, 8, 8, 3), np.uint8)):
        path = Path("images", f"class{index % 10}", f"{index:05}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((SIDE, SIDE)).save(path, quality=90)
    return str(Path("images").resolve())


def decoded(path: str) -> Dataset:
    return datasets.ImageFolder(path, transforms.ToTensor())


def from_folder(quick: bool) -> list[Row]:
    path = write_images(200 if quick else 4000)
    arguments = {"path": path, "image_size": SIDE, "cache": str(Path("cache").resolve())}
    contestants: dict[str, Callable[[], DataLoader]] = {}
    for workers in (0, 2):
        options = {"num_workers": workers, "persistent_workers": workers > 0}
        contestants[f"ImageFolder of torchvision, {workers} workers"] = partial(
            usual, partial(decoded, path), **options
        )
        contestants[f"Kindling, cached, {workers} workers"] = partial(
            ours, ImageFolder, arguments | {"workers": workers}
        )
    return race(contestants, quick)


class Sequences(Dataset):
    """Token sequences one by one, without their padding."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        tokens, lengths, self.labels = Memory(**arguments).load()
        self.tokens = [each[:length] for each, length in zip(tokens, lengths.tolist(), strict=True)]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.tokens[index], self.labels[index]


def pad(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    tokens, labels = ([sample[index] for sample in samples] for index in (0, 1))
    return pad_sequence(tokens, batch_first=True), torch.tensor([len(each) for each in tokens]), torch.stack(labels)


def of_sequences(quick: bool) -> list[Row]:
    arguments = {"size": 1000 if quick else 20_000, "length": 100, "tokens": True}
    contestants = {
        "Dataset and pad_sequence": partial(usual, partial(Sequences, arguments), collate_fn=pad),
        "Kindling": partial(ours, Memory, arguments),
    }
    return race(contestants, quick)


class Waiting(L.Callback):
    """Makes each epoch a turn, and reports how long the loop has waited for its batches."""

    turns: Turns
    waited, batches = 0.0, 0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.turns.take(waited=Waiting.waited, batches=Waiting.batches)
        Waiting.waited, Waiting.batches = 0.0, 0


def fit(workload: Workload, turns: Turns) -> None:
    """A fit in which each call of the loader is timed, where Lightning makes it."""
    following = CombinedLoader.__next__

    def timed(self: CombinedLoader) -> Any:
        start = perf_counter()
        try:
            return following(self)
        finally:
            Waiting.waited += perf_counter() - start
            Waiting.batches += 1

    CombinedLoader.__next__ = timed  # type: ignore[method-assign]
    Waiting.turns = turns
    main(["fit", *workload.flags, *FIT, "--trainer.callbacks+=benchmarks.loader.Waiting"])


def waiting(quick: bool) -> list[Row]:
    samples = {}
    for name, build in {"MLP, batch 64": MLP_64, "small ResNet": RESNET, "LSTM": LSTM}.items():
        found = compete({name: partial(fit, build(quick=quick))}, 2 if quick else 3)[name]
        if any(turn["batches"] < QUICK for turn in found):
            raise Failure("fit does not get its batches through CombinedLoader: time it elsewhere")
        samples[name] = [100 * turn["waited"] / turn["seconds"] for turn in found]
    return [Row(name, values, "% of the time") for name, values in samples.items()]


CASES = {
    "memory": Case("in memory: 784 features, batch 64", from_memory),
    "folder": Case("JPEGs of 64×64 in folders, batch 64, epochs after the first", from_folder),
    "sequences": Case("sequences of 50 to 100 tokens, batch 64", of_sequences),
    "waiting": Case("share of a fit that is spent waiting for data, no loader workers", waiting),
}
