"""Each mistake gets one sentence on stderr and exit code 2; no traceback, and no run folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import QUICK, Result, assert_refused, child

MLP = ["--config", "configs/digits_mlp.yaml", *QUICK]
Run = Callable[..., Result]

FLAGS = {
    "key of a model": (["--model.hiden_sizes", "[3]"], "unknown key model.hiden_sizes: did you mean model.hidden_sizes?"),
    "key of the trainer": (["--trainer.max_epoch", "3"], "unknown key trainer.max_epoch: did you mean trainer.max_epochs"),
    "key beside good ones": (
        ["--model.hidden_sizes", "[3, 4]", "--model.optimizer.lr", "1e-3", "--model.dropuot", "0.1"],
        "unknown key model.dropuot: did you mean model.dropout?",
    ),
    "key at the top": (["--modle", "MLP"], "unknown key modle: did you mean model"),
    "key of an optimiser": (["--model.optimizer.lrr", "3"], "unknown key model.optimizer.lrr: did you mean model.optimizer.lr?"),
    "key of a schedule": (["--model.schedule.warmpu", "0"], "did you mean model.schedule.warmup?"),
    "key of a callback": (["--early_stopping.patiense", "3"], "did you mean early_stopping.patience?"),
    "key of a task": (
        ["--model.task", "Classification", "--model.task.label_smooting", "0.1"],
        "did you mean model.task.label_smoothing?",
    ),
    "task not named": (["--model.task.label_smoothing", "0.1"], "model.task has no default: name one first"),
    "class of model": (["--model", "ResNt"], "model is 'ResNt', which names no LightningModule here: did you mean ResNet or FastResNet?"),
    "class of data": (["--data", "Digitss"], "data is 'Digitss', which names no LightningDataModule here: did you mean Digits?"),
    "class of optimiser": (["--model.optimizer", "SDG"], "names no Optimizer here: did you mean SGD"),
    "class of task": (["--model.task", "Clasification"], "did you mean Classification or BinaryClassification"),
    "type of an integer": (["--data.batch_size", "many"], "data.batch_size is 'many': expected int"),
    "type of a learning rate": (["--model.optimizer.lr", "fast"], "model.optimizer.lr is 'fast': expected float"),
    "type of a list": (["--model.hidden_sizes", "wide"], "model.hidden_sizes is 'wide': expected list[int]"),
    "null for a number": (["--data.batch_size", "null"], "command line: data.batch_size is null: expected int"),
    "null for an optimiser": (["--model.optimizer", "null"], "optimizer is null: expected an optimiser"),
    "choice": (["--model.norm", "group"], "model.norm is 'group': expected batch or layer or null"),
    "dropout": (["--model.dropout", "1.5"], "dropout is 1.5: expected a fraction in [0, 1)"),
    "batch size": (["--data.batch_size", "0"], "batch_size is 0: expected a positive integer"),
    "learning rate": (["--model.optimizer.lr", "-0.1"], "Invalid learning rate: -0.1"),
    "no classes": (["--data.classes", "[]"], "classes is []: expected at least two different digits"),
    "no classes for the model": (["--model.classes", "[]"], "model.classes comes from the data: leave it out"),
    "activation": (["--model.activation", "relo"], "activation is 'relo': expected a name from torch.nn, such as relu"),
    "fractions": (["--data.val_fraction", "0.9"], "expected positive fractions that leave samples for training"),
    "warm-up": (["--model.schedule.warmup", "2"], "warmup is 2.0: expected a fraction in [0, 1]"),
    "task of other data": (["--model.task", "Regression"], "Regression needs data with numeric targets"),
    "weights of classes": (
        ["--model.task", "Classification", "--model.task.class_weights", "[1, 2]"],
        "class_weights has 2 values: expected one for each of 10 classes",
    ),
    "sequence model on images": (["--model", "RNN", "--model.width", "8"], "RNN takes sequences or tokens: the data has images (1, 8, 8)"),
    "vector model on tokens": (["--data", "Memory", "--data.tokens", "true"], "MLP takes vectors or sequences or images: the data has tokens (20,)"),
    "binary task on ten classes": (["--model.task", "BinaryClassification"], "BinaryClassification needs data with two classes, not 10"),
    "loss of another task": (["--model.task", "Classification", "--model.task.loss", "MSELoss"], "loss is MSELoss, which Classification can't use"),
    "class of loss": (["--model.task", "Classification", "--model.task.loss", "FocalLos"], "did you mean FocalLoss"),
    "argument of a loss": (["--model.task", "Classification", "--model.task.loss", "FocalLoss", "--model.task.loss.gama", "1"], "did you mean model.task.loss.gamma"),
    "augmentation of vectors": (["--data", "Wine", "--data.augment", "ImageAugmentation"], "data.augment is ImageAugmentation, but the data has no images"),
    "kind of synthetic data": (["--data", "SyntheticClassification", "--data.kind", "moon"], "data.kind is 'moon': expected blobs or moons or circles or spirals"),
    "penalty": (["--model.l2", "-1"], "l1 is 0.0 and l2 is -1.0: expected penalties of at least 0"),
    "initialisation": (["--model.init", "xavier"], "model.init is 'xavier': expected torch or guide"),
    "averaging": (["--weight_averaging.enabled", "true", "--weight_averaging.decay", "2"], "decay is 2.0: expected a fraction in [0, 1)"),
    "image model on vectors": (["--model", "ResNet", "--data", "SyntheticClassification"], "ResNet takes images: the data has vectors (10,)"),
    "metric to stop by": (
        ["--early_stopping.monitor", "val/acuracy"],
        "EarlyStopping monitors val/acuracy, which is never logged; logged metrics: val/accuracy, val/auroc, val/calibration_error, val/f1, val/loss, val/precision, val/recall",
    ),
    "metric to keep by": (["--checkpoint.monitor", "nothing"], "Checkpoint monitors nothing, which is never logged; logged metrics: val/"),
    "metric of no stage": (["--early_stopping.monitor", "nothing"], "EarlyStopping monitors nothing, which is never logged; logged metrics: val/"),
    "run without an end": (["--trainer.max_epochs", "-1"], "set trainer.max_steps (trainer.max_epochs is enough if the data has a known length)"),
    "metric with an underscore": (["--early_stopping.monitor", "val_loss"], "EarlyStopping monitors val_loss, which is"),
    "no epoch": (["--trainer.max_epochs", "0"], "trainer.max_epochs is 0: nothing would be trained"),
    "no batch": (["--trainer.limit_train_batches", "0"], "trainer.limit_train_batches is 0: nothing would be trained"),
    "overfit_batches": (["--trainer.overfit_batches", "1"], "use trainer.limit_train_batches"),
    "patience": (["--early_stopping.patience", "-1"], "command line: early_stopping.patience is -1: expected"),
    "seed": (["--seed_everything", "-3"], "seed_everything is -3: expected an integer from 0"),
    "clipping": (["--trainer.gradient_clip_val", "-1"], "trainer.gradient_clip_val is -1: expected a positive norm"),
    "one sample a batch": (["--data.batch_size", "1"], "raise data.batch_size"),
    "too little data": (["--data", "SyntheticClassification", "--data.size", "5"], "class 2 has too few samples (1): train, val and test need some each"),
    "devices": (["--trainer.devices", "two"], "devices"),
    "schedule's argument": (["--model.schedule", "StepLR"], "model.schedule is StepLR, which needs step_size: set model.schedule.step_size"),
    "metric of a schedule": (
        ["--model.schedule", "lightning.pytorch.cli.ReduceLROnPlateau", "--model.schedule.monitor", "val/los"],
        "the schedule monitors val/los, which is never logged",
    ),
    "class of callback": (["--trainer.callbacks+=Timr"], "trainer.callbacks+ is 'Timr', which names no Callback here: did you mean Timer"),
    "name of a run": (["--name", "../x"], "--name is '../x': expected the name of one folder"),
    "id of a run": (["--run-id", ".."], "--run-id is '..': expected the name of one folder"),
    "test": (["--test", "no"], "--test: invalid choice: 'no' (choose from"),
    "missing config": (["--config", "configs/digit.yaml"], "can't read config configs/digit.yaml"),
    "config without a name": (["--config"], "--config/-c: expected one argument"),
    "checkpoint for fit": (["--ckpt", "best"], "fit has no --ckpt: --resume RUN"),
    "run for fit": (["--run", "latest"], "fit has no --run"),
}  # fmt: skip

YAML = {
    "key of a model": ("model:\n  class_path: MLP\n  init_args: {hiden_sizes: [3]}", "unknown key model.hiden_sizes: did"),
    "key of the trainer": ("trainer: {max_epoch: 3}", "unknown key trainer.max_epoch: did you mean trainer.max_epochs"),
    "key at the top": ("modle: MLP", "unknown key modle: did you mean model"),
    "arguments beside": ("model: {class_path: MLP, dropout: 0.1}", "model.dropout is beside class_path: put it under init_args"),
    "range": ("model: {class_path: MLP, init_args: {dropout: 1.5}}", "model.dropout is 1.5: expected a fraction"),
    "key of a callback": (
        "trainer: {callbacks: [{class_path: Timer, init_args: {duratio: 3}}]}",
        "unknown key trainer.callbacks.duratio: did you mean trainer.callbacks.duration",
    ),
    "integer as key": ("1: 3", "unknown key 1"),
    "class": ("data: Digitss", "data is 'Digitss', which names no LightningDataModule here: did you mean Digits?"),
    "type": ("data:\n  class_path: Digits\n  init_args: {batch_size: many}", "data.batch_size is 'many': expected int"),
    "task": (
        "model:\n  class_path: MLP\n  init_args:\n    task: {class_path: Classification, init_args: {smoothing: 1}}",
        "unknown key model.task.smoothing: did you mean model.task.label_smoothing?",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "message"), FLAGS.values(), ids=FLAGS)
def test_a_bad_flag(flags: list[str], message: str, kindling: Run) -> None:
    assert_refused(kindling("fit", *MLP, *flags), message)


@pytest.mark.parametrize(("text", "message"), YAML.values(), ids=YAML)
def test_a_bad_config_is_named(text: str, message: str, kindling: Run) -> None:
    Path("mine.yaml").write_text(text + "\n", encoding="utf-8")
    assert_refused(kindling("fit", *MLP, "--config", "mine.yaml"), f"mine.yaml: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: MLP\n data: [\n", "mine.yaml, line 2: not valid YAML: "),
        (b"model: [\n", "mine.yaml, line 2: not valid YAML: "),
        (b"just words\n", "mine.yaml: expected keys such as model:, data: and trainer:, got 'just words'"),
        (b"\xff\xfe\x00", "mine.yaml"),
        (b"# nothing\n", "mine.yaml is empty: expected keys such as model:"),
        (b"model: MLP\ndata: Digits\ntrainer: 3\n", "mine.yaml: trainer is 3: expected keys below it"),
    ],
)
def test_a_config_that_is_no_yaml(content: bytes, message: str, kindling: Run) -> None:
    Path("mine.yaml").write_bytes(content)
    assert_refused(kindling("fit", "--config", "mine.yaml"), message)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fti"], "unknown command 'fti': did you mean fit?"),
        (["paint"], "unknown command 'paint': expected fit, validate, test, data, board, compare, completion, demo, export, folds, new, predict, sweep"),
        (["fit", "--confg", "x.yaml"], "unknown option --confg: did you mean --config?"),
        (["folds", *MLP, "--resum", "x"], "unknown option --resum: did you mean --resume?"),
        (["sweep", *MLP, "--spcae", "x.yaml"], "unknown option --spcae: did you mean --space?"),
        (["fit", *MLP, "--chekpoint.mode", "min"], "command line: unknown key chekpoint.mode: did you mean checkpoint?"),
        (["fit"], "nothing says what to train: give --config FILE (configs/breast_cancer.yaml"),
        (["fit", "configs/digits_mlp.yaml"], "unexpected 'configs/digits_mlp.yaml': a config file is given with --config FILE"),
        (["test"], "test needs --run RUN"),
        (["validate", "--ckpt", "best"], "validate needs --run RUN"),
        (["test", "--run", "nowhere"], "nowhere is not a run (it has no config.yaml): there are no runs in lightning_logs/"),
        (["test", "--run", "latest"], "no run in lightning_logs/ yet"),
        (["fit", "--resume", "latest"], "no run in lightning_logs/ yet"),
        (["test", "--resume", "x"], "test has no --resume"),
        (["test", *MLP, "--ckpt", "no.ckpt"], "there is no checkpoint no.ckpt"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_command_that_lacks_something(argv: list[str], message: str, kindling: Run) -> None:
    assert_refused(kindling(*argv), message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(kindling: Run) -> None:
    assert_refused(
        kindling("fit", *MLP[:2], "--config", "configs/trainer/gpu.yaml"), "torch finds none: set it to auto or cpu"
    )


def test_lightning_logs_that_can_not_be_made(kindling: Run) -> None:
    Path("lightning_logs").write_text("in the way", encoding="utf-8")
    finished = kindling("fit", *MLP)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "can't make the run's folder in lightning_logs/digits_mlp" in finished.err


@pytest.mark.slow
def test_a_process_exits_with_2(project: Path) -> None:
    finished = child("fit", *MLP, "--model.dropout", "1.5", cwd=project)
    assert_refused(finished, "dropout is 1.5")
    assert finished.out == ""


def test_a_users_own_mistake_in_code_keeps_its_traceback(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from my_project.models.mlp import MLP as Broken

    with monkeypatch.context() as patch:
        patch.setattr(Broken, "forward", lambda self, inputs: self.nett(inputs))
        with pytest.raises(AttributeError, match="nett"):
            kindling("fit", *MLP)
    monkeypatch.setattr("my_project.models.mlp.build_activation", lambda name: None + 1)  # in the constructor
    with pytest.raises(ValueError, match="NoneType") as raised:
        kindling("fit", *MLP)
    assert isinstance(raised.value.__cause__, TypeError)
