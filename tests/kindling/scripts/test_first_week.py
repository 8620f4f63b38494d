"""What a cloner does in the first week, one after the other: the project's tests are green after each day."""

import re
from pathlib import Path

import pytest
from clones import git, install, make_clone, needs_git, needs_posix, rename, run, succeed

pytestmark = [pytest.mark.slow, needs_git, needs_posix]

MODEL = '''\
"""A small convolutional network: `kindling fit --config configs/digits_tiny.yaml`."""

from typing import Any

from torch import Tensor, nn

from kindling import Model


class Tiny(Model):
    """One convolution and a linear layer: images (B, C, H, W) float32 → (B, outputs)."""

    takes = ("images",)

    def __init__(self, channels: int = 16, **model: Any) -> None:
        super().__init__(**model)
        depth, height, width = self.input_shape
        self.conv = nn.Conv2d(depth, channels, kernel_size=3, padding=1)
        self.head = nn.Linear(channels * height * width, self.num_outputs)
        self.initialize()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).relu().flatten(1))
'''
LOSS = '''\
"""A loss that outliers pull less: `--model.task Regression --model.task.loss LogCoshLoss`."""

from torch import Tensor, nn
from torch.nn import functional as F


class LogCoshLoss(nn.L1Loss):
    """Mean of log cosh of the error: outputs and targets (B, T) → scalar."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        error = outputs - targets
        return (error + F.softplus(-2 * error) - 0.6931).mean()
'''
DATA = '''\
"""Iris flowers, shipped with scikit-learn: `kindling fit --config configs/iris.yaml`."""

import torch
from sklearn.datasets import load_iris
from torch import Tensor

from kindling import Data


class Iris(Data):
    """150 flowers, four lengths each in cm, of three species (Fisher, 1936)."""

    classes = ["setosa", "versicolor", "virginica"]

    def load(self) -> tuple[Tensor, Tensor]:
        flowers, species = load_iris(return_X_y=True)
        return torch.from_numpy(flowers).float(), torch.from_numpy(species)
'''
CALLBACK = '''\
"""Says when a training begins: `--trainer.callbacks+=Herald`."""

import lightning as L


class Herald(L.Callback):
    """Print a line when a training begins.

    Args:
        greeting: what it says.
    """

    def __init__(self, greeting: str = "here we go") -> None:
        self.greeting = greeting

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        print(f"{self.greeting}: {trainer.max_epochs} epochs")
'''
METRIC = '''\
"""Classification that is also measured by Cohen's kappa: `--model.task Agreement`."""

from torchmetrics.classification import MulticlassCohenKappa

from kindling.tasks import Classification


class Agreement(Classification):
    """Classes, and how far predictions agree with the targets beyond chance (Cohen, 1960)."""

    def prepare(self) -> None:
        super().prepare()
        for metrics in (self.val_metrics, self.test_metrics):
            metrics.add_metrics({"kappa": MulticlassCohenKappa(self.num_outputs)})
'''


class Week:
    """A renamed clone that is worked on."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_clone(folder)
        self.programs = install(self.folder)
        finished = rename(self.folder, "galaxies")
        assert finished.returncode == 0, finished.stderr
        self.package = self.folder / "src" / "galaxies"
        self.configs = self.folder / "configs"

    def add(self, path: str, source: str) -> None:
        """Write a file of the project; a folder that is new needs nothing but the file."""
        file = self.package / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)

    def delete(self, *paths: str) -> None:
        """Delete parts of the project, and the experiments that name them."""
        for path in paths:
            source = (self.package / path).read_text()
            (self.package / path).unlink()
            for name in re.findall(r"^class (\w+)", source, re.MULTILINE):
                for config in self.configs.rglob("*.yaml"):
                    if re.search(rf"\b{name}\b", config.read_text()):
                        config.unlink()

    def kindling(self, *arguments: str) -> str:
        """Run a command that has to end well and has nothing to complain of."""
        finished = run(self.folder, self.programs / "kindling", *arguments, "--trainer.accelerator", "cpu")
        assert (finished.returncode, finished.stderr) == (0, ""), finished.stderr
        return finished.stdout

    def tests(self) -> str:
        """What the project's tests, all of which pass, are called."""
        return succeed(self.folder, self.programs / "python", "-m", "pytest", "-vv", "-m", "not slow")


def test_the_projects_tests_stay_green(tmp_path: Path) -> None:
    week = Week(tmp_path)

    week.add("models/tiny.py", MODEL)
    (week.configs / "digits_tiny.yaml").write_text("model: Tiny\ndata: Digits\n")
    week.add("losses/log_cosh.py", LOSS)
    task = "model:\n  class_path: MLP\n  init_args:\n    task:\n      class_path: {}\n"
    loss = "      init_args:\n        loss: LogCoshLoss\n"
    (week.configs / "log_cosh.yaml").write_text(task.format("Regression") + loss + "data: Diabetes\n")
    passed = week.tests()
    assert "test_it_overfits_one_batch[Tiny-images-Regression] PASSED" in passed
    assert "test_an_experiment_trains[configs/digits_tiny.yaml] PASSED" in passed
    assert "test_an_experiment_trains[configs/log_cosh.yaml] PASSED" in passed

    week.add("data/iris.py", DATA)
    (week.configs / "iris.yaml").write_text("model: MLP\ndata: Iris\n")
    week.add("callbacks/herald.py", CALLBACK)
    iris = ["fit", "--config", "configs/iris.yaml", "--trainer.max_epochs", "2"]
    assert "here we go: 2 epochs" in week.kindling(*iris, "--trainer.callbacks+=Herald")
    week.add("tasks/agreement.py", METRIC)
    (week.configs / "agreement.yaml").write_text(task.format("Agreement") + "data: Iris\n")
    assert "kappa" in week.kindling("fit", "--config", "configs/agreement.yaml", "--trainer.max_epochs", "2")
    passed = week.tests()
    assert "test_it_gives_batches[Iris] PASSED" in passed
    assert "test_an_experiment_trains[configs/agreement.yaml] PASSED" in passed

    week.delete("models/vit.py", "data/memory.py")
    passed = week.tests()
    assert "ViT" not in passed
    assert "Memory" not in passed

    own = {"models/tiny.py", "losses/log_cosh.py", "data/iris.py", "callbacks/herald.py", "tasks/agreement.py"}
    every = {path.relative_to(week.package).as_posix() for path in week.package.rglob("*.py")}
    examples = {path for path in every if not path.endswith("__init__.py")} - own
    week.delete(*(examples - {"models/mlp.py", "data/digits.py"}))
    assert "ResNet" not in week.tests()

    (week.folder / "README.md").write_text("# All about galaxies\n")
    (week.configs / "digits").mkdir()
    (week.configs / "digits_mlp.yaml").rename(week.configs / "digits" / "mlp.yaml")
    assert "test_an_experiment_trains[configs/digits/mlp.yaml] PASSED" in week.tests()

    succeed(week.folder, "make", "lint")
    git(week.folder, "add", "--all")
    git(week.folder, "commit", "--quiet", "--message", "The first week")
