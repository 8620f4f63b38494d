"""Stops a training that no longer improves."""

import sys
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch import callbacks

from kindling.run.monitor import Monitor, take_up_state
from kindling.train.messages import note
from kindling.train.watch import Watch


class EarlyStopping(callbacks.EarlyStopping):
    """Stop when a metric has not improved for a while, or is no longer finite. Lightning's, with fewer arguments.

    It does nothing where there is no such metric, or where the trainer has another EarlyStopping, such as one that the
    module brings.

    Args:
        monitor: the metric to watch, by the name it is logged under; null for the module's `monitor`, or else the
            validation loss.
        mode: whether lower (min) or higher (max) is better; null to infer it from the metric's name.
        patience: validations without improvement before the training stops, not negative; null to never stop for that.
        min_delta: the smallest change that counts as an improvement.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        patience: int | None = 10,
        min_delta: float = 0.0,
    ) -> None:
        if patience is not None and patience < 0:
            raise ValueError(f"patience is {patience}: expected a number of validations, or null")
        patience = sys.maxsize if patience is None else patience
        # Not strict: a training without a validation, or one that ends before the first, is left alone.
        super().__init__(monitor or "", mode=mode or "min", patience=patience, min_delta=min_delta, strict=False)
        self.watch = Watch(monitor, mode)
        self.stands_back = False  # for another EarlyStopping
        self.has_asked = False  # the trainer to stop
        self.said_undefined = False

    @property
    def state_key(self) -> str:
        """The same before and after a metric is chosen; different for two metrics that the user asked for."""
        return f"EarlyStopping of {self.watch.metric}" if self.watch.metric else "EarlyStopping"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.finished = Path(trainer.default_root_dir, "results.json").exists()  # written at the end of a run
        others = [each for each in trainer.early_stopping_callbacks if not isinstance(each, EarlyStopping)]
        self.stands_back = bool(others)
        if others and stage == "fit":
            note(trainer, f"early_stopping does nothing: another EarlyStopping watches {others[0].monitor}")

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        take_up_state(checkpoint, self, self.watch.metric)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | self.watch.about(self.monitor, self.mode)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the count where it was, with the present patience; a run that had finished starts counting anew."""
        stopped = bool(state_dict["stopping_reason_message"])
        anew = {"wait_count": 0, "stopping_reason_message": None} if stopped and self.finished else {}
        super().load_state_dict(state_dict | {"patience": self.patience} | anew)
        if state_dict["monitor"]:
            self.watch.restored = Monitor(state_dict["monitor"], state_dict["mode"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.has_asked = bool(self.stopping_reason_message)  # it had stopped, and was killed before its end
        trainer.should_stop |= self.has_asked

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not self.stands_back:
            self._look(trainer)
            if not self._is_undefined(trainer):
                super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.stands_back:
            self._look(trainer)
            if not self._is_undefined(trainer):
                super().on_train_epoch_end(trainer, pl_module)

    def _is_undefined(self, trainer: L.Trainer) -> bool:
        """Whether this validation can't be judged, which is said once; any other NaN ends the training."""
        reason = self.watch.undefined(trainer)
        if reason and not self.said_undefined:
            note(trainer, f"early_stopping leaves out validations in which {self.monitor} is {reason}")
        self.said_undefined |= bool(reason)
        return bool(reason)

    def _run_early_stopping_check(self, trainer: L.Trainer) -> None:
        """Decide anew if the training has gone on because of `min_epochs`: the metric may have recovered since."""
        if self.has_asked:
            trainer.should_stop, self.stopping_reason_message = False, None
        is_asked = trainer.should_stop
        super()._run_early_stopping_check(trainer)
        self.has_asked = trainer.should_stop and not is_asked

    def _look(self, trainer: L.Trainer) -> None:
        """Choose the metric to watch when it is first logged; a count by another metric is discarded."""
        if self.watch.settle(trainer) and self.watch.settled:
            self.monitor, self.mode = self.watch.settled
            sign = 1 if self.mode == "max" else -1
            self.min_delta = sign * abs(self.min_delta)
            if self.watch.restored != self.watch.settled:
                self.best_score, self.wait_count = torch.tensor(-sign * torch.inf), 0
        self.watch.refuse_misspelt(trainer)
