"""`kindling data`: what the data is, how fast it loads, and a picture of a batch as the model will see it."""

import os
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import instantiate_module
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from kindling.cli.arguments import Arguments
from kindling.cli.build import Parts
from kindling.cli.terminal import balance
from kindling.core.errors import UsageError
from kindling.data.base import Data
from kindling.data.batches import run_seed
from kindling.run.folder import ROOT

ROWS, COLUMNS = 4, 6  # of the picture
SECONDS = 2.0  # for which each number of workers is timed


class DataAlone(Parts):
    """The data that the arguments name, ready for a training; the model is not built."""

    def build(self) -> None:
        config = self.config["data"]
        arguments = config.init_args.as_dict() if config.get("init_args") else {}
        self.datamodule = instantiate_module(L.LightningDataModule, {"_class_path": config.class_path, **arguments})
        self.datamodule.setup("fit")


def main(arguments: Arguments) -> None:
    data = DataAlone(arguments).datamodule
    if not isinstance(data, Data):
        raise UsageError(f"kindling data looks at a Data of Kindling, and {type(data).__name__} is none")
    look(data, arguments.name)


def look(data: Data, name: str) -> None:
    """Print what there is to know before a training, and draw `lightning_logs/<name>_data.png`."""
    kind = data.preprocessing.kind
    print(f"{type(data).__name__}: {kind} {'×'.join(map(str, data.input_shape))}, {len(data.samples[-1]):,} samples")
    for note in data.notes:
        print(note)
    _print_splits(data)
    _print_ranges(data)
    rates = _rates(data)
    for workers, rate in rates.items():
        print(f"{rate:,.0f} samples a second are loaded with --data.workers {workers}")
    best = min(workers for workers, rate in rates.items() if rate > 0.9 * max(rates.values()))
    print(f"suggested: --data.workers {best} (others are at most a tenth faster)")
    path = ROOT / f"{type(data).__name__ if name == 'unnamed' else name}_data.png"
    path.parent.mkdir(exist_ok=True)
    _draw(data, path)
    print(f"a batch as the model will see it, {'augmented' if data.augment else 'not augmented'}: {path}")


def _print_splits(data: Data) -> None:
    table = Table("split", Column("samples", justify="right"), *(["class balance"] if data.classes else []))
    for split, indices in data.splits.items():
        counts = data.class_counts.get(split, {})
        table.add_row(split, f"{len(indices):,}", *([balance(counts)] if data.classes else []))
    Console().print(table)


def _print_ranges(data: Data) -> None:
    """The range of raw inputs, column by column for a table, and of numeric targets; over up to 1,000 samples."""
    some = data.splits["train"][:1000]
    raw, targets = data.samples[0][some], data.samples[-1][some]
    names = _features(data)
    rows = dict(zip(names, raw.T, strict=True)) if names else {"all inputs": raw}
    if data.targets:
        rows |= {f"target {name}": column for name, column in zip(data.targets, targets.T, strict=True)}
    table = Table(
        f"{len(some):,} samples of train", *(Column(word, justify="right") for word in ("min", "mean", "max"))
    )
    for name, values in rows.items():
        table.add_row(name, *(f"{float(number):.4g}" for number in (values.min(), values.float().mean(), values.max())))
    Console().print(table)


def _features(data: Data) -> list[str]:
    """Names of the features of vectors, if there are few."""
    columns, shape = data.preprocessing.columns or [], data.input_shape
    if data.preprocessing.kind != "vectors" or shape[0] > 30:
        return []
    named = [c["name"] if "fill" in c else f"{c['name']}={v}" for c in columns for v in c.get("categories", [""])]
    return named or [f"column {index}" for index in range(shape[0])]


def _rates(data: Data) -> dict[int, float]:
    """Samples a second for some numbers of workers, without the time that they take to start."""
    cores, chosen, rates = os.cpu_count() or 1, data.workers, dict[int, float]()
    for workers in sorted({0, 1, 2, 4, chosen} & {*range(cores + 1), chosen}):
        data.workers, count = workers, 0
        loader = data.train_dataloader()
        next(iter(loader))  # starts the workers
        start = time.monotonic()
        while time.monotonic() - start < SECONDS:
            for batch in loader:
                count += len(batch[-1])
                if time.monotonic() - start > SECONDS:
                    break
        rates[workers] = count / (time.monotonic() - start)
    data.workers = chosen
    return rates


def _draw(data: Data, path: Path) -> None:
    """A grid of images; of other inputs a row of colours a sample, its target at the side."""
    from kindling.figures.results import new_figure

    inputs, *_, targets = next(iter(data.train_dataloader()))
    if data.augment:
        inputs, targets = data.augmented((inputs, targets), run_seed(), 0, 0, 0)
    inputs, titles = inputs[: ROWS * COLUMNS], [_title(data, target) for target in targets[: ROWS * COLUMNS]]
    figure = new_figure(1.7 * COLUMNS, 1.9 * ROWS)
    if inputs.dim() == 4:
        grid = list(figure.subplots(ROWS, COLUMNS).flat)
        for axes in grid:
            axes.set_axis_off()
        for axes, image, title in zip(grid, inputs, titles, strict=False):
            axes.imshow(_image(data, image), cmap="gray", vmin=0, vmax=1)
            axes.set_title(title, fontsize=8)
    else:
        axes = figure.subplots()
        figure.colorbar(axes.imshow(inputs.flatten(1), aspect="auto", interpolation="nearest"))
        axes.set_yticks(range(len(titles)), titles, fontsize=7)
        names = _features(data)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    figure.savefig(path, dpi=100)


def _image(data: Data, image: Tensor) -> Any:
    """Pixels (H, W) or (H, W, 3) from 0 to 1."""
    known = data.preprocessing
    if known.mean is not None and known.std is not None and known.bounded:
        image = (image * known.std + known.mean).clamp(0, 1)
    else:
        image = (image - image.min()) / (image.max() - image.min()).clamp_min(1e-6)
    return image[0] if len(image) in (1, 2) else image[:3].permute(1, 2, 0)


def _title(data: Data, target: Tensor) -> str:
    """The class, the classes (mixed ones with their shares), or the numbers."""
    names = data.classes
    if not names:
        return ", ".join(f"{value:.3g}" for value in target.tolist())
    if target.dim() == 0:
        return names[int(target)]
    shares = [(share, name) for share, name in zip(target.tolist(), names, strict=True) if share]
    return " ".join(name if share == 1 else f"{share:.0%} {name}" for share, name in sorted(shares, reverse=True))
