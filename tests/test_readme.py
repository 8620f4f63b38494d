"""The README's examples run as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Result, write_fashion_mnist

README = (ROOT / "README.md").read_text()
FILES = dict(re.findall(r"`([\w/.]+)`:\n\n```(?:python|yaml)\n(.*?)```", README, re.DOTALL))
pytestmark = pytest.mark.slow


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
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


def test_a_model_and_data_are_a_file_and_a_yaml_each(copy: Path) -> None:
    assert len(FILES) == 4
    for config, expected in [("digits_tiny", "Tiny"), ("iris", "Iris (4 → 3 classes; 97 train, 23 val, 30 test)")]:
        out = run(
            copy,
            sys.executable,
            "-m",
            "kindling",
            "fit",
            "--config",
            f"configs/{config}.yaml",
            "--trainer.max_epochs",
            "2",
        )
        assert expected in out
        assert (copy / f"lightning_logs/{config}/version_0/results.json").is_file()


def test_the_shared_tests_take_the_new_model_in(copy: Path) -> None:
    out = run(copy, sys.executable, "-m", "pytest", "tests/models/test_models.py", "-k", "Tiny")
    assert " passed" in out


def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(import lightning.*?)```", README, re.DOTALL)
    run(tmp_path, sys.executable, "-c", example)
    assert (tmp_path / "digits.ckpt").is_file()


GUIDE = README.partition("## From the guide")[2]
ROWS = [line for line in GUIDE.splitlines() if line.startswith("| ") and "the guide's section" not in line]
COMMANDS = sorted(set(re.findall(r"`(fit [^`]+)`", GUIDE)))
FEW = ["--trainer.accelerator", "cpu", "--trainer.fast_dev_run", "2"]


def test_every_row_of_the_guides_table_names_a_command() -> None:
    assert len(ROWS) > 10
    assert [row for row in ROWS if "`fit " not in row] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guides_table_runs(command: str, kindling: Callable[..., Result]) -> None:
    if "mnist" in command:
        write_fashion_mnist(Path("data"), train=500, test=50)
    if "--resume" in command:
        assert kindling("fit", "--config", "configs/digits_mlp.yaml", *FEW[:2], "--trainer.max_epochs", 1).code == 0
        command = command.replace("RUN", "lightning_logs/digits_mlp/version_0 --trainer.max_epochs 2")
    finished = kindling(*shlex.split(command), *([] if "--resume" in command else FEW))
    assert (finished.code, finished.err) == (0, "")


def test_the_readme_is_short_and_every_path_in_it_exists() -> None:
    assert len(README.splitlines()) < 200
    for path in re.findall(r"`((?:src|configs|scripts|tests)/[\w/.]+\.\w+)`", README):
        assert path in FILES or (ROOT / path).exists(), path
    for path in re.findall(r"`((?:models|data|callbacks|losses|figures)/\w+\.py|\w+\.py)`", README):
        assert (ROOT / "src" / "kindling" / path).exists(), path
