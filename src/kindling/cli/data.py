"""`kindling data`: what the data is, how fast it loads, and a picture of a batch as the model will see it."""

import os
import time
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ArgumentParser, Namespace
from rich.table import Column, Table
from torch import Tensor
from torch.utils.data import DataLoader

from kindling.cli.arguments import Arguments
from kindling.cli.build import Parts
from kindling.cli.terminal import balance
from kindling.core.errors import UsageError
from kindling.core.tables import console, print_plain, printable
from kindling.data.base import Data
from kindling.data.batches import run_seed
from kindling.data.columns import names_of
from kindling.run.folder import ROOT

ROWS, COLUMNS = 4, 6  # of the picture
SECONDS = 2.0  # how long each number of workers is timed


class DataAlone(Parts):
    """The data that the arguments name, ready for a training; the model is not built."""

    def build(self) -> None:
        parser = ArgumentParser()
        parser.add_subclass_arguments(L.LightningDataModule, "data")
        self.datamodule = parser.instantiate_classes(Namespace(data=self.config["data"])).data
        self.datamodule.setup("fit")


def main(arguments: Arguments) -> None:
    data = DataAlone(arguments).datamodule
    if not isinstance(data, Data):
        raise UsageError(f"kindling data looks only at a Data of Kindling, and {type(data).__name__} is not one")
    look(data, arguments.name)


def look(data: Data, name: str) -> None:
    """Print what there is to know before a training, and draw `lightning_logs/<name>_data.png`."""
    if not data.has_arrays:
        raise UsageError(f"kindling data looks only at inputs that are arrays, not those of {type(data).__name__}")
    size = "×".join(map(str, data.input_shape))
    print(f"{type(data).__name__}: {data.preprocessing.form} {size}, {len(data.samples[-1]):,} samples")
    for note in data.notes:
        print_plain(note)
    _print_splits(data)
    _print_ranges(data)
    _print_rates(data)
    path = ROOT / f"{type(data).__name__ if name == 'unnamed' else name}_data.png"
    path.parent.mkdir(exist_ok=True)
    _draw(data, path)
    print(f"a batch as the model will see it, {'augmented' if data.augment else 'not augmented'}: {path}")


def _print_splits(data: Data) -> None:
    counts = data.class_counts
    table = Table("split", Column("samples", justify="right"), *(["class balance"] if counts else []))
    for split, indices in data.splits.items():
        row = [split, f"{len(indices):,}"]
        if counts:
            row.append(balance(counts[split]))
        table.add_row(*map(printable, row))
    console().print(table)


def _print_ranges(data: Data) -> None:
    """Print the range of raw inputs, by column for a table, and of numeric targets, over up to 1,000 samples."""
    some = data.splits["train"][:1000]
    inputs, targets = data.samples[0][some], data.samples[-1][some]
    features = _features(data)
    values = dict(zip(features, inputs.T, strict=True)) if features else {"all inputs": inputs}
    if data.targets:
        values |= {f"target {name}": column for name, column in zip(data.targets, targets.T, strict=True)}
    table = Table(
        f"{len(some):,} samples of train", *(Column(word, justify="right") for word in ("min", "mean", "max"))
    )
    for name, each in values.items():
        numbers = each.min(), each.float().mean(), each.max()
        table.add_row(printable(name), *(f"{float(number):.4g}" for number in numbers))
    console().print(table)


def _features(data: Data) -> list[str]:
    """Names of the features of vectors, if there are few."""
    if data.preprocessing.form != "vectors" or data.input_shape[0] > 30:
        return []
    if not data.preprocessing.columns:
        return [f"column {index}" for index in range(data.input_shape[0])]
    return [name for column in data.preprocessing.columns for name in names_of(column)]


def _print_rates(data: Data) -> None:
    rates = _rates(data)
    for workers, rate in rates.items():
        print(f"--data.workers {workers} loads {rate:,.0f} samples per second")
    best = min(workers for workers, rate in rates.items() if rate > 0.9 * max(rates.values()))
    print(f"suggested: --data.workers {best} (others are at most a tenth faster)")


def _rates(data: Data) -> dict[int, float]:
    """Samples per second for some numbers of workers, including the one that was asked for."""
    cores, asked_for = os.cpu_count() or 1, data.workers
    candidates = {workers for workers in (0, 1, 2, 4) if workers <= cores} | {asked_for}
    rates = {}
    for workers in sorted(candidates):
        data.workers = workers
        rates[workers] = _rate(data.train_dataloader())
    data.workers = asked_for
    return rates


def _rate(loader: DataLoader) -> float:
    """Samples per second, without the time that workers take to start."""
    next(iter(loader))  # starts them
    count, start = 0, time.monotonic()
    while time.monotonic() - start < SECONDS:
        for batch in loader:
            count += len(batch[-1])
            if time.monotonic() - start > SECONDS:
                break
    return count / (time.monotonic() - start)


def _draw(data: Data, path: Path) -> None:
    """Draw a grid of images, with masks laid over them; other inputs as a row of colours per sample with its target."""
    from kindling.figures.results import new_figure, plain_text
    from kindling.figures.worst_masks import painted

    inputs, *_, targets = next(iter(data.train_dataloader()))
    if data.augment:
        inputs, targets = data.augmented((inputs, targets), run_seed(), 0, 0, 0)
    inputs, targets = inputs[: ROWS * COLUMNS], targets[: ROWS * COLUMNS]
    titles = [plain_text(_title(data, target)) for target in targets]
    figure = new_figure(1.7 * COLUMNS, 1.9 * ROWS)
    if inputs.dim() == 4:
        grid = list(figure.subplots(ROWS, COLUMNS).flat)
        for axes in grid:
            axes.set_axis_off()
        for axes, image, title in zip(grid, inputs, titles, strict=False):
            axes.imshow(_image(data, image), cmap="gray", vmin=0, vmax=1)
            axes.set_title(title, fontsize=8)
        if data.classes and targets.dim() == 3:
            for axes, mask in zip(grid, painted(targets, len(data.classes)), strict=False):
                axes.imshow(mask.permute(1, 2, 0), alpha=0.5)
    else:
        axes = figure.subplots()
        picture = axes.imshow(inputs.flatten(1), aspect="auto", interpolation="nearest")
        figure.colorbar(picture)
        axes.set_yticks(range(len(titles)), titles, fontsize=7)
        names = list(map(plain_text, _features(data)))
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    figure.savefig(path, dpi=100)


def _image(data: Data, image: Tensor) -> Any:
    """Pixels (H, W) or (H, W, 3) from 0 to 1."""
    how = data.preprocessing
    if how.mean is not None and how.std is not None and how.bounded:
        image = (image * how.std + how.mean).clamp(0, 1)
    else:
        image = (image - image.min()) / (image.max() - image.min()).clamp_min(1e-6)
    channels = len(image)
    return image[0] if channels < 3 else image[:3].permute(1, 2, 0)


def _title(data: Data, target: Tensor) -> str:
    """The class, the classes (mixed ones with their shares), or the numbers."""
    names = data.classes
    if not names:
        return ", ".join(f"{value:.3g}" for value in target.tolist())
    if target.dim() > 1:  # a mask, which has no room in a title
        return ""
    if target.dim() == 0:
        return names[int(target)]
    shares = [(share, name) for share, name in zip(target.tolist(), names, strict=True) if share]
    largest_first = sorted(shares, reverse=True)
    return " ".join(name if share == 1 else f"{share:.0%} {name}" for share, name in largest_first)
