"""The README is short and true; what it and the guide's table show runs. Its blocks run in docs/test_pages.py."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import QUICK, ROOT, Result
from stand_ins import use_stand_ins, write_samples

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPERIMENTS = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
TINY = re.findall(r"`([\w/.]+)`:\n\n```python\n(.*?)```", README, re.DOTALL)


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


@pytest.mark.slow
def test_the_shared_tests_take_the_new_model_in(tmp_path: Path) -> None:
    for folder in ("src", "configs", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ((path, code),) = TINY
    (tmp_path / path).write_text(code, encoding="utf-8")
    out = run(tmp_path, sys.executable, "-m", "pytest", "tests/my_project/test_models.py", "-k", "Tiny")
    assert " passed" in out


def test_a_module_and_data_that_know_nothing_of_kindling(
    kindling: Callable[..., Result], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (flags,) = re.findall(r"`(--model my_package[^`]+)`", README)
    (project / "my_package.py").write_text(FOREIGN, encoding="utf-8")
    monkeypatch.syspath_prepend(project)
    finished = kindling("fit", *flags.split(), *QUICK)
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
    assert len(README.splitlines()) <= 120
    links = re.findall(r"\]\(([^)#]+)\)", README)
    paths = re.findall(r"`((?:src|configs|scripts|tests)/[\w/.]+\.\w+)`", README + EXPERIMENTS)
    new = [path for path, _ in TINY]
    assert [path for path in links + paths if path not in new and not (ROOT / path).exists()] == []
    folders = re.findall(r"^([\w/]+/) ", README.partition("## Two packages\n")[2].partition("```\n")[0], re.MULTILINE)
    assert len(folders) == 6
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


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
    assert len(Path("all.csv").read_text(encoding="utf-8").splitlines()) == 151
    names = {path.name for folder in ("predict", "export") for path in (run / folder).iterdir()}
    assert names == {"predictions.csv", "model.onnx", "model.pt2"}
