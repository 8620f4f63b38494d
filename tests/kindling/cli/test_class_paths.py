"""A class path in a config or a checkpoint names what its place accepts: anything else is refused, and none of it runs."""

import ast
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from class_places import all_places, parser_of_fit
from conftest import QUICK, ROOT, Result

from kindling import load
from kindling.cli.build import Parts
from kindling.core.class_paths import class_paths_in, foreign_parts
from kindling.core.errors import UsageError
from kindling.core.trusted_parts import is_trusted
from my_project.models.mlp import MLP

FIT = ["fit", "--config", "configs/digits_mlp.yaml", *QUICK]
Run = Callable[..., Result]
# What a bad class path names, and arguments with which it leaves a file.
PATHS = {
    "os.system": {"command": "touch executed"},
    "builtins.eval": {"source": "open('executed', 'w')"},
    "subprocess.Popen": {"args": ["touch", "executed"]},
    "torch.hub.load": {"repo_or_dir": ".", "model": "Evil", "source": "local"},
    "evil.Evil": {"command": "touch executed"},
    "evil.run": {"command": "touch executed"},
}
SLOW = pytest.mark.slow
EVIL = """
from pathlib import Path
Path("imported").touch()
class Evil:
    def __init__(self, *args, **kwargs):
        Path("executed").touch()
def run(*args, **kwargs):
    Path("executed").touch()
"""


