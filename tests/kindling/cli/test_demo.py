"""`kindling demo` finds its experiment in a clone, and without one in what the engine's wheel brings."""

import logging
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT, Result

from kindling.cli import demo
from kindling.core import parts
from kindling.core.parts import load_projects

QUICK = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.accelerator=cpu"]


def test_it_is_explained(kindling: Callable[..., Result]) -> None:
    assert kindling("demo", "--help").out == demo.__doc__


def test_the_experiment_is_that_of_the_folder_or_else_that_of_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("clone/configs", "wheel/configs", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(demo, "TEMPLATE", tmp_path / "wheel")
    monkeypatch.chdir(tmp_path / "clone")
    of_wheel = tmp_path / "wheel" / "configs" / "digits_resnet.yaml"
    of_wheel.touch()
    assert demo.experiment() == of_wheel
    Path("configs/digits_resnet.yaml").touch()
    assert demo.experiment() == Path("configs/digits_resnet.yaml")


def test_where_there_is_none_it_says_where_to_start_it(
    kindling: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    finished = kindling("demo")
    assert finished.code == 2
    assert finished.err == (
        f"kindling: configs/digits_resnet.yaml is not in {tmp_path / 'elsewhere'}: start kindling demo in the folder "
        "of a clone\n"
    )


def test_where_no_project_is_installed_that_of_the_wheel_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src" / "stars_of_wheel"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models.py").write_text("FOUND = True\n", encoding="utf-8")
    monkeypatch.setattr(parts, "entry_points", lambda group: ())
    monkeypatch.setattr(parts, "TEMPLATE", tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load_projects.__wrapped__() == ("stars_of_wheel",)
    assert import_module("stars_of_wheel.models").FOUND
    for name in ("stars_of_wheel", "stars_of_wheel.models"):
        del sys.modules[name]


def test_lightning_is_quiet_when_it_trains(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    logger = logging.getLogger("lightning.pytorch")
    monkeypatch.setattr("kindling.cli.fit.main", lambda arguments: levels.append(logger.level))
    logger.setLevel(logging.INFO)  # as its import does
    demo.main([])
    assert levels == [logging.ERROR]


@pytest.mark.slow
def test_it_trains_and_says_what_to_type_next(kindling: Callable[..., Result], project: Path) -> None:
    assert (ROOT / "configs/digits_resnet.yaml").exists()
    finished = kindling("demo", *QUICK)
    assert finished.code == 0
    assert finished.out.startswith("ResNet (")
    assert "kindling test --run" in finished.out
    assert (project / "lightning_logs/digits_resnet/version_0/results.json").exists()
