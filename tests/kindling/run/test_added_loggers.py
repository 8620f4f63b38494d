"""Loggers that a user adds: each goes on with its own run, gets nothing twice, and can't end the training."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import QUICK, ROOT, Result, assert_refused
from filelock import FileLock, Timeout
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from recording_logger import SERVER, RecordingLogger, metrics_in

from kindling.cli.arguments import read_arguments
from kindling.cli.config_of_run import ConfigOfRun
from kindling.core.errors import UsageError
from kindling.run.added_logger import AddedLogger, without_password
from kindling.run.logger_recipes import MLFLOW_STORE, Recipe, missing_package, without_defaults
from kindling.run.loggers import TensorBoard, run_loggers
from kindling.run.metrics_table import MetricsTable
from kindling.run.shown import show_image, show_text

MLP = ["--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK]
RECORDING = ["--trainer.logger", "recording_logger.RecordingLogger"]
RUN = Path("lightning_logs/digits_mlp/version_0")
IMAGE = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture(autouse=True)
def empty_server() -> Iterator[None]:
    SERVER.clear()
    yield
    SERVER.clear()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "mlp" / "version_0"


def begun(
    run: Path, first_step: int | None = None, command: str = "fit", **arguments: Any
) -> tuple[AddedLogger, list[Any]]:
    """The added logger of a command, and all of its loggers."""
    loggers = run_loggers(run, command, first_step, [Recipe(RecordingLogger, **arguments)])
    (added,) = (logger for logger in loggers if isinstance(logger, AddedLogger))
    return added, loggers


def train(loggers: list[Any], steps: range) -> None:
    """Log a training with a validation every fourth step, as Lightning and its LearningRateMonitor do."""
    for step in steps:
        rows: list[dict[str, float]] = [{"learning_rate": 0.1}, {"train/loss": 1.0, "epoch": step // 4}]
        if step % 4 == 3:
            rows.append({"val/loss": 2.0, "epoch": step // 4})
        for row in rows:
            for logger in loggers:
                logger.log_metrics(row, step)
                logger.save()
        if step % 4 == 3:
            for logger in loggers:
                show_image(logger, "val/confusion_matrix", IMAGE, step)


def test_the_runs_own_loggers_stay_first_and_the_added_one_writes_into_the_run(run: Path) -> None:
    added, loggers = begun(run)
    assert [type(logger).__name__ for logger in loggers] == ["TensorBoard", "RecordingLogger", "MetricsTable"]
    assert isinstance(loggers[0], TensorBoard)
    assert isinstance(loggers[2], MetricsTable)
    assert isinstance(added, RecordingLogger)
    assert added.save_to == str(run)
    assert added.called == "mlp/version_0"
    mine, _ = begun(run, save_dir="elsewhere", name="mine")
    assert (mine.save_to, mine.called) == ("elsewhere", "mine")  # type: ignore[attr-defined]


def test_after_two_kills_each_metric_is_there_once(run: Path) -> None:
    train(begun(run)[1], range(0, 9))  # and killed; a checkpoint is after step 5
    train(begun(run, 5)[1], range(5, 7))  # killed again, before it was as far as the first time
    train(begun(run, 5)[1], range(5, 12))
    assert list(SERVER) == ["run0"]
    logged = metrics_in("run0")
    expected = [(step, name) for step in range(12) for name in ("learning_rate", "train/loss")]
    assert sorted(logged) == sorted([*expected, (3, "val/loss"), (7, "val/loss"), (11, "val/loss")])
    images = [entry[1:] for entry in SERVER["run0"] if entry[0] == "image"]
    assert images == [(step, "val/confusion_matrix", IMAGE.shape) for step in (3, 7, 11)]
    assert [entry for entry in SERVER["run0"] if entry[0] == "begin"] == [("begin", "mlp/version_0")] * 2


def test_settings_are_logged_once(run: Path) -> None:
    begun(run)[0].log_hyperparams({"lr": 0.1})
    begun(run, 5)[0].log_hyperparams({"lr": 0.2})
    assert [entry for entry in SERVER["run0"] if entry[0] == "params"] == [("params", {"lr": 0.1})]


def test_a_logger_that_fails_is_left_out_from_there_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, loggers = begun(run, fails_at=3)
    train(loggers, range(6))
    told = capsys.readouterr().err
    assert told == "warning: RecordingLogger is left out from here on: OSError: No space left on device\n"
    assert max(step for step, _ in metrics_in("run0")) == 2
    assert (run / "metrics.csv").read_text().splitlines()[-1].endswith(",5,1.0,")


def test_one_that_can_not_begin_is_refused_with_its_reason(run: Path) -> None:
    added, _ = begun(run, fails_at=0)
    with pytest.raises(UsageError, match="^RecordingLogger can't begin: ConnectionError: nobody is logged in$"):
        _ = added.experiment


def test_what_is_measured_later_is_added_at_the_end_of_the_training(run: Path) -> None:
    train(begun(run)[1], range(8))
    for command, names in (("test", {"test/loss": 1.0}), ("validate", {"val/loss": 1.5})):
        added, loggers = begun(run, command=command)
        assert [type(logger).__name__ for logger in loggers] == ["TensorBoard", "RecordingLogger"]
        added.log_metrics({**names, "epoch": 0.0}, 0)
        added.show(lambda logger, *what: SERVER["run0"].append(("shown", *what)), "val/curves", None, 0)
        added.log_hyperparams({"lr": 3})
    assert [entry[1:] for entry in SERVER["run0"] if entry[0] == "metrics"][-2:] == [
        (7, {"test/loss": 1.0}),
        (7, {"validate/loss": 1.5}),
    ]
    shown = [entry for entry in SERVER["run0"] if entry[0] == "shown"]
    assert shown == [("shown", "val/curves", None, 7), ("shown", "validate/curves", None, 7)]
    assert not [entry for entry in SERVER["run0"] if entry[0] == "params"]


def test_what_can_not_be_added_later_is_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run_loggers(run, "test", None, [Recipe(RecordingLogger, fails_at=0)])) == 1
    reason = "RecordingLogger can't begin: ConnectionError: nobody is logged in"
    assert capsys.readouterr().err == f"note: nothing is logged to RecordingLogger: {reason}\n"


def test_two_of_a_kind_go_on_with_a_run_each(run: Path) -> None:
    for first_step in (None, 2):
        both = run_loggers(run, "fit", first_step, [Recipe(RecordingLogger), Recipe(RecordingLogger)])[1:3]
        for logger in both:
            logger.log_metrics({"train/loss": 1.0}, first_step or 0)
    assert {name: metrics_in(name) for name in SERVER} == {
        name: [(0, "train/loss"), (2, "train/loss")] for name in ("run0", "run1")
    }
    runs = json.loads((run / "loggers.json").read_text())["runs"]
    assert runs == {
        "RecordingLogger": {"id": "run0", "store": None},
        "RecordingLogger 2": {"id": "run1", "store": None},
    }


def test_a_run_that_the_user_names_is_taken(run: Path) -> None:
    begun(run)[0].log_metrics({"train/loss": 1.0}, 0)
    begun(run, 1, id="mine")[0].log_metrics({"train/loss": 1.0}, 1)
    assert metrics_in("mine") == [(1, "train/loss")]


def test_a_damaged_file_of_loggers_is_refused(run: Path) -> None:
    run.mkdir(parents=True)
    for text in ("{", '{"runs": {"WandbLogger": 3}, "ahead": []}', '{"runs": {}, "ahead": [["one"]]}', "[]"):
        (run / "loggers.json").write_text(text)
        with pytest.raises(UsageError, match="loggers.json is damaged: remove it"):
            run_loggers(run, "fit", None, [Recipe(RecordingLogger)])


def test_a_link_to_a_library_s_own_log_does_not_stay(run: Path, tmp_path: Path) -> None:
    logs = run / "wandb" / "run-1" / "logs"
    logs.mkdir(parents=True)
    (tmp_path / "core.log").touch()
    (logs / "debug-core.log").symlink_to(tmp_path / "core.log")
    (run / "wandb" / "latest-run").symlink_to("run-1")
    begun(run)[0].log_metrics({"train/loss": 1.0}, 0)
    assert sorted(path.name for path in (run / "wandb").rglob("*")) == ["latest-run", "logs", "run-1"]


def test_where_mlflow_keeps_its_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    arguments = Recipe(MLFlowLogger).arguments_in(run)
    assert arguments["tracking_uri"] == MLFLOW_STORE == "sqlite:///lightning_logs/mlflow.db"
    assert arguments["artifact_location"].endswith("/lightning_logs/mlflow_artifacts")
    assert arguments["run_name"] == "mlp/version_0"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    arguments = Recipe(MLFlowLogger).arguments_in(run)
    assert (arguments["tracking_uri"], "artifact_location" in arguments) == ("http://server:5000", False)
    assert Recipe(MLFlowLogger, tracking_uri="http://mine").arguments_in(run)["tracking_uri"] == "http://mine"


def test_two_trainings_begin_one_after_the_other_in_a_database_in_a_file(run: Path, tmp_path: Path) -> None:
    looked = []

    class LooksAtTheLock(RecordingLogger):
        def __init__(self, tracking_uri: str, id: str | None = None) -> None:
            super().__init__(id=id)
            self.look("made")

        @property
        def experiment(self) -> Any:
            if self.begun is None:
                self.look("begun")
            return super().experiment

        def look(self, what: str) -> None:
            with pytest.raises(Timeout):
                FileLock(tmp_path / "mlflow.lock").acquire(timeout=0)
            looked.append(what)

    recipe = Recipe(LooksAtTheLock, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (added,) = (each for each in run_loggers(run, "fit", None, [recipe]) if isinstance(each, AddedLogger))
    assert added.experiment.run_id == "run0"
    assert looked == ["made", "begun"]
    with FileLock(tmp_path / "mlflow.lock", timeout=0):
        assert added.experiment.run_id == "run0"


def test_a_password_in_a_server_s_address_is_neither_kept_nor_told(run: Path) -> None:
    assert without_password("at http://me:secret@example.org/a@b") == "at http://example.org/a@b"
    assert without_password(MLFLOW_STORE) == MLFLOW_STORE
    run.mkdir(parents=True)
    kept = {"MLFlowLogger": {"id": "1", "store": "http://example.com"}}
    (run / "loggers.json").write_text(json.dumps({"runs": kept, "ahead": []}))
    recipe = Recipe(MLFlowLogger, tracking_uri="http://me:secret@example.org")
    refused = "the run was logged to http://example.com, but now goes to http://example.org: name the first again"
    with pytest.raises(UsageError, match=f"^{refused}$"):
        run_loggers(run, "fit", None, [recipe])


def test_a_config_keeps_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"name": None, "save_dir": ".", "offline": True, "project": "mine", "entity": None}
    path = f"{WandbLogger.__module__}.WandbLogger"
    assert without_defaults([{"class_path": path, "init_args": given}, True]) == [
        {"class_path": path, "init_args": {"offline": True, "project": "mine"}},
        True,
    ]
    monkeypatch.setattr("kindling.run.logger_recipes.find_spec", lambda name: None)
    assert missing_package({"class_path": path}) == "wandb"
    assert missing_package("MLFlowLogger") == "mlflow"
    assert missing_package("CSVLogger") is None


def test_a_text_goes_to_what_takes_texts(run: Path) -> None:
    added, _ = begun(run)
    show_text(added, "val/text", "once upon", 3)  # of which this logger takes none
    written: list[tuple[Any, ...]] = []
    added.log_text = lambda *args, **kwargs: written.append((*args, kwargs))  # type: ignore[attr-defined]
    show_text(added, "val/text", "once upon", 3)
    assert written == [("val/text", ["text"], [["once upon"]], {"step": 3})]


# Of a training


def test_a_training_with_an_added_logger_has_all_that_one_without_has(kindling: Callable[..., Result]) -> None:
    finished = kindling("fit", *MLP, *RECORDING)
    assert finished.code == 0, finished.err
    assert {"metrics.csv", "results.json", "loggers.json"} <= {path.name for path in RUN.iterdir()}
    assert list(RUN.glob("events.*"))
    (entries,) = SERVER.values()
    (params,) = (entry[1] for entry in entries if entry[0] == "params")
    assert params["model"] == "MLP"
    assert params["trainer.max_epochs"] == 2
    assert not [name for name in params if "logger" in name]
    steps = {name: step for step, name in metrics_in("run0")}
    assert steps["train/loss"] == steps["val/loss"] == 35
    results = json.loads((RUN / "results.json").read_text())
    metrics = {name: value for entry in entries if entry[0] == "metrics" for name, value in entry[2].items()}
    assert metrics["best/val_accuracy"] == results["val"]["accuracy"]
    assert metrics["test/accuracy"] == results["test"]["accuracy"]
    assert metrics["results/seconds"] == results["seconds"]
    assert entries[-1] == ("finish", 0)
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["trainer"]["logger"] == {"class_path": RECORDING[1], "init_args": {}}
    measured = kindling("test", "--run", RUN, *RECORDING)
    assert measured.code == 0, measured.err
    assert metrics_in("run0").count((36, "test/accuracy")) == 2
    assert entries[-1] == ("finish", 0)


def test_false_means_none(kindling: Callable[..., Result]) -> None:
    assert kindling("fit", *MLP, "--trainer.logger", "false", "--trainer.max_epochs", 1).code == 0
    assert not (RUN / "metrics.csv").exists()
    assert not list(RUN.glob("events.*"))


def test_csv_and_tensorboard_need_no_folder(kindling: Callable[..., Result]) -> None:
    both = "--trainer.logger=[CSVLogger, TensorBoardLogger]"
    assert kindling("fit", *MLP, both, "--trainer.max_epochs", 1).code == 0
    header = (RUN / "lightning_logs/version_0/metrics.csv").read_text().partition("\n")[0]
    assert {"train/loss", "val/loss", "test/loss", "best/val_loss"} <= set(header.split(","))
    assert list((RUN / "lightning_logs/version_1").glob("events.*"))
    assert not Path("lightning_logs/version_0").exists()


def test_a_missing_package_is_named_with_its_extra(
    kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_utilities.core.imports import RequirementCache

    for logger, extra in (("wandb.WandbLogger", "wandb"), ("mlflow.MLFlowLogger", "mlflow")):
        module, _, name = logger.partition(".")
        absent = RequirementCache("a-package-that-nobody-has")
        absent.requirement = extra
        monkeypatch.setattr(f"lightning.pytorch.loggers.{module}._{extra.upper()}_AVAILABLE", absent)
        absent.available, absent.message = False, f"Requirement '{extra}>=1' not met. HINT: Try running `pip`"
        finished = kindling("fit", *MLP, "--trainer.logger", name)
        needs = f"trainer.logger is {name}, which needs a package that is not installed: pip install -e '.[{extra}]'"
        assert_refused(finished, f"command line: {needs}")


def test_a_run_is_used_where_the_package_of_its_logger_is_not_installed(
    kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kindling("fit", *MLP, "--trainer.max_epochs", 1).code == 0
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    config["trainer"]["logger"] = logger("WandbLogger", project="x", gone=3)  # which only its package would know
    (RUN / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kindling.run.logger_recipes.find_spec", lambda name: None)
    measured = kindling("test", "--run", RUN)
    assert measured.code == 0, measured.err
    assert measured.err == "note: nothing is logged to WandbLogger: wandb is not installed\n"
    for command in (["predict", "--run", RUN], ["compare"]):
        used = kindling(*command)
        assert (used.code, "logger" in used.err.lower()) == (0, False), used.err


@pytest.mark.parametrize(("name", "key", "value"), [
    ("MLFlowLogger", "tracking_uri", "https://example.org"), ("WandbLogger", "entity", "them"),
    ("CometLogger", "api_key", "secret"),
])  # fmt: skip
def test_a_run_sends_nothing_to_others_until_they_are_named_again(
    name: str, key: str, value: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kindling.run.logger_recipes.find_spec", lambda package: package)
    trainer = {"trainer": {"logger": logger(name, **{key: value})}}
    for path in (RUN / "config.yaml", Path("own.yaml")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"model": "MLP", "data": "Digits", **trainer}))
    for command in (["test", "--run"], ["fit", "--resume"]):
        refused = f"{RUN}/config.yaml: trainer.logger.{key} is {value.replace('secret', 'set')}, outside the run: name it again"
        with pytest.raises(UsageError, match=refused):
            values_of(*command, str(RUN))
    assert values_of("test", "--run", str(RUN), "--trainer.logger=false")["trainer"] == {"logger": False}
    # A command that is started anew goes on by the run's config; what its own files say too is the user's.
    again = values_of("fit", "--config", "own.yaml", "--name", "digits_mlp", "--run-id", "version_0")
    assert again["trainer"] == trainer["trainer"]


def values_of(*argv: str) -> dict[str, Any]:
    """The values of a run's config, as a command takes them."""
    return ConfigOfRun(read_arguments([*argv])).values()


def logger(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"lightning.pytorch.loggers.{name}", "init_args": arguments}


def test_overlays_are_loggers() -> None:
    for path in (ROOT / "configs" / "logger").glob("*.yaml"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 25
        assert f"--config configs/logger/{path.name}" in lines[0]
        assert list(yaml.safe_load("\n".join(lines))) == ["trainer"]
        assert missing_package(yaml.safe_load("\n".join(lines))["trainer"]["logger"]) in (None, path.stem)