@pytest.fixture
def evil(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules outside the project that leave a file when they are imported, and another when they are used."""
    Path("evil.py").write_text(EVIL, encoding="utf-8")
    Path("hubconf.py").write_text("from evil import Evil", encoding="utf-8")
    monkeypatch.syspath_prepend(project)
    yield
    assert not Path("executed").exists()
    sys.modules.pop("evil", None)


@pytest.fixture
def one_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share a parser between commands: to build it takes longer than to refuse a setting."""
    shared = parser_of_fit()
    monkeypatch.setattr(Parts, "setup_parser", lambda parts, *_: vars(parts).update(shared))


def test_the_places_are_found() -> None:
    known = "model model.optimizer model.schedule model.schedule.lr_lambda model.task model.task.loss data data.augment"
    trainer = "accelerator callbacks logger plugins profiler strategy"
    assert {*known.split(), *(f"trainer.{key}" for key in trainer.split())} <= all_places().keys()


@pytest.mark.parametrize("path", [pytest.param(path, marks=() if path == "evil.Evil" else SLOW) for path in PATHS])
def test_a_config_names_what_the_place_accepts(path: str, kindling: Run, evil: None, one_parser: None) -> None:
    for key, flags in all_places().items():
        config = Path("mine.yaml")
        settings = dict(flag[2:].split("=") for flag in flags)
        config.write_text(
            json.dumps(settings | {key: {"class_path": path, "init_args": PATHS[path]}}), encoding="utf-8"
        )
        bad = [["--config", config]]
        if path in ("os.system", "evil.Evil"):  # a function's place, lr_lambda, may name the others
            bad += [[f"--{key}={path}"]] + [[f"--{key}+={path}"]] * (key == "trainer.callbacks")
        for setting in bad:
            finished = kindling(*FIT, *flags, *setting)
            assert (finished.code, finished.err.count("\n")) == (2, 1), (key, setting, finished)
            assert finished.err.startswith("kindling: ")
            assert key.rpartition(".")[2] in finished.err
            assert "Traceback" not in finished.out + finished.err
            assert not Path("executed").exists()
            assert not Path("lightning_logs").exists()


def hyper_parameters(bad: Any) -> Iterator[dict[str, Any]]:
    """Each place of a checkpoint that the code could look up a name for."""
    yield from ({key: bad} for key in ("_class_path", "_instantiator", "activation", "task", "optimizer", "schedule"))
    yield {"task": {"class_path": "kindling.tasks.classification.Classification", "init_args": {"loss": bad}}}
    yield {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": bad}}}
    yield {"schedule": {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": bad}}}


def tamper(path: Path, change: dict[str, Any], into: Path | None = None) -> Path:
    content = torch.load(path, weights_only=True)
    content.pop("sealed", None)  # as other programs write it, without a checksum
    torch.save(content | {"hyper_parameters": content["hyper_parameters"] | change}, into or path)
    return into or path


@pytest.fixture
def checkpoint(project: Path) -> Path:
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(MLP(input_shape=(4,), classes=["a", "b"], hidden_sizes=[3]))
    trainer.save_checkpoint("net.ckpt", weights_only=True)
    return Path("net.ckpt")


@pytest.mark.parametrize("path", PATHS)
def test_a_checkpoint_names_what_the_place_accepts(path: str, checkpoint: Path, evil: None) -> None:
    for bad in (path, {"class_path": path, "init_args": PATHS[path]}):
        for change in hyper_parameters(bad):
            bad_one = tamper(checkpoint, change, Path("bad.ckpt"))
            if path.startswith("evil.") and bad in (change.get("optimizer"), change.get("schedule")):
                load(bad_one)  # could be of another package, and to predict it is not looked up
            else:
                with pytest.raises(UsageError) as raised:
                    load(bad_one)
                assert path in str(raised.value)
                assert str(bad_one) in str(raised.value)
                assert "\n" not in str(raised.value)
            assert not Path("imported").exists()
            assert not Path("executed").exists()


def test_a_checkpoint_names_parts_that_are_imported() -> None:
    parts = ("kindling.tasks.Classification", "torch.optim.AdamW", "torch.nn.ReLU", "torch.nn.functional.gelu")
    assert all(map(is_trusted, parts))
    others = (
        "torch.load",
        "torch.nn.functional.importlib",
        "torch.nn.nothing",
        "nowhere.Task",
        "kindling.cli.dispatch.main",
        "",
    )
    assert not any(map(is_trusted, others))


def test_commands_build_nothing_of_such_a_checkpoint(kindling: Run, evil: None) -> None:
    assert kindling(*FIT).code == 0
    run = Path("lightning_logs/digits_mlp/version_0")
    command, foreign = ({"class_path": path, "init_args": PATHS[path]} for path in ("os.system", "evil.Evil"))
    for file in run.glob("checkpoints/*.ckpt"):
        tamper(file, {"task": foreign, "optimizer": command, "schedule": foreign})
    for argv in (
        ["predict", "--run", run],
        ["export", "--run", run],
        ["fit", "--resume", run, "--trainer.max_epochs", 5],
    ):
        finished = kindling(*argv)
        assert (finished.code, finished.err.count("\n")) == (2, 1), finished
    for argv in (["validate", "--run", run], ["test", "--run", run]):  # of the checkpoint they take the weights alone
        assert kindling(*argv).code == 0
    assert not Path("imported").exists()


def test_no_source_unpickles_or_evaluates() -> None:
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        calls = {id(node.func): ast.unparse(node) for node in nodes if isinstance(node, ast.Call)}
        for node in nodes:
            name = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            if name.endswith(("torch.load", ".load_from_checkpoint")):
                call = calls.get(id(node), "").replace("'weights_only': True", "weights_only=True")
                assert "weights_only=True" in call, f"{path}: {name}"
            if "ckpt_path=" in calls.get(id(node), "").replace(" ", ""):
                assert "weights_only=True" in calls[id(node)], f"{path}: {calls[id(node)]}"
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            bad = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "eval", "exec"}
            if path.name != "sharded_checkpoint.py":
                assert not bad & {name, *modules}, f"{path}: {name or modules}"
            assert not name.endswith(("read_pickle", "unsafe_load", "full_load")), f"{path}: {name}"
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), path


@pytest.mark.parametrize("key", ["trainer", "model"])  # which comes first in a config
def test_a_package_is_named_by_its_model_and_no_class_path_is_overlooked(key: str) -> None:
    model = {"class_path": "mine.Net", "init_args": {}}
    trainer = {"callbacks": [{"class_path": "mine.Watch"}], "plugins": [[{"class_path": "hidden.Deep"}]]}
    values = {"trainer": trainer, "model": model} if key == "trainer" else {"model": model, "trainer": trainer}
    assert foreign_parts(values) == {"model": "mine.Net"}
    assert set(class_paths_in(values)) == {"mine.Net", "mine.Watch", "hidden.Deep"}


def test_the_one_unpickler_knows_the_names_that_it_takes() -> None:
    source = (ROOT / "src" / "kindling" / "run" / "sharded_checkpoint.py").read_text()
    nodes = list(ast.walk(ast.parse(source)))
    attributes = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    assert [name for name in attributes if name.startswith("pickle.")] == ["pickle.Unpickler"]
    (own,) = (node for node in nodes if isinstance(node, ast.ClassDef) and node.name == "_Unpickler")
    assert [each.name for each in own.body if isinstance(each, ast.FunctionDef)] == ["find_class"]
