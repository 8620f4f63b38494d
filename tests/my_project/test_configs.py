"""Every experiment trains. One whose files are not here is skipped, unless stand_ins.py has some for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Result
from stand_ins import use_stand_ins

CONFIGS = ROOT / "configs"
OVERLAYS = sorted(path for folder in ("trainer", "logger") for path in (CONFIGS / folder).glob("*.yaml"))
SPACES = CONFIGS / "spaces"  # what studies search
OTHERS = {*OVERLAYS, *SPACES.rglob("*.yaml")}
EXPERIMENTS = sorted(path.relative_to(ROOT) for path in CONFIGS.rglob("*.yaml") if path not in OTHERS)
FEW = [f"--trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]


@pytest.mark.parametrize("config", EXPERIMENTS, ids=str)
def test_an_experiment_trains(
    config: Path, kindling: Callable[..., Result], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data").mkdir()
    for files in (ROOT / "data").glob("*"):
        (project / "data" / files.name).symlink_to(files)
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    use_stand_ins(set(strings_in(settings)), monkeypatch)
    for path in paths_in(settings):
        if not path.exists():
            pytest.skip(f"{path} is not here: put it there, or something that stands in for it into stand_ins.py")

    quick = ["--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", "--figures.enabled", "false"]
    finished = kindling("fit", "--config", config, *quick, *FEW)
    assert finished.code == 0, finished.err
    results = project / "lightning_logs" / config.stem / "version_0" / "results.json"
    assert json.loads(results.read_text())["epochs"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_an_overlay_sets_the_trainer_alone(overlay: Path) -> None:
    assert set(yaml.safe_load(overlay.read_text(encoding="utf-8"))) == {"trainer"}


def strings_in(value: Any) -> list[str]:
    """All strings among the values of a YAML; of a class's path only its name."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings_in(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings_in(each)]
    return [value.rpartition(".")[2] if "/" not in value else value] if isinstance(value, str) else []


def paths_in(settings: dict[str, Any]) -> list[Path]:
    """The files or folders that the data of an experiment is read from."""
    data = settings.get("data")
    arguments = data.get("init_args", {}) if isinstance(data, dict) else {}
    return [Path(arguments["path"])] if "path" in arguments else []
