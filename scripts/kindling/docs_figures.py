"""Draws the figures of the guide's pages from real runs: `python scripts/kindling/docs_figures.py [NAME …]`.

Without names it draws all of them, in two minutes on 2 CPU cores. Under each figure it prints the commands that
were run and what they reached, which is what the pages quote.
"""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.ticker import MaxNLocator
from torch import nn

from kindling import main
from kindling.models.layers import activation
from my_project.losses.focal import FocalLoss
from my_project.losses.mse_mae import MSEMAELoss

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "docs" / "figures"
DIGITS = "--config configs/digits_mlp.yaml"
PLAIN = f"{DIGITS} --model.norm null --early_stopping.patience null"
# The figures that a run draws for itself take longer than such a training.
QUICK = ["--trainer.accelerator", "cpu", "--figures.enabled", "false"]
WORK = Path(mkdtemp(prefix="docs_figures_"))  # where the runs go


@cache
def run(flags: str) -> Path:
    """The folder of a finished training of these flags."""
    folder = WORK / f"{len(list(WORK.glob('lightning_logs/*')))}"
    name = folder.name
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = main(["fit", *QUICK, *flags.split(), "--name", name])
    if code:
        sys.exit(f"kindling fit {flags} failed:\n{printed.getvalue()}")
    return WORK / "lightning_logs" / name / "version_0"


def column(flags: str, metric: str) -> pd.Series:
    """A metric of a run, by its epoch, counted from 1."""
    table = pd.read_csv(run(flags) / "metrics.csv").dropna(subset=metric)
    return table.groupby("epoch")[metric].last().rename(lambda epoch: epoch + 1)


def compare(axes: Axes, runs: dict[str, str], metric: str) -> None:
    """A curve for each run, and a printed line that says its best value."""
    best = "min" if metric.endswith("loss") else "max"
    for label, flags in runs.items():
        values = column(flags, metric)
        axes.plot(values.index, values, label=label)
        reached, epoch = values.agg(best), values.agg(f"idx{best}")
        print(f"  {label}: best {metric} {reached:.4f} at epoch {epoch}    fit {flags}", flush=True)
    axes.set(xlabel="epoch", ylabel=metric)
    axes.legend()


def one_row(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.5 * count if count > 1 else 6, 3), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def building() -> Figure:
    """What a network of 10-20-1 learns: its loss; and what width and depth add on spirals."""
    figure, (left, right) = one_row(2)
    flags = "--config configs/simple_nn.yaml"
    for metric in ("train/loss", "val/loss"):
        values = column(flags, metric)
        left.plot(values.index, values, label=metric)
    left.set(xlabel="epoch", ylabel="loss", yscale="log", title="10-20-1: a linear map, with noise")
    left.legend()
    sizes = {
        "one layer of 8": "[8]",
        "one layer of 64": "[64]",
        "two layers of 64": "[64,64]",
    }
    compare(
        right,
        {label: f"--config configs/spirals.yaml --model.hidden_sizes {value}" for label, value in sizes.items()},
        "val/accuracy",
    )
    right.set(title="spirals: width and depth")
    return figure


def activations() -> Figure:
    """The guide's activations, and how fast the same network learns with each."""
    figure, (left, right) = one_row(2)
    x = torch.linspace(-4, 4, 200)
    names = ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "swish"]
    for name in names:
        left.plot(x, activation(name)(x), label=name)
    left.set(xlabel="input", ylabel="output", ylim=(-1.2, 2.5))
    left.legend()
    flags = f"{PLAIN} --trainer.max_epochs 10"
    compare(right, {name: f"{flags} --model.activation {name}" for name in names}, "val/loss")
    right.set_yscale("log")
    return figure


