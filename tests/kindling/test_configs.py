"""The experiments of this repository say what they reach, and its overlays compose with them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Result

from kindling.cli.arguments import read_arguments
from kindling.cli.sweep import check
from kindling.core.config_files import read_yaml
from kindling.study.space import Space

EXPERIMENTS = sorted((ROOT / "configs").glob("*.yaml"))
SPACES = sorted((ROOT / "configs" / "spaces").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_short_and_opens_with_its_command_time_and_result(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 25
    assert lines[0] == f"# kindling fit --config {path.relative_to(ROOT).as_posix()}"
    assert lines[1].startswith("# time: ")
    assert lines[2].startswith("# result: ")


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_space_opens_with_its_command_time_and_result_and_fits_its_experiment(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    name = path.relative_to(ROOT).as_posix()
    command = re.fullmatch(rf"# kindling sweep --config (configs/\w+\.yaml) --space {name} --trials \d+", lines[0])
    assert command
    assert lines[1].startswith("# time: ")
    assert lines[2].startswith("# result: ")
    arguments = read_arguments(["fit", "--config", str(ROOT / command[1]), "--trainer.accelerator", "cpu"])
    assert check(arguments, Space(read_yaml(path), name)) == {"metric": "val/loss", "mode": "min", "seed": 0}


def test_the_cpu_overlay_beats_the_experiment(kindling: Callable[..., Result]) -> None:
    config = ["--config", "configs/digits_mlp.yaml", "--config", "configs/trainer/cpu.yaml"]
    assert kindling("fit", *config, "--trainer.max_epochs", 1).code == 0
    resolved = yaml.safe_load(Path("lightning_logs/digits_mlp/version_0/config.yaml").read_text(encoding="utf-8"))
    assert resolved["trainer"]["accelerator"] == "cpu"
    assert resolved["trainer"]["precision"] == "32-true"


def test_the_debug_overlay_leaves_no_files(kindling: Callable[..., Result], project: Path) -> None:
    before = sorted(project.rglob("*"))
    finished = kindling("fit", "--config", "configs/digits_mlp.yaml", "--config", "configs/trainer/debug.yaml")
    assert finished.code == 0
    assert "nothing was written" in finished.out
    assert sorted(project.rglob("*")) == before
