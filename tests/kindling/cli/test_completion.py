"""The shells complete commands, flags, names, configs and runs, by a script that starts no Python."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result, assert_refused

from kindling.cli.completion import all_commands, flags_of, keys_of_configs
from kindling.cli.sweep import option_parser

KEYS = {"model": ["MLP", "CNN"], "model.hidden_sizes": [], "data.path": [], "checkpoint.mode": ["min", "max"]}
PRELUDE = """
source completion.bash
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_kindling; echo "${COMPREPLY[*]}"; }
"""
TYPED = {  # what is typed, and what Tab makes of its last word
    "kindling fo": "folds",
    "kindling fit --model.hi": "--model.hidden_sizes",
    "kindling fit --model C": "CNN",
    "kindling fit --model CNN --checkpoint.mode m": "min max",
    "kindling folds --res": "--resume",
    "kindling demo --model.hi": "--model.hidden_sizes",
    "kindling fit --config con": "configs",
    "kindling fit --config configs/digits_m": "configs/digits_mlp.yaml",
    "kindling fit --data.path con": "configs",
    "kindling fit --resume l": "latest lightning_logs/a/version_0",
    "kindling test --run lightning_logs/a/": "lightning_logs/a/version_0",
    "kindling compare lig": "lightning_logs/a/version_0",
    "kindling sweep --spa": "--space",
    "kindling sweep --finish --tri": "--trials",
    "kindling export --format o": "onnx",
    "kindling completion z": "zsh",
}


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(project: Path) -> None:
    shtab = pytest.importorskip("shtab")
    Path("completion.bash").write_text(shtab.complete(all_commands(KEYS), "bash"), encoding="utf-8")
    for run in ("a/version_0", "a/$(touch run_by_bash)"):
        Path("lightning_logs", run).mkdir(parents=True)
        Path("lightning_logs", run, "config.yaml").touch()
    script = PRELUDE + "".join(f"try {line}\n" for line in TYPED)
    told = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert dict(zip(TYPED, told.stdout.splitlines(), strict=True)) == TYPED
    assert told.stderr == ""
    assert not Path("run_by_bash").exists()


def test_flags_of_a_parser() -> None:
    flags = flags_of(option_parser())
    assert flags["trials"] == []
    assert flags["finish"] is flags["grid"] is None
    assert "help" not in flags


def test_the_shell_is_named(kindling: Callable[..., Result]) -> None:
    assert_refused(kindling("completion", "csh"), "shell: invalid choice: 'csh' (choose from")
    assert_refused(kindling("completion"), "nothing says for which shell: kindling completion bash or zsh or fish")


def test_without_shtab_a_line_says_what_is_missing(
    kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert_refused(kindling("completion", "bash"), "needs the library shtab: pip install shtab")


@pytest.mark.slow
def test_the_keys_are_the_parsers(kindling: Callable[..., Result]) -> None:
    keys = keys_of_configs()
    assert keys["checkpoint.mode"] == ["min", "max", "null"]
    assert keys["figures.enabled"] == ["true", "false"]
    assert {"MLP", "ResNet"} <= {*keys["model"]}
    assert {"Digits", "Table"} <= {*keys["data"]}
    assert keys["model.help"] == keys["model"]
    assert keys["trainer.precision"].count("32") == 1
    assert not {"Model", "Data", "LightningModule"} & {*keys["model"], *keys["data"]}
    assert {"AdamW", "Muon"} <= {*keys["model.optimizer"]}
    assert keys["trainer.max_epochs"] == keys["model.hidden_sizes"] == keys["data.target"] == []
    if pytest.importorskip("shtab"):
        for shell in ("bash", "zsh", "fish"):
            assert "--data.batch_size" in kindling("completion", shell).out.replace("-l data", "--data")
