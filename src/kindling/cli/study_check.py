"""Checks a study before its first trial: can everything it would try be set, and what are its runs judged by?"""

from dataclasses import replace
from typing import Any

from kindling.cli.arguments import Arguments
from kindling.cli.build import Parts
from kindling.cli.dispatch import tame_lightning
from kindling.cli.stages import has_stage, make_trainer, measure, told_in_a_sentence
from kindling.core.config_problems import explain
from kindling.core.errors import UsageError
from kindling.core.settings import Setting
from kindling.run.monitor import Monitor, monitored
from kindling.study.space import Space, Values

FINE = "nothing is wrong"
BELOW = "; a setting that only one choice takes goes below it, as in choice: {MLP: {model.dropout: …}, CNN: }"
QUICK = {"limit_val_batches": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def check(arguments: Arguments, space: Space) -> dict[str, Any]:
    """What the study is about: the `metric` that its trials are judged by, its `mode`, and the `seed` that is set.

    Args:
        arguments: those of a fit without the space's settings.
        space: the study's space.

    Raises:
        UsageError: if a setting can't be made, as for a config; if no validation says what is best; or if its trials
            would leave no runs.
    """
    tame_lightning()
    first, *others = space.examples()
    parts = Parts(_with(arguments, space, first))
    if parts.config_init["trainer"]["fast_dev_run"]:
        raise UsageError("trainer.fast_dev_run makes no runs, but a study consists of runs: leave it out")
    for values in others:
        sentence = explain(parts.parser, _settings(arguments, space, values), FINE)
        if sentence != FINE:
            raise UsageError(sentence + BELOW * ("unknown key" in sentence))  # a key that the first values did take
    monitor = _monitor(parts)
    return {"metric": monitor.metric, "mode": monitor.mode, "seed": parts.config["seed_everything"]}


def _settings(arguments: Arguments, space: Space, values: Values) -> list[Setting]:
    return [*arguments.settings, *space.settings(values)]


def _with(arguments: Arguments, space: Space, values: Values) -> Arguments:
    """The arguments of a trial that has these values."""
    flags = [*arguments.flags, *space.flags(values)]
    return replace(arguments, flags=flags, settings=_settings(arguments, space, values))


def _monitor(parts: Parts) -> Monitor:
    """The metric of the run's checkpoints, as a validation of one batch finds it."""
    if not has_stage(parts, "validate"):
        raise UsageError("a study needs a validation, and there is none: write validation_step and val_dataloader")
    with told_in_a_sentence(parts, None):
        trainer = make_trainer(parts, None, [], enable_checkpointing=False, **QUICK)
        measure(parts, trainer, "validate", None)
    asked = parts.config["checkpoint"]
    monitor = monitored(trainer, asked.monitor, asked.mode)
    if monitor is None:
        wanted = asked.monitor or getattr(parts.model, "monitor", None) or "val/loss or val_loss"
        logged = ", ".join(sorted(trainer.callback_metrics)) or "no metrics"
        raise UsageError(f"no validation logs {wanted} to compare trials by: set checkpoint.monitor to one of {logged}")
    return monitor
