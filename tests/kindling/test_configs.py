"""The experiments of this repository say what they reach, and its overlays compose with them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Result

EXPERIMENTS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name == "configs")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_short_and_opens_with_its_command_time_and_result(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0] == f"# kindling fit --config {path.relative_to(ROOT).as_posix()}"
    assert lines[1].startswith("# time: ")
    assert lines[2].startswith("# result: ")


def test_the_cpu_overlay_beats_the_experiment(kindling: Callable[..., Result]) -> None:
    config = ["--config", "configs/digits_mlp.yaml", "--config", "configs/trainer/cpu.yaml"]
    assert kindling("fit", *config, "--trainer.max_epochs", 1).code == 0
    resolved = yaml.safe_load(Path("lightning_logs/digits_mlp/version_0/config.yaml").read_text())
    assert resolved["trainer"]["accelerator"] == "cpu"
    assert resolved["trainer"]["precision"] == "32-true"


def test_the_debug_overlay_leaves_no_files(kindling: Callable[..., Result], project: Path) -> None:
    before = sorted(project.rglob("*"))
    finished = kindling("fit", "--config", "configs/digits_mlp.yaml", "--config", "configs/trainer/debug.yaml")
    assert finished.code == 0
    assert "nothing was written" in finished.out
    assert sorted(project.rglob("*")) == before
