"""The site is built without a warning, and has in it what is generated from the code."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
from conftest import ROOT
from jsonargparse import Namespace

DOCS = ROOT / "docs"


def generated() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generated", DOCS / "generated.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow  # it imports the whole command line
def test_types_and_defaults_are_in_words() -> None:
    module = generated()
    assert module.type_in_words(int | None) == "int or null"
    assert module.type_in_words(Literal["min", "max"] | None) == "min or max or null"
    assert module.type_in_words(list[int] | None) == "list[int] or null"
    assert (
        module.type_in_words(list[int | None] | tuple[str, ...] | bool) == "list[int or null] or tuple[str, …] or bool"
    )
    assert module.as_text(None) == "null"
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.002, "fused": None}}
    assert module.as_text(Namespace(optimizer)) == "AdamW(lr=0.002, fused=null)"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    pytest.importorskip("pydata_sphinx_theme")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        tmp_path / "trees",
        DOCS,
        tmp_path / "site",
    ]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (finished.returncode, finished.stderr) == (0, "")

    def page(name: str) -> str:
        return (tmp_path / "site" / f"{name}.html").read_text(encoding="utf-8")

    commands, settings, api = page("reference/commands"), page("reference/settings"), page("reference/api")
    for name in ("data", "fit", "folds", "sweep", "validate", "test", "compare", "predict", "export"):
        assert f'id="kindling-{name}"' in commands
    row = re.search(r"<tr[^>]*><td><p><code[^>]*><span[^>]*>trainer\.max_epochs</span>.*?</tr>", settings, re.DOTALL)
    assert row
    assert "int or null" in row[0]
    assert ">20<" in row[0]
    assert not re.search(r"= <code[^>]*><span[^>]*>(None|True|lambda)<", settings)  # as Python has them
    for key in ("early_stopping.patience", "model.hidden_sizes", "data.label_separator", "model.task.threshold"):
        assert key in settings
    for name in ("kindling.Model", "kindling.load", "kindling.data.table.Table", "my_project.models.mlp.MLP"):
        assert f'id="{name}"' in api
    for name in ("index", "guide/training", "reference/api"):  # it is read without a network as well
        assert not re.search(r"""<(script|link|img)[^>]+(src|href)="https?:""", page(name))
