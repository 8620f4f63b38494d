"""The README's examples run as they stand."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import QUICK, ROOT, Result
from PIL import Image
from stand_ins import use_stand_ins, write_samples

README = (ROOT / "README.md").read_text()
EXPERIMENTS = (ROOT / "configs" / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
FILES = dict(re.findall(r"`([\w/.]+)`:\n\n```(?:python|yaml)\n(.*?)```", README, re.DOTALL))


FOREIGN = """
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class GAN(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator = torch.nn.Linear(2, 4)
        self.discriminator = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        images, = batch
        made = self.generator(torch.randn(len(images), 2))
        first.zero_grad()
        self.manual_backward(torch.nn.functional.softplus(-self.discriminator(made)).mean())
        first.step()
        second.zero_grad()
        judged = self.discriminator(made.detach()) - self.discriminator(images)
        self.manual_backward(torch.nn.functional.softplus(judged).mean())
        second.step()

    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters(), lr=1e-3) for part in (self.generator, self.discriminator)]


class Images(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=16)
"""


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project with the README's files in it."""
    for folder in ("src", "configs", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, text in FILES.items():
        (tmp_path / path).write_text(text)
    return tmp_path


def train(copy: Path, *flags: str) -> str:
    return run(copy, sys.executable, "-m", "kindling", "fit", *flags, "--trainer.max_epochs", "2", *QUICK[2:])


@pytest.mark.slow
def test_a_model_is_a_file_and_a_yaml(copy: Path) -> None:
    assert set(FILES) == {"src/my_project/models/tiny.py", "src/my_project/data/iris.py", "configs/digits_tiny.yaml"}
    assert "Tiny" in train(copy, "--config", "configs/digits_tiny.yaml")
    assert (copy / "lightning_logs/digits_tiny/version_0/results.json").is_file()


@pytest.mark.slow
def test_data_is_a_file(copy: Path) -> None:
    out = train(copy, "--model", "MLP", "--data", "Iris")
    assert "Iris (4 → 3 classes; 97 train, 23 val, 30 test)" in out
    assert (copy / "lightning_logs/unnamed/version_0/results.json").is_file()


@pytest.mark.slow
def test_the_shared_tests_take_the_new_model_in(copy: Path) -> None:
    out = run(copy, sys.executable, "-m", "pytest", "tests/my_project/test_models.py", "-k", "Tiny")
    assert " passed" in out


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(from kindling import Trainer.*?)```", README, re.DOTALL)
    exec(example, {})
    assert (tmp_path / "digits.ckpt").is_file()


def test_a_module_and_data_that_know_nothing_of_kindling(
    kindling: Callable[..., Result], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = re.findall(r"`kindling (fit --model my_package[^`]+)`", README)
    (project / "my_package.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(project)
    finished = kindling(*command.split(), *QUICK)
    assert finished.code == 0, finished.err
    (results,) = Path("lightning_logs").glob("*/version_0/results.json")
    assert set(json.loads(results.read_text())) >= {"epochs", "seconds"}


ROWS = [line for line in GUIDE.splitlines() if line.startswith("| ") and "the guide's section" not in line]
COMMANDS = sorted(set(re.findall(r"`(fit [^`]+)`", GUIDE)))
FEW = ["--trainer.accelerator", "cpu", "--trainer.fast_dev_run", "2"]


def test_every_row_of_the_guides_table_names_a_command() -> None:
    assert len(ROWS) > 10
    assert [row for row in ROWS if "`fit " not in row] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guides_table_runs(
    command: str, kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins({"FashionMNIST"}, monkeypatch)
    if "--resume" in command:
        assert kindling("fit", "--config", "configs/digits_mlp.yaml", *FEW[:2], "--trainer.max_epochs", 1).code == 0
        command = command.replace("RUN", "lightning_logs/digits_mlp/version_0 --trainer.max_epochs 2")
    finished = kindling(*shlex.split(command), *([] if "--resume" in command else FEW))
    assert (finished.code, finished.err) == (0, "")


def test_the_readme_is_short_and_every_path_in_it_exists() -> None:
    assert len(README.splitlines()) < 200
    for path in re.findall(r"`((?:src|configs|scripts|tests)/[\w/.]+\.\w+)`", README + EXPERIMENTS + GUIDE):
        assert path in FILES or (ROOT / path).exists(), path
    for path in re.findall(r"`([\w/]+\.py)`", GUIDE):
        assert any((ROOT / "src" / package / path).exists() for package in ("kindling", "my_project")), path
    table = README.partition("## Find your way\n")[2].partition("```\n")[2].partition("```")[0]
    for first, name in re.findall(r"^( *)(\w[\w/]*/)", table, re.MULTILINE):
        assert (ROOT / ("src/kindling" if first else "") / name).is_dir(), name


def commands_of(section: str) -> list[list[str]]:
    """The commands in a section's first block of code."""
    block = README.partition(f"## {section}\n")[2].split("```")[1]
    return [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]


@pytest.mark.slow
def test_the_commands_for_own_files_run_on_small_ones(kindling: Callable[..., Result]) -> None:
    script, *commands = commands_of("Train on your own files")
    assert script == ["python", "scripts/sample_data.py"]
    write_samples(Path("data/samples"), 150)
    for name, command, *flags in commands:
        assert name == "kindling"
        few = [] if command == "data" else ["--trainer.accelerator", "cpu", "--trainer.max_epochs", 1]
        finished = kindling(command, *flags, *few, *(["--data.folds", 2] if command == "folds" else []))
        assert (finished.code, finished.err) == (0, ""), (command, flags)
    trained = {path.parent.name for path in Path("lightning_logs").glob("*/version_0")}
    assert trained == {"my_images", "my_table", "my_arrays", "my_table_folds"}

    runs = {"new_photos": "my_images", "": "my_images", "new.npz": "my_arrays"}
    shutil.copytree("data/samples/digits/3", "new_photos")
    shutil.copy("data/samples/digits.npz", "new.npz")
    shutil.copy("lightning_logs/my_arrays/version_0/checkpoints/best.ckpt", "my_model.ckpt")
    commands = commands_of("Use the model")
    assert [command[1] for command in commands] == ["predict", "predict", "predict", "export"]
    for _, command, *flags in commands:
        input_path = flags[flags.index("--input") + 1] if "--input" in flags else ""
        flags = [f"lightning_logs/{runs[input_path]}/version_0" if flag == "latest" else flag for flag in flags]
        finished = kindling(command, *flags)
        assert (finished.code, finished.err) == (0, ""), (command, flags)
    assert Path("lightning_logs/my_images/version_0/export/model.onnx").is_file()
    assert len(Path("lightning_logs/predict/predictions_new.csv").read_text().splitlines()) == 151

    snippet = README.partition("## Use the model\n")[2].partition("```python\n")[2].partition("```")[0]
    images = [Image.open(path) for path in sorted(Path("new_photos").iterdir())]
    names: dict[str, Any] = {"images": images}
    exec(snippet, names)
    written = pd.read_csv("lightning_logs/my_images/version_0/predict/predictions_new_photos.csv")
    assert [str(value) for value in written["prediction"]] == names["table"]["prediction"].tolist()
    np.testing.assert_allclose(written["probability_3"], names["table"]["probability_3"], atol=1e-4)


@pytest.mark.parametrize(
    "config",
    ["my_table", *(pytest.param(f"my_{name}", marks=pytest.mark.slow) for name in ("images", "arrays", "sequences"))],
)
def test_each_kind_of_own_data_is_trained_tested_predicted_and_exported(
    config: str, kindling: Callable[..., Result]
) -> None:
    write_samples(Path("data/samples"), 150)
    few = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", 1]
    run = Path(f"lightning_logs/{config}/version_0")
    assert kindling("fit", "--config", f"configs/{config}.yaml", *few).code == 0
    assert kindling("test", "--run", run).code == 0
    own = {"my_images": "digits", "my_table": "patients.csv", "my_arrays": "digits.npz", "my_sequences": "rows.npz"}
    for command in (
        ["predict", "--run", run],
        ["predict", "--run", run, "--input", f"data/samples/{own[config]}", "--output", "all.csv"],
        ["export", "--run", run],
        ["export", "--run", run, "--format", "torch"],
    ):
        finished = kindling(*command)
        assert (finished.code, finished.err) == (0, "")
    assert len(Path("all.csv").read_text().splitlines()) == 151
    names = {path.name for folder in ("predict", "export") for path in (run / folder).iterdir()}
    assert names == {"predictions.csv", "model.onnx", "model.pt2"}
