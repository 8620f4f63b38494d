"""What `fit`, `validate` and `test` share: the trainer, a stage that is measured, and faults in one sentence."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.plugins import HalfPrecision, MixedPrecision, Precision, TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden

from kindling.cli.build import Parts
from kindling.cli.library_errors import is_setting
from kindling.cli.profiling import prepare_profiler
from kindling.cli.terminal import terminal_callbacks
from kindling.core.errors import Stopped, Terminated, UsageError
from kindling.run.added_logger import AddedLogger
from kindling.run.checkpoint_files import WholeCheckpointIO
from kindling.run.logger_recipes import Recipe
from kindling.run.loggers import run_loggers
from kindling.train.callbacks import Checkpoint
from kindling.train.faults import explain_fault
from kindling.train.trainer import Trainer

SPLITS = {"validate": "val", "test": "test"}  # the split that a command measures


def make_trainer(
    parts: Parts, run: Path | None, extra: list[L.Callback], resumed_after: int | None = None, **fixed: Any
) -> Trainer:
    """The trainer of a command, which writes to the run's folder, if there is one.

    Args:
        parts: what is trained on what, with every setting.
        run: the run's folder.
        extra: callbacks besides those of the settings.
        resumed_after: the step that a resumed training goes on from; None for a new one.
        **fixed: settings of the trainer that the command decides.
    """
    settings = {**parts.config_init["trainer"], **fixed}
    callbacks = parts.callbacks()
    if settings["enable_checkpointing"] is False:
        callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
    if run:
        settings["default_root_dir"] = str(run)
        for callback in callbacks:
            if isinstance(callback, Checkpoint):
                callback.dirpath = str(run.resolve() / "checkpoints")
    settings["callbacks"] = [*_listed(settings["callbacks"]), *callbacks, *terminal_callbacks(settings), *extra]
    try:
        settings["logger"] = _loggers(settings["logger"], parts, run, resumed_after)
        trainer = Trainer(**settings)
    except UsageError:
        raise
    except Exception as error:  # Lightning refuses settings in many ways
        parts.refuse(error)
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpointIO()  # reads folders as well
    prepare_profiler(trainer, run)
    return trainer


def _loggers(asked: Any, parts: Parts, run: Path | None, resumed_after: int | None) -> Any:
    """The run's loggers, and those that the settings name; none at all if they say false."""
    if asked is False:
        return False
    added = [each for each in _listed(asked) if isinstance(each, Recipe)]
    if run:
        return run_loggers(run, parts.arguments.command, resumed_after, added)
    if added and not parts.config["trainer"].fast_dev_run and parts.arguments.processes.is_first:
        print(f"note: {added[0].cls.__name__} is left out: it needs a run", file=sys.stderr)
    return True


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


@contextmanager
def loggers_end(loggers: list[Any]) -> Iterator[None]:
    """At the end, end the runs of the added loggers, as failed if there is an error."""
    code = 1
    try:
        yield
        code = 0
    finally:
        for logger in loggers:
            if isinstance(logger, AddedLogger):
                logger.end(code)


def has_stage(parts: Parts, command: str) -> bool:
    """Whether there are a step and a loader to validate or test with."""
    split = SPLITS[command]
    step = "validation_step" if split == "val" else "test_step"
    return is_overridden(step, parts.model) and has_loader(parts, split)


def has_loader(parts: Parts, split: str) -> bool:
    owners = [owner for owner in (parts.datamodule, parts.model) if owner is not None]
    return any(is_overridden(f"{split}_dataloader", owner) for owner in owners)


def measure(parts: Parts, trainer: Trainer, command: str, ckpt: Path | None) -> dict[str, dict[str, float]]:
    """The metrics of a split: by the split's name, then by the metric's name without the split's."""
    _compute_in_full(trainer, parts.model)
    run = getattr(trainer, command)
    logged = run(parts.model, datamodule=parts.datamodule, ckpt_path=ckpt, weights_only=True, verbose=False)
    split = SPLITS[command]
    metrics = {name: value for of_loader in logged for name, value in of_loader.items()}
    return {split: {_without(split, name): value for name, value in metrics.items()}}


def _compute_in_full(trainer: Trainer, model: L.LightningModule) -> None:
    """Compute what is reported in float32, as `predict` does, even if a training used half precision for speed."""
    if isinstance(trainer.strategy.precision_plugin, MixedPrecision | HalfPrecision):
        trainer.strategy.precision_plugin = Precision()
        model.float()


def _without(split: str, name: str) -> str:
    return name.removeprefix(f"{split}/").removeprefix(f"{split}_") or name


@contextmanager
def told_in_a_sentence(parts: Parts, run: Path | None) -> Iterator[None]:
    """Turn what goes wrong into one sentence, except for a mistake in code, whose author needs the traceback.

    Raises:
        UsageError: if a setting is wrong.
        Stopped: if the run was stopped, by a signal or a fault.
    """
    try:
        yield
    except (Stopped, UsageError):
        raise
    except SystemExit as error:  # also Lightning's answer to Ctrl-C and SIGTERM
        raise Stopped("stopped", 143 if isinstance(error, SIGTERMException | Terminated) else 130, run) from error
    except Exception as error:
        if isinstance(error, MisconfigurationException) or is_setting(error):
            parts.refuse(error)
        if fault := explain_fault(error):
            raise Stopped(fault, 1, run) from error
        raise


def left_out(parts: Parts) -> list[str]:
    """What the engine leaves out because the model or the data lacks something, and what would switch each on."""
    model = parts.model
    missing = []
    if not has_stage(parts, "validate"):
        missing.append("validation (validation_step and a val_dataloader)")
    if not has_stage(parts, "test"):
        missing.append("test (test_step and a test_dataloader)")
    if getattr(model, "example_input_array", None) is None:
        missing.append("shapes, graph and export (self.example_input_array)")
    if not hasattr(model, "task") and parts.config["trainer"].gradient_clip_val is None:
        switch = "--trainer.gradient_clip_val 1.0" if model.automatic_optimization else "self.clip_gradients"
        missing.append(f"gradient clipping ({switch})")
    if not hasattr(model, "task"):
        missing.append("figures (a step that returns scores, predictions and targets, and a task)")
        if not is_overridden("predict_step", model):
            missing.append("kindling predict (predict_step)")
    return missing
