"""What VS Code is told of this project: each file is JSON, what it names is there, and the commands parse."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from kindling.cli.arguments import read_arguments
from kindling.cli.help_texts import ABOUT

FOLDER = ROOT / ".vscode"
LAUNCHES = {
    each["name"]: each for each in json.loads((FOLDER / "launch.json").read_text(encoding="utf-8"))["configurations"]
}


@pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)
def test_what_a_launch_starts_is_there_and_takes_its_arguments(
    launch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    if launch["request"] == "attach":
        assert str(launch["connect"]["port"]) in launch["name"]
        return
    assert find_spec(launch["module"])
    open_file = "configs/digits_resnet.yaml" if launch["module"] == "kindling" else "tests/conftest.py"
    args = [arg.replace("${file}", open_file) for arg in launch["args"]]
    assert all(Path(arg).is_file() for arg in args if "/" in arg)
    if args[0] in ABOUT:
        arguments = read_arguments(args)
        assert arguments.values["trainer.fast_dev_run"] == 3
        assert arguments.flags == []
    elif launch["module"] == "kindling":
        assert find_spec(f"kindling.cli.{args[0]}")


def test_the_other_files() -> None:
    settings = json.loads((FOLDER / "settings.json").read_text())
    assert all((ROOT / path).is_dir() for path in settings["python.testing.pytestArgs"])
    recommended = json.loads((FOLDER / "extensions.json").read_text())["recommendations"]
    assert settings["[python]"]["editor.defaultFormatter"] in recommended
    assert {launch["type"] for launch in LAUNCHES.values()} == {"debugpy"}
    assert "ms-python.debugpy" in recommended
    assert all(re.fullmatch(r"[\w-]+\.[\w-]+", name) for name in recommended)


def test_a_renaming_has_nothing_to_change() -> None:
    assert not any("my_project" in file.read_text(encoding="utf-8") for file in FOLDER.iterdir())