def training() -> Figure:
    """Loss of training and validation, with the epoch whose checkpoint is kept."""
    figure, (left, right) = one_row(2)
    flags = f"{PLAIN} --trainer.max_epochs 60".replace("patience null", "patience 7")
    losses = {name: column(flags, f"{name}/loss") for name in ("train", "val")}
    for name, values in losses.items():
        left.plot(values.index, values, label=f"{name}/loss")
    best = losses["val"].idxmin()
    left.axvline(best, color="grey", linestyle=":", label=f"best: epoch {best}")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    left.legend()
    print(f"  best epoch {best}, stopped after {losses['val'].index.max()}    fit {flags}", flush=True)
    accuracy = column(flags, "val/accuracy")
    right.plot(accuracy.index, accuracy, label="val/accuracy")
    right.axvline(best, color="grey", linestyle=":")
    right.set(xlabel="epoch", ylabel="accuracy")
    right.legend()
    return figure


def losses() -> Figure:
    """What each loss says of an error, and of a probability."""
    figure, (left, right) = one_row(2)
    error = torch.linspace(-3, 3, 200)
    of_error = {"MSE": nn.MSELoss(), "MAE": nn.L1Loss(), "Huber": nn.SmoothL1Loss(), "MSEMAELoss": MSEMAELoss()}
    for name, loss in of_error.items():
        left.plot(error, [loss(each, torch.tensor(0.0)) for each in error], label=name)
    left.set(xlabel="error", ylabel="loss", ylim=(0, 4))
    left.legend()
    p = torch.linspace(0.01, 0.99, 200)
    logits, targets = p.logit(), torch.tensor([[1.0]])
    of_probability = {"cross-entropy": nn.BCEWithLogitsLoss(), "FocalLoss (gamma 2)": FocalLoss()}
    for name, of_logit in of_probability.items():
        right.plot(p, [of_logit(each.reshape(1, 1), targets) for each in logits], label=name)
    right.set(xlabel="probability of the true class", ylabel="loss")
    right.legend()
    for loss_name in ("MSELoss", "L1Loss", "SmoothL1Loss", "MSEMAELoss"):
        flags = f"--config configs/diabetes.yaml --model.task Regression --model.task.loss {loss_name}"
        r2, mae = (column(flags, f"val/{metric}") for metric in ("r2", "mae"))
        print(f"  {loss_name}: best val/r2 {r2.max():.4f}, best val/mae {mae.min():.2f}    fit {flags}", flush=True)
    return figure


OPTIMIZERS = {
    "SGD": "--model.optimizer SGD --model.optimizer.lr 0.05",
    "SGD, momentum 0.9": "--model.optimizer SGD --model.optimizer.lr 0.05 --model.optimizer.momentum 0.9",
    "the same, Nesterov": (
        "--model.optimizer SGD --model.optimizer.lr 0.05 --model.optimizer.momentum 0.9 --model.optimizer.nesterov true"
    ),
    "Adam": "--model.optimizer Adam --model.optimizer.lr 0.002",
    "AdamW": "--model.optimizer AdamW --model.optimizer.lr 0.002",
    "Muon": "--model.optimizer Muon --model.optimizer.lr 0.02",
}


def optimizers() -> Figure:
    """The guide's optimisers on one network."""
    figure, (axes,) = one_row(1)
    flags = f"{PLAIN} --trainer.max_epochs 10"
    compare(axes, {label: f"{flags} {optimizer}" for label, optimizer in OPTIMIZERS.items()}, "val/loss")
    axes.set_yscale("log")
    return figure


def schedules() -> Figure:
    """The learning rate over a run, as it was logged."""
    figure, (axes,) = one_row(1)
    flags = f"{PLAIN} --trainer.max_epochs 20"
    of_schedule = {
        "WarmupCosine (the recipe)": "",
        "StepLR": " --model.schedule StepLR --model.schedule.step_size 10",
        "ExponentialLR": " --model.schedule ExponentialLR --model.schedule.gamma 0.9",
        "CosineAnnealingLR": " --model.schedule CosineAnnealingLR",
        "ReduceLROnPlateau": " --model.schedule ReduceLROnPlateau --model.schedule.patience 3",
    }
    for label, schedule in of_schedule.items():
        values = column(flags + schedule, "learning_rate")
        axes.plot(values.index, values, label=label)
        accuracy = column(flags + schedule, "val/accuracy")
        print(f"  {label}: best val/accuracy {accuracy.max():.4f}    fit {flags}{schedule}")
    axes.set(xlabel="epoch", ylabel="learning rate")
    axes.legend()
    return figure


