"""Further mistakes over all commands: each gets one sentence and its exit code, no traceback, and leaves nothing behind."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from conftest import QUICK, Result, assert_refused

Run = Callable[..., Result]
BOTH = "model: MLP\ndata: Digits\n"
ALIASES = "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdef", "bcdefg", strict=True)
)

CONFIGS = {
    "a class twice": ("model: MLP\nmodel: CNN\ndata: Digits\n", "mine.yaml, line 2: not valid YAML: model appears twice"),
    "a key twice": (BOTH + "trainer:\n  max_epochs: 2\n  max_epochs: 3\n", "mine.yaml, line 5: not valid YAML: max_epochs appears twice"),
    "an alias of itself": ("model: &a\n  class_path: MLP\n  init_args: {hidden_sizes: *a}\ndata: Digits\n", "mine.yaml: an alias refers to a value that contains it"),
    "a list in itself": ("model: &a [*a]\ndata: Digits\n", "mine.yaml: an alias refers to a value that contains it"),
    "aliases of aliases": (f"a: &a [{', '.join('x' * 9)}]\n{ALIASES}\n", "mine.yaml holds over 100,000 values through aliases of aliases"),
    "nested deeply": ("[" * 5000, "mine.yaml is nested too deeply to be a config"),
    "a number as class": ("model: {class_path: 3}\ndata: Digits\n", "mine.yaml: model.class_path is 3: expected the name of a class"),
    "a list as class": ("model: {class_path: [MLP]}\ndata: Digits\n", "mine.yaml: model.class_path is ['MLP']: expected the name"),
    "null as class": ("model: {class_path: null}\ndata: Digits\n", "mine.yaml: model.class_path is None: expected the name"),
    "a number as optimiser": ("model: {class_path: MLP, init_args: {optimizer: {class_path: 3.5}}}\ndata: Digits\n", "mine.yaml: model.optimizer.class_path is 3.5: expected"),
    "a number as model": ("model: 3\ndata: Digits\n", "mine.yaml: model is 3: expected"),
    "a list of arguments": ("model: {class_path: MLP, init_args: [3]}\ndata: Digits\n", "mine.yaml: model.init_args is [3]: expected the arguments of the class"),
    "arguments without class": ("model:\n  init_args: {dropout: 0.1}\ndata: Digits\n", "mine.yaml: model has no default: name one first"),
    "arguments of no task": ("model: {class_path: MLP, init_args: {task: {init_args: {label_smoothing: 0.1}}}}\ndata: Digits\n", "model.task has no default: name one first"),
    "arguments of no logger": (BOTH + "trainer: {logger: {init_args: {save_dir: x}}}\n", "trainer.logger"),
    "arguments of no callback": (BOTH + "trainer: {callbacks: [{init_args: {duration: x}}]}\n", "trainer.callbacks"),
    "an empty model": ("model:\ndata: Digits\n", "mine.yaml: model is empty: expected the name of a class"),
    "no keys in model": ("model: {}\ndata: Digits\n", "mine.yaml: model is empty: expected the name of a class"),
    "no keys in data": ("model: MLP\ndata: {}\n", "mine.yaml: data is empty: expected the name of a class"),
    "an empty data": ("model: MLP\ndata:\n", "from the data: name one with --data"),
    "an empty trainer": (BOTH + "trainer:\n", "mine.yaml: trainer is null: expected keys below it"),
    "a list as trainer": (BOTH + "trainer: []\n", "mine.yaml: trainer is []: expected keys below it"),
    "a key of the model at the top": ("dropout: 0.1\n" + BOTH, "mine.yaml: unknown key dropout: did you mean model.dropout?"),
    "a key of the trainer at the top": (BOTH + "max_epochs: 3\n", "mine.yaml: unknown key max_epochs: did you mean trainer.max_epochs?"),
    "a key of the data at the top": (BOTH + "batch_size: 3\n", "mine.yaml: unknown key batch_size: did you mean data.batch_size?"),
    "a key of the optimiser in the model": ("model: {class_path: MLP, init_args: {lr: 0.1}}\ndata: Digits\n", "unknown key model.lr: did you mean model.optimizer.lr?"),
    "a tag of Python": (BOTH + "trainer: !!python/object/apply:os.system ['touch marker']\n", "mine.yaml, line 3: not valid YAML: could not determine a constructor"),
    "a list": ("- model: MLP\n- data: Digits\n", "mine.yaml: expected keys such as model:"),
    "a tab": ("model: MLP\n\tdata: Digits\n", "mine.yaml, line 2: not valid YAML"),
    "two documents": ("---\nmodel: MLP\n---\ndata: Digits\n", "mine.yaml, line 3: not valid YAML"),
    "infinity": (BOTH + "trainer: {max_epochs: .inf}\n", "mine.yaml: trainer.max_epochs is inf: expected int or null"),
    "a date": (BOTH + "trainer: {max_epochs: 2024-01-01}\n", "mine.yaml: trainer.max_epochs is "),
}  # fmt: skip
FLAGS = {
    "a width": (["--model.hidden_sizes", "[100000000000000]"], "model.hidden_sizes is 100000000000000, which is more than fits into memory"),
    "a width beyond int64": (["--model.hidden_sizes", f"[{10**23}]"], f"model.hidden_sizes is {10**23}, which is more than fits"),
    "a batch beyond int64": (["--data.batch_size", str(10**21)], f"data.batch_size is {10**21}, which is more than fits"),
    "processes": (["--trainer.devices", "100000"], "trainer.devices is 100000: expected at most"),
    "workers": (["--data.workers", "1000000"], "data.workers is 1000000: expected at most"),
    "comet": (["--trainer.logger", "CometLogger"], "trainer.logger is CometLogger, which needs a package that is not installed: pip install comet-ml"),
    "deepspeed": (["--trainer.strategy", "deepspeed"], "pip install deepspeed"),
    "minutes": (["--trainer.max_time", "10m"], "command line: trainer.max_time is '10m': expected days:hours:minutes:seconds"),
    "a plain number of time": (["--trainer.max_time", "10"], "command line: trainer.max_time is '10': expected days:hours:minutes:seconds"),
    "help without a name": (["--model.help", "--data.help=Digits"], "--model.help needs a name: kindling fit --help lists them"),
    "help of no model": (["--model.help", "ResNt"], "model is 'ResNt', which names no LightningModule here: did you mean ResNet"),
    "thousands": (["--trainer.max_epochs", "10k"], "trainer.max_epochs is '10k': expected int or null"),
    "megabytes": (["--data.batch_size", "64MB"], "data.batch_size is '64MB': expected int"),
    "minutes of a checkpoint": (["--checkpoint.every_minutes", "10m"], "checkpoint.every_minutes is '10m': expected float or null"),
    "a key of no logger": (["--trainer.logger.name", "letter"], "trainer.logger names no class that takes name: name one first, such as --trainer.logger CSVLogger"),
    "a key of no profiler": (["--trainer.profiler.filename", "letter"], "trainer.profiler names no class that takes filename"),
    "a key of no strategy": (["--trainer.strategy.find_unused", "true"], "trainer.strategy names no class that takes find_unused"),
    "a key that a logger has not": (["--trainer.logger", "CSVLogger", "--trainer.logger.save_dirr", "x"], "unknown key trainer.logger.save_dirr: did you mean trainer.logger.save_dir?"),
    "patience of the trainer": (["--trainer.patience", "3"], "unknown key trainer.patience: did you mean early_stopping.patience?"),
    "batch size of the model": (["--model.batch_size", "3"], "unknown key model.batch_size: did you mean data.batch_size?"),
    "rate of the trainer": (["--trainer.lr", "3"], "unknown key trainer.lr: did you mean model.optimizer.lr?"),
    "an accelerator": (["--trainer.accelerator", "tpux"], "invalid accelerator name"),
    "a folder as config": (["--config", "/"], "can't read config / (Is a directory)"),
    "nothing as config": (["--config", os.devnull], f"{os.devnull} is empty"),
}  # fmt: skip
COMMANDS = {
    "a run that is a file": (["test", "--run", "file"], "file"),
    "a run with a null byte": (["test", "--run", "a\0b"], r"can't read a\x00b"),
    "a name too long for a run": (["test", "--run", "x" * 300], "File name too long"),
    "a checkpoint that is text": (["predict", "--ckpt", "file", "--input", "file"], "file is not a checkpoint, or it is damaged"),
    "a checkpoint that is a folder": (["predict", "--ckpt", "configs", "--input", "file"], "there is no checkpoint configs"),
    "no model to export": (["export"], "needs --run RUN"),
    "a number of folds": (["folds", "--config", "configs/digits_mlp.yaml", "--data.folds", "five"], "data.folds is five"),
    "a format": (["export", "--run", "latest", "--format", "pickle"], "--format: invalid choice: 'pickle'"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), CONFIGS.values(), ids=CONFIGS)
def test_a_config(text: str, message: str, kindling: Run) -> None:
    Path("mine.yaml").write_text(text, encoding="utf-8")
    before = {*Path().rglob("*")}
    assert_refused(kindling("fit", "--config", "mine.yaml", *QUICK), message)
    assert {*Path().rglob("*")} == before


@pytest.mark.parametrize(("flags", "message"), FLAGS.values(), ids=FLAGS)
def test_a_flag(flags: list[str], message: str, kindling: Run) -> None:
    before = {*Path().rglob("*")}
    assert_refused(kindling("fit", "--model", "MLP", "--data", "Digits", *QUICK, *flags), message)
    assert {*Path().rglob("*")} == before


@pytest.mark.parametrize(("argv", "message"), COMMANDS.values(), ids=COMMANDS)
def test_a_command(argv: list[str], message: str, kindling: Run) -> None:
    Path("file").write_text("words", encoding="utf-8")
    before = {*Path().rglob("*")}
    assert_refused(kindling(*argv), message)
    assert {*Path().rglob("*")} == before


Change = dict[str, Any]
PREPROCESSING = "is refused, since its preprocessing can't be used: "
CHECKPOINTS: dict[str, tuple[str, Change, str]] = {
    "weights in a list": ("", {"state_dict": [1]}, "since its state_dict is of type list: expected dict"),
    "a number for a weight": ("state_dict", {"net.1.weight": 3}, "weight net.1.weight is absent in the checkpoint"),
    "a weight without a name": ("state_dict", {3: torch.ones(1)}, "since its state_dict has a key that is not a string"),
    "no hyper-parameters": ("", {"hyper_parameters": None}, "since its hyper_parameters is of type NoneType"),
    "hyper-parameters in a list": ("", {"hyper_parameters": [1]}, "since its hyper_parameters is of type list"),
    "a nameless hyper-parameter": ("hyper_parameters", {1: 2}, "hyper_parameters have a key that is not a string"),
    "classes": ("hyper_parameters", {"classes": 3}, "model.classes is 3: expected list[str] or null"),
    "a shape": ("hyper_parameters", {"input_shape": "x"}, "model.input_shape is 'x'"),
    "a negative shape": ("hyper_parameters", {"input_shape": [-1]}, "is of a model that can't be built here"),
    "a width": ("hyper_parameters", {"hidden_sizes": {"a": 1}}, "model.hidden_sizes is {'a': 1}: expected list[int]"),
    "an enormous width": ("hyper_parameters", {"hidden_sizes": [10**14]}, "is of a model that can't be built here"),
    "a task": ("hyper_parameters", {"task": 3}, "model.task is 3"),
    "a class of a task": ("hyper_parameters", {"task": {"class_path": 3}}, "model.task.class_path is 3: expected the name"),
    "an optimiser": ("hyper_parameters", {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": 3}}, "model.optimizer.init_args is 3"),
    "preprocessing in a list": ("", {"preprocessing": [1]}, "since its preprocessing is of type list: expected dict"),
    "an unknown preprocessing": ("preprocessing", {"foo": 1}, PREPROCESSING),
    "a shape of inputs": ("preprocessing", {"shape": 3}, PREPROCESSING),
    "an enormous shape": ("preprocessing", {"shape": [10**9, 10**9]}, PREPROCESSING + "its shape is"),
    "a mean": ("preprocessing", {"mean": "x"}, PREPROCESSING),
    "too many means": ("preprocessing", {"mean": [0.0, 1.0], "std": [1.0, 1.0]}, PREPROCESSING + "its mean and std differ in size"),
    "a type of inputs": ("preprocessing", {"dtype": "float99"}, PREPROCESSING + "its dtype is 'float99': expected uint8"),
    "columns": ("preprocessing", {"columns": [{"x": 3}]}, PREPROCESSING),
    "a divisor": ("preprocessing", {"divisor": "x"}, PREPROCESSING),
}  # fmt: skip


def changed(run: Path, part: str, change: Change) -> None:
    for file in run.glob("checkpoints/*.ckpt"):
        content = torch.load(file, weights_only=True)
        content.pop("sealed")  # as other programs write it, without a checksum
        (content[part] if part else content).update(change)
        torch.save(content, file)


@pytest.mark.parametrize(("part", "change", "message"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_crafted_checkpoint(part: str, change: Change, message: str, trained: Path, kindling: Run) -> None:
    shutil.copytree(trained, "run")
    changed(Path("run"), part, change)
    before = {*Path().rglob("*")}
    assert_refused(kindling("predict", "--run", "run"), message)
    assert {*Path().rglob("*")} == before


RESUMES: dict[str, tuple[str, Change]] = {
    "callbacks in a list": ("", {"callbacks": [1]}),
    "the state of a callback": ("callbacks", {"Checkpoint": 3}),
    "loops": ("", {"loops": 3}),
    "no loop": ("", {"loops": {}}),
    "a loop": ("loops", {"fit_loop": 3}),
    "optimisers": ("", {"optimizer_states": 3}),
    "an optimiser": ("", {"optimizer_states": [3]}),
    "the state of an optimiser": ("", {"optimizer_states": [{"state": 3, "param_groups": []}]}),
    "an epoch": ("", {"epoch": "x"}),
    "a step": ("", {"global_step": []}),
    "a position": ("", {"position": 3}),
    "a version": ("", {"pytorch-lightning_version": 3}),
    "the class of an optimiser": ("hyper_parameters", {"optimizer": {"class_path": 4}}),
}


@pytest.mark.parametrize(("part", "change"), RESUMES.values(), ids=RESUMES)
def test_a_crafted_checkpoint_to_resume_from(part: str, change: Change, trained: Path, kindling: Run) -> None:
    shutil.copytree(trained, "run")
    changed(Path("run"), part, change)
    assert_refused(kindling("fit", "--resume", "run", "--trainer.max_epochs", "5"), "last.ckpt is refused, since its ")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Have permissions count, which root does without."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def run(trained: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run in a folder that anyone may enter."""
    folder = Path(mkdtemp())
    shutil.copytree(trained, folder / "run")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    monkeypatch.chdir(folder)
    yield Path("run")
    (folder / "run/checkpoints").chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["checkpoints/last.ckpt", "checkpoints/best.ckpt", "checkpoints", "config.yaml"])
def test_a_file_without_permission_is_named_and_left_alone(name: str, run: Path, kindling: Run) -> None:
    (run / name).chmod(0)
    before = {*run.rglob("*")}
    for argv in (
        ["fit", "--resume", "run", "--trainer.max_epochs", "5"],
        ["predict", "--run", "run", "--ckpt", "last"],
        ["test", "--run", "run"],
    ):
        if ("last" in name) == (argv[0] == "test") and name.endswith(".ckpt"):
            continue  # which reads the other one
        if "best" in name and argv[0] != "test":
            continue
        with as_nobody():
            finished = kindling(*argv)
        assert (finished.code, finished.err.count("\n")) == (2, 1), finished
        assert "Permission denied" in finished.err
        assert f"can't read {'config ' * (name == 'config.yaml')}{run / name}" in finished.err
        assert "damaged" not in finished.err
    assert {*run.rglob("*")} - {run / "lock"} == before - {run / "lock"}
