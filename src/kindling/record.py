"""Writes what a run must remember besides its weights and logs: config, origin and results."""

import time
from pathlib import Path
from typing import Any

import lightning as L

from kindling.runs import UsageError, environment, write_json


class Record(L.Callback):
    """Write `config.yaml` and `environment.json` before the training; measure its time, over all its resumes.

    Args:
        run: the run's folder.
        config: the resolved config, as YAML.
        seed: the seed of the run.
    """

    def __init__(self, run: Path, config: str, seed: Any) -> None:
        self.run, self.config, self.seed = run, config, seed
        self.seconds = 0.0
        self.samples = 0

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit" or not trainer.is_global_zero:
            return
        path = self.run / "config.yaml"
        number = len(list(self.run.glob("config.*.yaml")))
        if path.exists() and path.read_text() != self.config:  # resumed with other settings: keep the old ones
            path.rename(self.run / f"config.{number}.yaml")
        path.write_text(self.config)
        write_json(self.run / "environment.json", environment(self.seed))

    def on_sanity_check_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Refuse a misspelt metric now, not after the first epoch."""
        logged = sorted(trainer.callback_metrics)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            monitor = getattr(callback, "monitor", None) or ""
            if monitor.startswith("val/") and monitor not in logged:
                raise UsageError(
                    f"{type(callback).__name__} monitors {monitor}, which is never logged: "
                    f"logged are {', '.join(logged)}"
                )

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.trainer, self.first_step = trainer, trainer.global_step
        self.before, self.started = (self.seconds, self.samples), time.monotonic()

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        batches = (self.trainer.global_step - self.first_step) * self.trainer.accumulate_grad_batches
        batch_size = self.trainer.datamodule.batch_size * self.trainer.world_size  # type: ignore[attr-defined]
        self.seconds = self.before[0] + time.monotonic() - self.started
        self.samples = self.before[1] + batches * batch_size
        return {"seconds": self.seconds, "samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.samples = state_dict["seconds"], state_dict["samples"]
