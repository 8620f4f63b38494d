"""A run can come from anyone: nothing that its config or its checkpoints name is imported, called or written elsewhere.

A payload lies in the working folder, and the folder is on the path where the commands run in this process.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from class_places import all_places, parser_of_fit, places_below_trainer
from conftest import Result

from kindling.cli.build import Parts
from kindling.core.trusted_parts import is_trusted_of_run

Run = Callable[..., Result]
PAYLOAD = """
from pathlib import Path
Path("marker").touch()
def run(*args, **kwargs):
    Path("marker").touch()
class Part:
    def __init__(self, *args, **kwargs):
        run()
    __call__ = run
"""
NAMES = ["payload.run", {"class_path": "payload.Part"}]


@pytest.fixture
def stranger(trained: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The run as `stranger`, with a payload in it and beside it."""
    shutil.copytree(trained, "stranger")
    for path in (Path("payload.py"), Path("stranger/payload.py")):
        path.write_text(PAYLOAD)
    monkeypatch.syspath_prepend(project)
    yield Path("stranger")
    assert not Path("marker").exists()
    for name in ("payload", "stranger", "stranger.payload"):
        assert name not in sys.modules


@pytest.fixture
def one_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share a parser between commands: to build it takes longer than to refuse a setting."""
    shared = parser_of_fit()
    monkeypatch.setattr(Parts, "setup_parser", lambda parts, *_: vars(parts).update(shared))


def change(run: Path, settings: dict[str, Any]) -> None:
    """Set keys of a run's config, as flags name them."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    for key, value in settings.items():
        *above, last = key.split(".")
        place = config
        for depth, word in enumerate(above):
            if isinstance(place.get(word), str):
                place[word] = {"class_path": place[word]}
            place = place.setdefault(word, {})
            if word != "trainer" and (depth or word in ("model", "data")):
                place = place.setdefault("init_args", {})
        place[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def assert_refused_or_ignored(finished: Result) -> None:
    if finished.code:
        assert (finished.code, finished.err.count("\n")) == (2, 1), finished
        assert finished.err.startswith("kindling: ")
    assert "Traceback" not in finished.out + finished.err
    assert not Path("marker").exists()


def attack(kindling: Run, run: Path, settings: dict[str, Any], *more: str) -> Result:
    before = (run / "config.yaml").read_text()
    change(run, settings)
    finished = kindling(*(more or ("test",)), "--resume" if more else "--run", run)
    assert_refused_or_ignored(finished)
    (run / "config.yaml").write_text(before)
    return finished


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_no_place_of_a_run_takes_what_is_not_known(name: Any, stranger: Path, kindling: Run, one_parser: None) -> None:
    for key, flags in all_places().items():
        settings = dict(flag[2:].split("=") for flag in flags)
        assert attack(kindling, stranger, settings | {key: name}).code == 2, key


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES, ids=str)
def test_nor_does_a_part_of_the_trainer(name: Any, stranger: Path, kindling: Run, one_parser: None) -> None:
    places = places_below_trainer()
    assert {("callbacks", "lightning.pytorch.callbacks.lambda_function.LambdaCallback", "setup")} <= {*places}
    for part, path, argument in places:
        spec = {"class_path": path, "init_args": {argument: name}}
        attack(kindling, stranger, {f"trainer.{part}": [spec] if part == "callbacks" else spec})


def test_a_resume_takes_none_either(stranger: Path, kindling: Run) -> None:
    for settings in ATTACKS.values():
        assert attack(kindling, stranger, settings, "fit", "--trainer.max_epochs=3").code == 2


