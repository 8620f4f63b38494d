"""Loggers that a user adds to the run's own, such as W&B's and MLflow's: `--trainer.logger WandbLogger`."""

import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from lightning.pytorch.utilities import rank_zero_only

from kindling.core.errors import UsageError
from kindling.core.parts import class_path_of, imported, short_name
from kindling.run.added_logger import AddedLogger, alone_in, without_password
from kindling.run.folder import ROOT
from kindling.run.logged_before import LoggedBefore

# One store for all runs, so that `mlflow ui` compares them.
MLFLOW_STORE = f"sqlite:///{ROOT}/mlflow.db"
MLFLOW_ARTIFACTS = ROOT / "mlflow_artifacts"
PACKAGES = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet_ml"}


class CSVLogger(loggers.CSVLogger):
    """Lightning's logger to CSV files, in the run's folder.

    Args:
        save_dir: another folder than the run's.
        **logger: see lightning.pytorch.loggers.CSVLogger.
    """

    def __init__(self, save_dir: str | None = None, **logger: Any) -> None:
        super().__init__(save_dir or ".", **logger)


class TensorBoardLogger(loggers.TensorBoardLogger):
    """Lightning's logger to TensorBoard: a second one, since each run already has one.

    Args:
        save_dir: another folder than the run's.
        **logger: see lightning.pytorch.loggers.TensorBoardLogger.
    """

    def __init__(self, save_dir: str | None = None, **logger: Any) -> None:
        super().__init__(save_dir or ".", **logger)


class Recipe(DummyLogger):
    """A logger that was asked for, kept until the run's folder is known.

    Args:
        cls: the logger's class.
        **arguments: those of its constructor.
    """

    def __init__(self, cls: type[Logger], **arguments: Any) -> None:
        super().__init__()
        self.cls, self.arguments = cls, arguments

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.cls).parameters

    @property
    def id_argument(self) -> str:
        """The argument that says which run a logger continues; empty if it has none."""
        return next((name for name in ("id", "run_id", "experiment_key") if name in self.parameters), "")

    def arguments_in(self, run: Path) -> dict[str, Any]:
        """The arguments, completed by where the logger writes and how it names its run, where that is left open."""
        arguments, parameters = dict(self.arguments), self.parameters
        if "save_dir" in parameters and arguments.get("save_dir") in (None, parameters["save_dir"].default):
            arguments["save_dir"] = str(run)
        if "tracking_uri" in parameters:
            arguments["tracking_uri"] = (
                arguments.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW_STORE
            )
            if arguments["tracking_uri"] == MLFLOW_STORE and not arguments.get("artifact_location"):
                arguments["artifact_location"] = MLFLOW_ARTIFACTS.resolve().as_uri()
        for name in ("name", "run_name") if self.id_argument else ():
            if name in parameters and not arguments.get(name):
                arguments[name] = f"{run.parent.name}/{run.name}"
        return arguments


def loggers_of(
    recipes: Sequence[Recipe], run: Path, before: LoggedBefore, command: str, last_step: int = 0
) -> list[AddedLogger]:
    """The loggers of some recipes, each of which continues its own run if this run has begun one.

    Args:
        recipes: those of the loggers.
        run: the run's folder.
        before: what they already have of this run.
        command: fit, validate or test. What the last two measure is added to the logger's run, if that can be reached.
        last_step: the last step of the training that is measured.

    Raises:
        UsageError: if the logger's run is in another place than the one it is now sent to.
    """
    made = []
    for recipe, key in zip(recipes, _keys(recipes), strict=True):
        try:
            logger = _made(recipe, key, run, before)
            if command != "fit":
                logger.measures, logger.last_step = command, last_step
                logger.experiment  # noqa: B018 (begins)
            made.append(logger)
        except UsageError as error:
            if command == "fit":
                raise
            _note(f"note: nothing is logged to {key}: {error}")
    return made


@rank_zero_only
def _note(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _keys(recipes: Sequence[Recipe]) -> Iterator[str]:
    """A name for each logger: that of its class, with a number for further ones of the same class."""
    seen = Counter[str]()
    for name in (recipe.cls.__name__ for recipe in recipes):
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}"


def _made(recipe: Recipe, key: str, run: Path, before: LoggedBefore) -> AddedLogger:
    arguments, id_argument = recipe.arguments_in(run), recipe.id_argument
    begun = before.runs.get(key)
    goes_on = bool(begun and id_argument) and not arguments.get(id_argument) and not arguments.get("version")
    address = arguments.get("tracking_uri")
    store = without_password(address) if address else None  # kept in the run, which others may see
    if begun and goes_on:
        if begun["store"] != store:
            raise UsageError(f"the run was logged to {begun['store']}, but now goes to {store}: name the first again")
        arguments[id_argument] = begun["id"]
    # A kill loses what W&B has not written yet: by default, what it was sent in the last 15 s.
    os.environ.setdefault("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "1")
    cls: Any = type(recipe.cls.__name__, (AddedLogger, recipe.cls), {"__module__": recipe.cls.__module__})
    with alone_in(store):
        logger = cls(**arguments)
    logger.key, logger.run, logger.before, logger.store = key, run, before, store
    logger.has_runs, logger.goes_on = bool(id_argument), goes_on
    return logger


def without_defaults(value: Any) -> Any:
    """The loggers of a config without the arguments that nobody has set.

    Where a logger writes is decided anew on each machine, and which arguments it has depends on its package.
    """
    if isinstance(value, list):
        return [without_defaults(each) for each in value]
    cls = imported(str(class_path_of(value)))
    if not isinstance(value, dict) or not isinstance(cls, type):
        return value
    defaults = {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}
    arguments = value.get("init_args") or {}
    own = {name: given for name, given in arguments.items() if given is not None and given != defaults.get(name)}
    return {**value, "init_args": own}


def missing_package(value: Any) -> str | None:
    """The package that a logger of a config needs, if it is not installed."""
    package = PACKAGES.get(short_name(str(class_path_of(value))), "")
    return package if package and find_spec(package) is None else None
