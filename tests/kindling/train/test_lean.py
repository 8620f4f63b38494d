"""Every optional part is one file: delete it with its YAML and its test, and the rest is whole."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

PACKAGE = ROOT / "src" / "kindling"
FOLDERS = ("models", "data", "losses", "callbacks", "figures")
SHARED = {"__init__", "base", "results", "checkpoint"}  # a run needs its checkpoints
PARTS = sorted(path for folder in FOLDERS for path in (PACKAGE / folder).glob("*.py") if path.stem not in SHARED)
# Lists the parts that a copy has, and trains for one batch. The libraries are imported once, and each copy in a fork.
TRY = """
import json, os, sys
import lightning.pytorch.cli, matplotlib.figure, seaborn, sklearn.metrics, torch, torchvision.transforms.v2, torchmetrics
for copy, config in json.loads(sys.argv[1]):
    pid = os.fork()
    if not pid:
        os.chdir(copy)
        sys.path.insert(0, copy + "/src")
        from kindling import callbacks, cli, commands, figures, losses
        assert commands.__file__.startswith(copy)
        from kindling.data.base import Augmentation
        bases = commands.Model, commands.Data, Augmentation, torch.nn.modules.loss._Loss
        below = lambda cls: [cls, *(each for child in cls.__subclasses__() for each in below(child))]
        parts = [cls.__name__ for base in bases for cls in below(base) if cls.__module__.startswith("kindling.")]
        print("parts", json.dumps([copy, *parts, *callbacks.default(), *figures.FIGURES]), flush=True)
        code = cli.main(["fit", "--config", config, "--trainer.fast_dev_run", "1", "--trainer.accelerator", "cpu"])
        sys.stdout.flush()
        os._exit(code)
    if os.waitpid(pid, 0)[1]:
        sys.exit(copy + " failed")
"""


def classes_of(path: Path) -> set[str]:
    return set(re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE))


def names_in(value: object) -> set[str]:
    """All strings in a YAML."""
    if isinstance(value, dict | list):
        return set().union(*map(names_in, value.values() if isinstance(value, dict) else value))
    return {str(value)}


@pytest.mark.slow
def test_each_part_can_be_deleted_alone(tmp_path: Path) -> None:
    tries = []
    for part in PARTS:
        copy = tmp_path / f"{part.parent.name}-{part.stem}"
        for folder in ("src", "configs"):
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        (copy / part.relative_to(ROOT)).unlink()
        gone = classes_of(part)
        configs = sorted((copy / "configs").glob("*.yaml"))
        kept = [path for path in configs if not gone & names_in(yaml.safe_load(path.read_text()))]
        kept = [path for path in kept if "mnist" not in path.stem and not path.stem.startswith("my_")]
        assert len(configs) - len(kept) < len(configs) / 2 or part.stem in ("mlp", "synthetic")
        tries.append((str(copy), str(kept[0])))

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", TRY, json.dumps(tries)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-3000:]
    lists = {}
    for line in finished.stdout.splitlines():
        if line.startswith("parts "):
            copy, *parts = json.loads(line.removeprefix("parts "))
            lists[Path(copy).name] = set(parts)
    everything = set().union(*lists.values())
    for part in PARTS:
        left = lists[f"{part.parent.name}-{part.stem}"]
        gone = everything - left
        assert 0 < len(gone) < 6, part
        names = {name.lower().replace("_", "") for name in classes_of(part) | {part.stem}}
        assert {name.lower().replace("_", "") for name in gone} <= names, part
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *tmp_path.glob("*/src")], capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout


def test_no_part_names_another() -> None:
    for path in PARTS:
        others = {other.stem for other in PARTS if other.parent == path.parent and other != path}
        imported = re.findall(rf"from kindling\.{path.parent.name}\.(\w+) import", path.read_text())
        assert not others & set(imported), path
