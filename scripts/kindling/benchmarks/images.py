"""Folders of images: how fast they are found and read, and how that grows.

The JPEGs of 12 megapixels are photographs of scikit-learn's, enlarged, with the grain of a sensor. What torchvision
does every epoch Kindling does once, before the training; a turn is one such pass, with as many workers on both sides.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.machine import forget_peak, memory
from benchmarks.report import Case, Row, amounts, each, times
from benchmarks.turns import Turns, Work, afresh, compete
from kindling.data.image_folder import ImageFolder

WORKERS = min(4, os.cpu_count() or 1)  # as many as Kindling takes
BATCH = 32
LINKS = 50_000  # names that one file can have: to make a link takes a tenth of the time of a file


def write_photos(count: int, size: tuple[int, int]) -> str:
    """JPEGs of two classes, of which sixteen are different."""
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS) for photo in load_sample_images().images]
    for index in range(count):
        path = Path("photos", f"class{index % 2}", f"{index:05}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        if index < 16:
            grain = rng.normal(0, 6, (size[1], size[0], 3))
            pixels = (np.asarray(photos[index % 2]) + grain).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path, quality=90)
        else:
            os.link(Path("photos", f"class{index % 2}", f"{index % 16:05}.jpg"), path)
    return str(Path("photos").resolve())


def read(read_all: Callable[[], int], turns: Turns) -> None:
    images = 0
    while True:
        turns.take(images=images)
        images = read_all()


def by_kindling(path: str, side: int) -> int:
    images, _ = ImageFolder(path, image_size=side).load()
    return len(images)


def by_torchvision(path: str, side: int) -> int:
    steps = [transforms.Resize(side), transforms.CenterCrop(side), transforms.ToTensor()]
    dataset = datasets.ImageFolder(path, transforms.Compose(steps))
    return sum(len(labels) for _, labels in DataLoader(dataset, batch_size=BATCH, num_workers=WORKERS))


def reading(count: int, size: tuple[int, int], side: int, quick: bool) -> list[Row]:
    path = write_photos(4 if quick else count, (80, 60) if quick else size)
    readers = {"ImageFolder of torchvision": by_torchvision, "Kindling": by_kindling}
    works: dict[str, Work] = {name: partial(read, partial(reader, path, side)) for name, reader in readers.items()}
    found = compete(works, 2 if quick else 5)
    return amounts(each(found, lambda turn: turn["images"] / turn["seconds"]), "images a second")


def write_names(count: int) -> str:
    """So many files in ten classes, with nothing in them."""
    root = Path(f"{count} files").resolve()
    for number in range(10):
        folder = root / f"class{number}"
        folder.mkdir(parents=True)
        for index in range(count // 10):
            first = f"{folder}/photo_{index // LINKS * LINKS:06}.jpg"
            path = f"{folder}/photo_{index:06}.jpg"
            Path(first).touch() if path == first else os.link(first, path)
    return str(root)


def walk(folder: str) -> int:
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            count += walk(entry.path) if entry.is_dir() else 1
    return count


def find(path: str, way: Callable[[str], object], turns: Turns) -> None:
    """List a folder turn after turn; by how much the memory has grown, at its peak, counts in the first."""
    grown = 0.0
    while True:
        turns.take(grown=grown)
        forget_peak()
        before = memory()
        found = way(path)
        grown = memory("VmHWM") - before
        del found


def finding(paths: dict[str, str], ways: dict[str, Callable[[str], object]], quick: bool) -> list[Row]:
    """Rows of the time, and of the memory that a process needs for it that has listed nothing before."""
    works: dict[str, Work] = {name: partial(find, paths[name], way) for name, way in ways.items()}
    rows = times(each(compete(works, 2 if quick else 9), lambda turn: 1000 * turn["seconds"]), "ms")
    first = each(afresh(works, 1 if quick else 3), lambda turn: max(turn["grown"], 0.001))
    return rows + amounts({f"{name}, growth of memory": values for name, values in first.items()}, "MB")


def listing(quick: bool) -> list[Row]:
    path = write_names(1000 if quick else 200_000)
    ways: dict[str, Callable[[str], object]] = {"bare os.scandir walk": walk, "Kindling": ImageFolder}
    return finding(dict.fromkeys(ways, path), ways, quick)


def growth(quick: bool) -> list[Row]:
    counts = [10**power for power in range(3, 5 if quick else 7)]
    paths = {f"{count:,} files": write_names(count) for count in counts}
    return finding(paths, dict.fromkeys(paths, ImageFolder), quick)


def first_of_torchvision(path: str) -> object:
    steps = [transforms.Resize(64), transforms.CenterCrop(64), transforms.ToTensor()]
    dataset = datasets.ImageFolder(path, transforms.Compose(steps))
    return next(iter(DataLoader(dataset, batch_size=BATCH, shuffle=True)))


def first_of_kindling(path: str) -> object:
    """With the splits and the statistics, for which 2,000 images are read; torchvision has neither."""
    data = ImageFolder(path, lazy=True, batch_size=BATCH)
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def first_batch(quick: bool) -> list[Row]:
    path = write_photos(100 if quick else 200_000, (80, 60))
    ways: dict[str, Callable[[str], object]] = {
        "ImageFolder of torchvision": first_of_torchvision,
        "Kindling, lazy": first_of_kindling,
    }
    return finding(dict.fromkeys(ways, path), ways, quick)


CASES = {
    "lazy": Case("200,000 JPEGs of 80×60 until the first batch", first_batch),
    "photos": Case("JPEGs of 12 megapixels to 224×224, in memory", partial(reading, 128, (4000, 3000), 224)),
    "small": Case("JPEGs of 80×60 to 64×64, in memory", partial(reading, 10_000, (80, 60), 64)),
    "listing": Case("finding 200,000 files in 10 folders", listing),
    "growth": Case("finding files, over their number", growth),
}
