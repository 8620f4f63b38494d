"""Refuses settings that can't work before anything is built."""

import os

from jsonargparse import Namespace

from kindling.core.errors import UsageError
from kindling.core.parts import imported
from kindling.core.settings import Setting, settings_in

PROCESSES_PER_CPU = 32


def check_config(config: Namespace, settings: list[Setting], from_data: tuple[str, ...]) -> None:
    """Refuse, by a UsageError, settings that Lightning would stumble over later, or that the data decides."""
    trainer, seed = config.trainer, config.seed_everything
    typed = {key for _, key, value in settings if value is not None}
    for name in from_data:
        if f"model.{name}" in typed:
            raise UsageError(f"model.{name} comes from the data: leave it out")
    for key, value in settings_in(config.as_dict()):
        path = value.get("class_path", "") if isinstance(value, dict) else ""
        named = imported(path)
        if callable(named) and not isinstance(named, type):  # the parser would call it
            raise UsageError(f"{key} is {path!r}: expected a class")
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer[key] == 0:
            raise UsageError(f"trainer.{key} is 0: nothing would be trained")
    _check_processes(config)
    if trainer.accumulate_grad_batches < 1:
        raise UsageError(f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}: expected at least 1")
    if (trainer.gradient_clip_val or 0) < 0:
        raise UsageError(
            f"trainer.gradient_clip_val is {trainer.gradient_clip_val:g}: expected a positive norm, or null"
        )
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed_everything is {seed}: expected an integer from 0 to {2**32 - 1}")


def _check_processes(config: Namespace) -> None:
    """Refuse to start hundreds of processes, which would bring the machine to a halt."""
    most = PROCESSES_PER_CPU * (os.cpu_count() or 1)
    counts = {"trainer.devices": config.trainer.devices, "data.workers": config.get("data.init_args.workers")}
    for key, count in counts.items():
        count = int(count) if str(count).isdecimal() else 0
        if count > most and not (key == "trainer.devices" and config.trainer.accelerator in ("gpu", "cuda")):
            raise UsageError(f"{key} is {count}: expected at most {most} processes on this machine")
