"""Writes what a run must remember besides its weights and logs: config, origin and results."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from kindling.models.base import Model
from kindling.runs import UsageError, environment, write_json


class Record(L.Callback):
    """Write `config.yaml` and `environment.json` when the training starts; measure its time, over all its resumes.

    Args:
        run: the run's folder.
        config: the resolved config, as YAML.
        seed: the seed of the run.
    """

    def __init__(self, run: Path, config: str, seed: Any) -> None:
        self.run, self.config, self.seed = run, config, seed
        self.seconds, self.samples = 0.0, 0  # spent and seen in training, validation included in the seconds

    def on_validation_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Refuse a misspelt metric after the sanity check, not after the first epoch."""
        logged = sorted(name for name in trainer.callback_metrics if not name.startswith("train/"))
        plateaus = [config for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
        for watcher in [*trainer.callbacks, *plateaus]:  # type: ignore[attr-defined]
            monitor = getattr(watcher, "monitor", None) or "train/"
            if not monitor.startswith("train/") and monitor not in logged:
                name = "the schedule" if watcher in plateaus else type(watcher).__name__
                raise UsageError(f"{name} monitors {monitor}, which is never logged: logged are {', '.join(logged)}")

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.clock = time.monotonic()
        if not trainer.is_global_zero:
            return
        number = len(list(self.run.glob("environment.*.json")))
        for path in (self.run / "config.yaml", self.run / "environment.json"):
            if path.exists():  # a resume keeps what was true before it
                path.rename(path.with_suffix(f".{number}{path.suffix}"))
        (self.run / "config.yaml").write_text(self.config)
        write_json(self.run / "environment.json", environment(self.seed))

    def on_train_batch_end(
        self, trainer: L.Trainer, model: L.LightningModule, outputs: Any, batch: Any, _: int
    ) -> None:
        now = time.monotonic()
        self.seconds, self.clock = self.seconds + now - self.clock, now
        self.samples += len(batch[1]) * trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.samples = state_dict["seconds"], state_dict["samples"]

    def results(self, trainer: L.Trainer, model: Model, best: Path | None) -> dict[str, Any]:
        """What is known of the training at its end. To be asked before a checkpoint is loaded, which resets the time.

        Args:
            trainer: the trainer.
            model: the model.
            best: the best checkpoint, if one was kept.
        """
        epochs = best_epoch = trainer.current_epoch
        if best:  # mapped, so that the weights are not read for one number
            best_epoch = torch.load(best, mmap=True, map_location="cpu", weights_only=True)["epoch"] + 1
        return {
            "best_epoch": best_epoch,
            "epochs": epochs,
            "parameters": model.num_parameters,
            "seconds": round(self.seconds, 1),
            "samples_per_second": round(self.samples / max(self.seconds, 1e-9), 1),
        }