def test_own_settings_may_name_own_code(stranger: Path, kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(
        "import lightning\nclass Mine(lightning.Callback):\n"
        "    def on_test_start(self, *_):\n        print('mine was called')\n",
        encoding="utf-8",
    )
    finished = kindling("test", "--run", stranger, "--trainer.callbacks+=mine.Mine")
    assert finished.code == 0
    assert "mine was called" in finished.out
    sys.modules.pop("mine")


ATTACKS: dict[str, dict[str, Any]] = {
    "callback": {"trainer.callbacks": [{"class_path": "LambdaCallback", "init_args": {"setup": "payload.run"}}]},
    "schedule": {
        "model.schedule": {
            "class_path": "torch.optim.lr_scheduler.LambdaLR",
            "init_args": {"lr_lambda": "stranger.payload.run"},
        }
    },
    "logger": {"trainer.logger": {"class_path": "payload.Part"}},
}
COMMANDS = {
    "test": ["test", "--run", "stranger"],
    "resume": ["fit", "--resume", "stranger", "--trainer.max_epochs=3"],
    "predict": ["predict", "--run", "stranger"],
}
WAYS = {
    "module": [sys.executable, "-m", "kindling"],
    "script": [str(Path(sys.executable).with_name("kindling"))],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ATTACKS)
def test_no_payload_in_the_working_folder_runs(name: str, way: str, stranger: Path) -> None:
    if way == "script" and not Path(WAYS[way][0]).is_file():
        pytest.skip("the console script is not installed")
    change(stranger, ATTACKS[name])
    for argv in COMMANDS.values():
        finished = subprocess.run(
            [*WAYS[way], *argv], capture_output=True, text=True, env=os.environ.copy(), timeout=600
        )
        assert_refused_or_ignored(Result(finished.returncode, finished.stdout, finished.stderr))


def test_what_a_run_may_name() -> None:
    known = ("torch.relu", "torch.nn.functional.gelu", "torch.nn.init.xavier_uniform_", "torch.optim.AdamW")
    assert all(map(is_trusted_of_run, (*known, "my_project.models.mlp.MLP", "my_project.models.mlp.build_activation")))
    others = ("torch.load", "torch.hub.load", "torch.ops.load_library", "torch.os.system", "kindling.main", "os.system")
    assert not any(
        map(is_trusted_of_run, (*others, "subprocess.Popen", "kindling.core.files.write_json", "", "nowhere.f"))
    )


PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "save_dir": (
        {"trainer.logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "{out}"}}},
        "logger.save_dir",
    ),
    "name": (
        {"trainer.logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "stranger", "name": "../../out"}}},
        "logger.name",
    ),
    "profiler": (
        {"trainer.profiler": {"class_path": "SimpleProfiler", "init_args": {"dirpath": "{out}", "filename": "p"}}},
        "profiler.dirpath",
    ),
    "profiler's file": (
        {"trainer.profiler": {"class_path": "SimpleProfiler", "init_args": {"filename": "{out}/p"}}},
        "profiler.filename",
    ),
    "callback": (
        {"trainer.callbacks": [{"class_path": "OnExceptionCheckpoint", "init_args": {"dirpath": "{out}"}}]},
        "callbacks.dirpath",
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_run_writes_into_itself(name: str, stranger: Path, kindling: Run, tmp_path: Path) -> None:
    settings, key = PLACES[name]
    out = tmp_path / "outside" / "out"
    change(stranger, yaml.safe_load(yaml.safe_dump(settings).replace("{out}", str(out))))
    there = {*tmp_path.iterdir()}
    finished = kindling("test", "--run", stranger)
    assert finished.code == 0
    assert f"note: trainer.{key} is " in finished.err
    assert {*tmp_path.iterdir()} == there
    if name != "callback":  # which writes after an error alone
        assert any((stranger / "out").rglob("*")) or any(stranger.glob("p*")), sorted(stranger.rglob("*"))


def test_an_address_is_refused(stranger: Path, kindling: Run) -> None:
    change(stranger, {"trainer.logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "memory://out"}}})
    finished = kindling("test", "--run", stranger)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "trainer.logger.save_dir is memory://out, outside the run" in finished.err


@pytest.mark.parametrize("name", ["lock", "metrics.csv", "test", "config.0.yaml"])
def test_a_link_out_of_a_run_is_refused(name: str, stranger: Path, kindling: Run) -> None:
    victim = Path("victim")
    victim.write_text("mine", encoding="utf-8")
    (stranger / name).unlink(missing_ok=True)
    (stranger / name).symlink_to(victim.resolve())
    for argv in COMMANDS.values():
        finished = kindling(*argv)
        assert (finished.code, finished.err.count("\n")) == (2, 1)
        assert f"{stranger / name} is a link to {victim.resolve()}, outside the run" in finished.err
    assert victim.read_text(encoding="utf-8") == "mine"


def test_a_summary_with_other_kinds_of_values_stops_no_resume(stranger: Path, kindling: Run) -> None:
    (stranger / "summary.json").write_text('{"settings": [1], "notes": 5, "monitor": ["a"]}', encoding="utf-8")
    finished = kindling("fit", "--resume", stranger, "--trainer.max_epochs=3")
    assert (finished.code, finished.err) == (0, "")
    assert '"trainer.max_epochs": 3' in (stranger / "summary.json").read_text(encoding="utf-8")


def test_checkpoints_on_another_disk_can_be_measured_but_not_trained_on(stranger: Path, kindling: Run) -> None:
    shutil.move(stranger / "checkpoints", "elsewhere")
    (stranger / "checkpoints").symlink_to(Path("elsewhere").resolve())
    assert kindling(*COMMANDS["test"]).code == 0
    assert "is a link to" in kindling(*COMMANDS["resume"]).err


@pytest.mark.parametrize("key", ["kth_best_model_path", "last_model_path", "best_k_models"])
def test_a_checkpoint_has_no_file_elsewhere_removed(key: str, stranger: Path, kindling: Run) -> None:
    Path("victim").mkdir()
    for file in stranger.glob("checkpoints/*.ckpt"):
        content = torch.load(file, weights_only=True)
        del content["sealed"]
        state = content["callbacks"]["Checkpoint"]
        path = f"{stranger.resolve()}/checkpoints/../../victim"
        state[key] = {path: torch.tensor(9.0)} if key == "best_k_models" else path
        torch.save(content, file)
    finished = kindling(*COMMANDS["resume"])
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert Path("victim").is_dir()
