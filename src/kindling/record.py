"""Writes what a run must remember besides its weights and logs: config, origin and results."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

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
        number = len(list(self.run.glob("environment.*.json")))
        for path in (self.run / "config.yaml", self.run / "environment.json"):
            if path.exists():  # a resume keeps what was true before it
                path.rename(path.with_suffix(f".{number}{path.suffix}"))
        (self.run / "config.yaml").write_text(self.config)
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

    def results(self, best: Path | None) -> dict[str, Any]:
        """What is known of the training at its end. To be asked before a checkpoint is loaded, which resets the time.

        Args:
            best: the best checkpoint, if one was kept.
        """
        epochs = self.trainer.current_epoch
        return {
            "best_epoch": torch.load(best, map_location="cpu", weights_only=True)["epoch"] + 1 if best else epochs,
            "epochs": epochs,
            "parameters": self.trainer.lightning_module.num_parameters,
            "seconds": round(self.seconds, 1),
            "samples_per_second": round(self.samples / self.seconds, 1),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.samples = state_dict["seconds"], state_dict["samples"]
