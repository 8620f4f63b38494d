"""Seconds of training, validations excluded, to an accuracy on Fashion-MNIST's 5,000 validation images.

The guide's loop (Adam 1e-3, batch 32) is measured every quarter of an epoch. It trains the guide's ResNet-18 until 92 %
or for four epochs, which takes an hour on two cores, and the recipe's network until 94 % or for ten. The recipe is
`kindling fit` with the YAML of that name, once for each seed, in 16 bits where the machine is fast with them. All see
the same images, normalised alike. Each training runs alone, and once: it takes too long for rounds.
"""

import json
from collections.abc import Callable
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L
import torch
import yaml
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.guide_resnet import GuideResNet
from benchmarks.loops import guide_epoch
from benchmarks.report import Case, Row
from benchmarks.turns import Failure, Measured, Turns, follow
from benchmarks.workloads import MISSING, has_images, images
from kindling.cli import main
from kindling.core.parts import classes_of
from kindling.models.base import Model
from kindling.run.folder import find_run
from my_project.data.vision import FashionMNIST

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "fashion_mnist_fast.yaml"
RECIPE = {"optimizer", "schedule", "task", "compile"}  # arguments of a model that are not its network's
MILESTONES, MINUTES, SEEDS = (0.90, 0.92, 0.93, 0.94), 5, (0, 1, 2)
BATCH, QUARTERS = 32, 4
Curve = list[Measured]  # the accuracy after so many seconds of training


def recipe_network() -> nn.Module:
    """The recipe's network alone, as it is before a training."""
    config = yaml.safe_load(CONFIG.read_text())["model"]
    config = config if isinstance(config, dict) else {"class_path": config}
    arguments = {name: value for name, value in config.get("init_args", {}).items() if name not in RECIPE}
    name = config["class_path"].rpartition(".")[2]
    model = next(cls for cls in classes_of(Model).values() if cls.__name__ == name)
    return model(input_shape=(1, 28, 28), classes=FashionMNIST.classes, **arguments)


@torch.inference_mode()
def accuracy_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    model.eval()
    predictions = torch.cat([model(some).argmax(dim=1) for some in inputs.split(256)])
    return float((predictions == targets).float().mean())


def train_as_guide(
    network: Callable[[], nn.Module], epochs: int, goal: float, root: str, quick: bool, turns: Turns
) -> None:
    """The guide's loop, a quarter of an epoch a turn."""
    data = FashionMNIST(root)
    data.setup("fit")
    train, validation = (data.sets[name][torch.arange(len(data.sets[name]))] for name in ("train", "val"))
    loader = DataLoader(TensorDataset(*train), batch_size=BATCH, shuffle=True)
    model, criterion = network(), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    steps, trained = 2 if quick else -(-len(loader) // QUARTERS), 0.0
    batches = chain.from_iterable(repeat(loader, epochs))
    turns.take()
    for turn in range(epochs * QUARTERS):
        start = perf_counter()
        model.train()
        guide_epoch(model, islice(batches, steps), criterion, optimizer)
        trained += perf_counter() - start
        accuracy = accuracy_of(model, *validation)
        turns.take(trained=trained, accuracy=accuracy, done=accuracy >= goal or turn == epochs * QUARTERS - 1)


class Milestones(L.Callback):
    """Reports the accuracy and the seconds of training so far after each validation, whose figures are part of it."""

    turns: Turns
    trained, start = 0.0, 0.0  # the clock stands still while start is 0

    def on_train_start(self, *_: Any) -> None:
        self.start = self.start or perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        self.on_train_start()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.on_train_start()  # saving a checkpoint, which follows, is training

    def on_validation_start(self, *_: Any) -> None:
        if self.start:
            self.trained, self.start = self.trained + perf_counter() - self.start, 0.0

    def on_validation_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.turns.take(trained=self.trained, accuracy=float(trainer.callback_metrics["val/accuracy"]))


def train_recipe(seed: int, turns: Turns, root: str, quick: bool, accelerator: str) -> None:
    turns.take()
    Milestones.turns, start = turns, perf_counter()
    flags = ["--seed_everything", str(seed), "--data.root", root, "--trainer.accelerator", accelerator]
    flags += ["--trainer.callbacks+=benchmarks.accuracy.Milestones"]
    flags += ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "2"] if quick else []
    main(["fit", "--config", str(CONFIG), *flags])
    results = json.loads((find_run("latest") / "results.json").read_text())
    turns.take(test=results["test"]["accuracy"], whole=perf_counter() - start, done=True)


def curve_of(name: str, work: Callable[[Turns], None]) -> Curve:
    curve = []
    for measured in follow(name, work):
        curve.append(measured)
        if "accuracy" in measured:
            print(f"{name}: {measured['accuracy']:.4f} after {measured['trained']:.1f} s", flush=True)
    return curve


def rows_of(curves: list[Curve]) -> list[Row]:
    rows = []
    for goal in MILESTONES:
        reached = [next((each["trained"] for each in curve if each["accuracy"] >= goal), None) for curve in curves]
        missed = [curve[-1]["trained"] for curve, seconds in zip(curves, reached, strict=True) if seconds is None]
        if missed:
            note = f"by {len(missed)} of {len(curves)}"
            rows.append(Row(f"{goal:.0%}, not reached", missed, "s", note=note))
        else:
            rows.append(Row(f"{goal:.0%}", [seconds for seconds in reached if seconds is not None], "s"))
    best = [max(each["accuracy"] for each in curve) for curve in curves]
    early = [max((e["accuracy"] for e in curve if e["trained"] <= 60 * MINUTES), default=0.0) for curve in curves]
    rows.append(Row("best accuracy", best, "", raw=curves))
    return [*rows, Row(f"best accuracy within {MINUTES} minutes", early, "")]


def real_images(quick: bool) -> str:
    if not has_images() and not quick:
        raise Failure(MISSING)
    return images(quick)


def measure_guide(network: Callable[[], nn.Module], epochs: int, goal: float, quick: bool) -> list[Row]:
    work = partial(train_as_guide, network, 1 if quick else epochs, goal, real_images(quick), quick)
    return rows_of([curve_of("guide's loop", work)])


def measure_recipe(quick: bool, accelerator: str = "cpu") -> list[Row]:
    if not CONFIG.exists():
        raise Failure(f"there is no {CONFIG}")
    root = real_images(quick)
    work = partial(train_recipe, root=root, quick=quick, accelerator=accelerator)
    found = [curve_of(f"seed {seed}", partial(work, seed)) for seed in SEEDS]
    ends = [curve.pop() for curve in found]
    rows = rows_of(found)
    rows.append(Row("test accuracy", [end["test"] for end in ends], ""))
    return [*rows, Row("the whole command, but its imports", [end["whole"] for end in ends], "s")]


SMALL = partial(measure_guide, recipe_network, 10, 0.94)
LARGE = partial(measure_guide, GuideResNet, 4, 0.92)
CASES = {
    "recipe": Case(f"kindling fit --config configs/{CONFIG.name}, a sample for each seed", measure_recipe),
    "guide_small": Case("the guide's loop, the recipe's network", SMALL),
    "guide_resnet": Case("the guide's loop, the guide's ResNet-18", LARGE),
}
