"""The metric by which a training is judged: the one that was asked for, or else a sensible default."""

import ast
import re
from typing import Any, Literal, NamedTuple

import lightning as L

from kindling.core.errors import UsageError
from kindling.core.metric_names import HIGHER_IS_BETTER, LOWER_IS_BETTER
from kindling.tasks.base import Task

Mode = Literal["min", "max"]
LOSSES = ("val/loss", "val_loss")  # of the validation, as Kindling and as Lightning's examples call it
FIRST_LOADER = "/dataloader_idx_0"  # ends the metrics' names where a validation has several loaders


class Monitor(NamedTuple):
    """A metric by its name, and whether a lower (min) or a higher (max) value is better."""

    metric: str
    mode: Mode


def monitored(trainer: L.Trainer, metric: str | None = None, mode: Mode | None = None) -> Monitor | None:
    """What a training is judged by; None until it has been logged. Ask after a validation has logged its metrics.

    Args:
        trainer: in a training.
        metric: the name that was asked for; None for the module's `monitor`, or else the validation loss.
        mode: None to infer it from the name.

    Raises:
        UsageError: if it can't be inferred from the name.
    """
    asked = metric or getattr(trainer.lightning_module, "monitor", None)
    names = [asked] if isinstance(asked, str) else list(LOSSES)
    names += [name + FIRST_LOADER for name in names]
    for name in names:
        if name in trainer.callback_metrics:
            return Monitor(name, mode or mode_of(name, getattr(trainer.lightning_module, "task", None)))
    return None


def mode_of(metric: str, task: Any = None) -> Mode:
    """Whether a lower or a higher value of a metric is better: as it says itself, or else by the end of its name.

    Args:
        metric: its name.
        task: may measure it with a metric of torchmetrics or of a project.

    Raises:
        UsageError: if neither says so.
    """
    name = re.sub(r"/dataloader_idx_\d+$", "", metric)
    own = task.own_metrics.get(name.rpartition("/")[2]) if isinstance(task, Task) else None
    if own:
        more_is_better, less_is_better = own.more_is_better is True, own.more_is_better is False
    else:
        more_is_better = name.lower().endswith(HIGHER_IS_BETTER)
        less_is_better = name.lower().endswith(LOWER_IS_BETTER)
    if less_is_better:
        return "min"
    if more_is_better:
        return "max"
    settings = "checkpoint.mode and early_stopping.mode"
    raise UsageError(f"nothing says whether a lower or a higher {metric} is better: set {settings} to min or max")


def refuse_unlogged(trainer: L.Trainer, of_validation: bool) -> None:
    """Raise a UsageError if a metric that the engine's callbacks or the module watch is not logged.

    Also that of the schedule, if it is the engine's: what else a foreign module watches is its author's affair.

    Args:
        trainer: in a training.
        of_validation: whether to look at the metrics of the validation, after its end, or at all others.
    """
    module, logged = trainer.lightning_module, trainer.callback_metrics
    watchers: list[Any] = [each for each in trainer.callbacks if type(each).__module__.startswith("kindling.")]  # type: ignore[attr-defined]
    watchers += [module, *(trainer.lr_scheduler_configs if hasattr(module, "task") else [])]
    for watcher in watchers:
        metric = getattr(watcher, "monitor", None)
        if not metric or not isinstance(metric, str) or _is_of_validation(metric, module) != of_validation:
            continue
        if metric not in logged and metric + FIRST_LOADER not in logged:
            name = type(watcher).__name__.replace("LRSchedulerConfig", "the schedule")
            names = ", ".join(sorted(name for name in logged if not name.startswith("train/"))) or "none"
            raise UsageError(f"{name} monitors {metric}, which is never logged; logged metrics: {names}")


def take_up_state(checkpoint: dict[str, Any], callback: L.Callback, metric: str | None) -> None:
    """Let a callback find its state in a checkpoint that keeps it under another key, such as one naming the metric.

    Args:
        checkpoint: about to be loaded.
        callback: its `state_key` begins with the name of its class.
        metric: the metric that it was asked to watch; None for any.
    """
    states = checkpoint["callbacks"]
    for key, state in list(states.items()):
        settings = _settings_in(key, type(callback).__name__)
        if settings is None:  # of another callback
            continue
        watched = settings | state
        if metric in (None, watched.get("monitor")):
            states.setdefault(callback.state_key, watched)


def _is_of_validation(metric: str, module: L.LightningModule) -> bool:
    """Whether a metric is a validation's, by its name: with a task, all are except those of the training."""
    return not metric.startswith("train/") if hasattr(module, "task") else metric.startswith("val")


def _settings_in(key: str, name: str) -> dict[str, Any] | None:
    """What a callback's key says of its settings; None if it is the key of another callback."""
    if key == name or key.startswith(f"{name} of "):
        return {}
    if not key.startswith(name + "{"):
        return None
    try:
        return ast.literal_eval(key.removeprefix(name))  # Lightning's, such as Checkpoint{'monitor': 'val/loss', …}
    except (ValueError, SyntaxError):
        return None