def regularization() -> Figure:
    """What each way to hold a network back does to the loss on samples that it has not seen."""
    figure, (axes,) = one_row(1)
    flags = f"{PLAIN} --model.schedule null --trainer.max_epochs 20"
    ways = {
        "none": "--model.optimizer.weight_decay 0",
        "dropout 0.5": "--model.optimizer.weight_decay 0 --model.dropout 0.5",
        "batch norm": "--model.optimizer.weight_decay 0 --model.norm batch",
        "weight decay 0.5": "--model.optimizer.weight_decay 0.5",
        "L2 penalty 1e-3": "--model.optimizer.weight_decay 0 --model.l2 1e-3",
    }
    compare(axes, {label: f"{flags} {way}" for label, way in ways.items()}, "val/loss")
    axes.set_ylim(0, 0.4)
    return figure


def evaluation() -> Figure:
    """The confusion matrix that a run draws of its test split."""
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(imread(run(f"{DIGITS} --figures.enabled true") / "figures" / "test_confusion_matrix.png"))
    axes.axis("off")
    return figure


def architectures() -> Figure:
    """Networks on the same images, and on the same sequences."""
    figure, (left, right) = one_row(2)
    images = {"MLP": "mlp", "CNN": "cnn", "ResNet": "resnet", "ViT": "vit"}
    compare(left, {label: f"--config configs/digits_{name}.yaml" for label, name in images.items()}, "val/accuracy")
    left.set(ylim=(0.9, 1), xlim=(0, 31), title="digits")
    sequences = {"LSTM": "lstm", "Transformer": "transformer"}
    compare(right, {label: f"--config configs/memory_{name}.yaml" for label, name in sequences.items()}, "val/accuracy")
    right.set(title="memory: the parity of marked bits")
    return figure


def practices() -> Figure:
    """How the first weights decide the first epochs, and what clipping does to a step that is too long."""
    figure, (left, right) = one_row(2)
    flags = "--config configs/digits_cnn.yaml --trainer.max_epochs 8"
    compare(left, {name: f"{flags} --model.init {name}" for name in ("torch", "guide")}, "val/loss")
    left.set(yscale="log", title="first weights")
    flags = f"{PLAIN} --trainer.max_epochs 10 --model.optimizer SGD --model.optimizer.lr 3"
    clips = {"none": "null", "1.0 (the default)": "1.0", "0.1": "0.1"}
    compare(
        right, {label: f"{flags} --trainer.gradient_clip_val {value}" for label, value in clips.items()}, "val/loss"
    )
    right.set(yscale="log", title="clipping, at a learning rate of 3")
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    each.__name__: each
    for each in (
        building,
        activations,
        training,
        losses,
        optimizers,
        schedules,
        regularization,
        evaluation,
        architectures,
        practices,
    )
}


def draw(names: list[str]) -> None:
    shutil.copytree(ROOT / "configs", WORK / "configs")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    os.chdir(WORK)
    for name in names:
        print(f"{name}.png", flush=True)
        figure = FIGURES[name]()
        for axes in figure.axes:
            if axes.get_xlabel() == "epoch":
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.savefig(OUTPUT / f"{name}.png", dpi=100)
    shutil.rmtree(WORK)


if __name__ == "__main__":
    if unknown := {*sys.argv[1:]} - FIGURES.keys():
        sys.exit(f"no figure {min(unknown)}: expected some of {', '.join(FIGURES)}")
    os.environ["PYTHONWARNINGS"] = "ignore"
    draw(sys.argv[1:] or list(FIGURES))
