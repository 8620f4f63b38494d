"""Every part of the project is one file: delete it, and the rest is whole."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PROJECT = ROOT / "src" / "my_project"
PARTS = sorted(path.relative_to(PROJECT) for path in PROJECT.rglob("*.py") if path.name != "__init__.py")
# Lists the classes that each copy of the project has. Libraries and engine are imported once, and each copy in a fork.
LIST = """
import json, os, sys
import sklearn.datasets, torchvision.datasets
from lightning import Callback, LightningDataModule
from torch import nn
from kindling import Augmentation, Model
from kindling.core.parts import load_projects, path_of

def below(base):
    return {*base.__subclasses__()}.union(*map(below, base.__subclasses__()))

for copy in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        sys.path.insert(0, copy)
        load_projects()
        import my_project
        assert my_project.__file__.startswith(copy)
        parts = set().union(*map(below, (nn.Module, LightningDataModule, Callback, Augmentation)))
        own = [cls for cls in parts if cls.__module__.startswith("my_project.") and not cls.__name__.startswith("_")]
        print(json.dumps([copy, [path_of(cls) for cls in own]]), flush=True)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit(copy + " failed")
"""


def classes_in(part: Path) -> set[str]:
    """The paths of the classes that a file of the project offers."""
    module = ".".join(("my_project", *part.with_suffix("").parts))
    names = re.findall(r"^class ([A-Za-z]\w*)", (PROJECT / part).read_text(), re.MULTILINE)
    return {f"{module}.{name}" for name in names}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a copy is imported in a fork")
def test_each_part_can_be_deleted_alone(tmp_path: Path) -> None:
    copies = {}
    for part in PARTS:
        copy = tmp_path / "-".join(part.with_suffix("").parts)
        shutil.copytree(PROJECT, copy / "my_project", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "my_project" / part).unlink()
        copies[str(copy)] = part

    finished = subprocess.run([sys.executable, "-c", LIST, *copies], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    left = {copies[copy]: set(paths) for copy, paths in map(json.loads, finished.stdout.splitlines())}
    assert set(left) == set(PARTS)
    everything = set().union(*left.values())
    for part in PARTS:
        assert classes_in(part), part
        assert everything - left[part] == classes_in(part), part


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_imports_no_other(part: Path) -> None:
    assert not re.findall(r"^\s*(?:from|import) my_project", (PROJECT / part).read_text(), re.MULTILINE)
