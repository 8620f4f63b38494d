"""Every experiment loads and runs; every overlay composes with one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Result, write_fashion_mnist, write_samples

EXPERIMENTS = sorted((ROOT / "configs").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "configs" / "trainer").glob("*.yaml"))
names = [path.stem for path in EXPERIMENTS]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=names)
def test_an_experiment_trains(path: Path, kindling: Callable[..., Result]) -> None:
    if "mnist" in path.stem:
        write_fashion_mnist(Path("data"), train=500, test=50)
    if path.stem.startswith("my_"):
        write_samples(Path("data/samples"), 200)
    few = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 2]
    finished = kindling(
        "fit", "--config", path, "--trainer.accelerator", "cpu", *few, "--trainer.limit_test_batches", 2
    )
    assert (finished.code, finished.err) == (0, "")
    assert json.loads(Path(f"lightning_logs/{path.stem}/version_0/results.json").read_text())["epochs"] == 1


@pytest.mark.parametrize("path", EXPERIMENTS, ids=names)
def test_an_experiment_is_short_and_opens_with_its_command_time_and_result(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0] == f"# kindling fit --config configs/{path.name}"
    assert lines[1].startswith("# time: ")
    assert lines[2].startswith("# result: ")


@pytest.mark.parametrize("path", OVERLAYS, ids=[path.stem for path in OVERLAYS])
def test_an_overlay_sets_the_trainer_alone(path: Path) -> None:
    assert set(yaml.safe_load(path.read_text())) == {"trainer"}


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
