"""Keeps the weights that were best on the validation split, and what a training needs to go on after any mishap."""

import signal
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import AsyncCheckpointIO, TorchCheckpointIO

from kindling.core.errors import Stopped, UsageError, reason_of
from kindling.run.checkpoint_content import unloadable_hyperparameters
from kindling.run.checkpoint_files import Unloadable, WholeCheckpointIO
from kindling.run.checkpoint_names import LAST
from kindling.run.monitor import Monitor, take_up_state
from kindling.train.changed_parts import ChangedParts
from kindling.train.learning_rates import change_learning_rate
from kindling.train.loop import LeanLoop
from kindling.train.messages import note, warn
from kindling.train.resume import position, prepare, restore
from kindling.train.several_processes import share_statistics
from kindling.train.signals import Interrupts, requeue
from kindling.train.watch import Watch


class Checkpoint(ModelCheckpoint):
    """Keep `checkpoints/best.ckpt`, and `last.ckpt` after every epoch, from which `--resume` goes on exactly.

    The one before it is `previous.ckpt`. Best is Lightning's ModelCheckpoint, with fewer arguments; where there is no
    metric to go by, the last is the best. After an epoch that is the best, both names belong to one file (a hard link):
    to change a checkpoint, write another file.

    Args:
        monitor: the metric that says what is best, by the name it is logged under; null for the module's `monitor`, or
            else the validation loss.
        mode: whether lower (min) or higher (max) is better; null to infer it from the metric's name.
        every_steps: save `last.ckpt` also every so many optimiser steps; null for no such saves.
        every_minutes: save it also after so many minutes without a save; null for no such saves.
        in_background: write files while the training goes on, at the cost of memory for a second copy.
        full_disk: what to do if a file can't be written: retry at the next save, or stop.

    Raises:
        ValueError: if an interval is not positive.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        every_steps: int | None = None,
        every_minutes: float | None = 10.0,
        in_background: bool = False,
        full_disk: Literal["retry", "stop"] = "retry",
    ) -> None:
        for name, interval in {"every_steps": every_steps, "every_minutes": every_minutes}.items():
            if interval is not None and interval <= 0:
                raise ValueError(f"{name} is {interval}: expected a positive number, or null")
        super().__init__(filename="best", monitor=monitor, mode=mode or "min", enable_version_counter=False)
        self.watch = Watch(monitor, mode)
        self.every_steps, self.every_seconds = every_steps, 60 * (every_minutes or float("inf"))
        self.in_background, self.full_disk = in_background, full_disk
        self.files, self.interrupts = WholeCheckpointIO(), Interrupts()
        self.mid_epoch: bool | None = None  # whether `last.ckpt` is saved mid-epoch; None while it is not being saved
        self.position: dict[str, Any] | None = None  # to go on from
        self.told: set[str] = set()  # failures already reported
        self.said_last_is_best = False
        self.before: dict[str, Any] = {}  # what was best before it was last saved
        self.saved_at, self.saved_step, self.unsaved = time.monotonic(), 0, False

    @property
    def state_key(self) -> str:
        """The same before and after the metric is chosen, unlike Lightning's."""
        return "Checkpoint"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        for other in trainer.checkpoint_callbacks:  # their files must not take the names of ours
            if other is not self and isinstance(other, ModelCheckpoint) and other.dirpath in (None, self.dirpath):
                other.dirpath = str(Path(self.dirpath or "", type(other).__name__))
        if stage == "fit" and type(trainer.strategy.checkpoint_io) in (TorchCheckpointIO, WholeCheckpointIO):
            trainer.strategy.checkpoint_io = AsyncCheckpointIO(self.files) if self.in_background else self.files

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        take_up_state(checkpoint, self, self.watch.metric)
        self.position = checkpoint.get("position") if trainer.state.fn == "fit" else None
        if self.position:
            prepare(trainer, checkpoint)
            change_learning_rate(checkpoint, pl_module)

    def state_dict(self) -> dict[str, Any]:
        about = self.watch.about(self.monitor, self.mode)
        return super().state_dict() | about | {"validated_step": self._last_global_step_saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was best so far, even in a run that has been moved, where Lightning forgets it."""
        super().load_state_dict(state_dict | {"dirpath": self.dirpath})
        self._last_global_step_saved = state_dict.get("validated_step", 0)  # of two validations at one step one counts
        if state_dict["monitor"]:
            self.watch.restored = Monitor(state_dict["monitor"], state_dict["mode"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.changed_parts = ChangedParts(pl_module)
        if self.position:
            restore(trainer, self.position)
            self.changed_parts.restore(self.position.get("changed_parts", {}))
            self.position = None
        self._leave_objects_out(trainer, pl_module)
        self.files.is_loadable = False
        self.saved_at, self.saved_step = time.monotonic(), trainer.global_step
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.interrupts.watch(speaks=trainer.is_global_zero)

    def _leave_objects_out(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say which hyper-parameters no checkpoint keeps: loading an object would run code, and the config has them."""
        objects = unloadable_hyperparameters(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
        self.files.left_out = frozenset(objects)
        if objects:
            names = ", ".join(f"{name} ({path})" for name, path in objects.items())
            note(trainer, f"the checkpoints leave out hyper-parameters that are objects: {names}")

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save before a batch: all that belongs to the previous one, such as a validation, is over by then."""
        seen = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if seen % trainer.accumulate_grad_batches or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return  # no checkpoint holds accumulated gradients
        due = self.interrupts.received
        if not due and self.saved_step != trainer.global_step:
            late = time.monotonic() - self.saved_at > self.every_seconds
            due = int(late or self._steps_are_due(trainer.global_step))
        if trainer.world_size > 1:  # all processes save, or none
            due = int(trainer.strategy.reduce(torch.tensor(due, device=pl_module.device), reduce_op="max"))
        if due:
            self._save_last(trainer, mid_epoch=True)
            self._stop_if_asked(trainer, due)

    def _steps_are_due(self, step: int) -> bool:
        """Whether a multiple of `every_steps` was passed since the last save; several optimisers may jump over one."""
        return self.every_steps is not None and step // self.every_steps > self.saved_step // self.every_steps

    def on_train_batch_end(self, *_: Any) -> None:
        """Do nothing: Lightning's callback saves here, with the batch half counted."""

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            share_statistics(trainer)  # also the averaged ones, which WeightAveraging has swapped in by now

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._look(trainer)
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
        if isinstance(loop, LeanLoop):
            loop.step_plateaus()
        self._look(trainer)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        loop._batches_that_stepped -= 1  # as Lightning does, but after this: a kill in between would lose the row
        connector.log_metrics(connector.metrics["log"])
        loop._batches_that_stepped += 1
        self._save_best_and_last(trainer, pl_module)
        self._stop_if_asked(trainer, trainer.strategy.broadcast(self.interrupts.received))

    def _save_best_and_last(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best if this is it, and what to go on from: where both are the same, as one file."""
        self.files.written = None
        self.mid_epoch = False
        super().on_train_epoch_end(trainer, pl_module)
        self.mid_epoch = None
        best = None if self.in_background else self.files.written  # in the process that writes
        if not trainer.strategy.broadcast(best is not None):
            self._save_last(trainer, mid_epoch=False)
            return
        self._flush_loggers(trainer)
        if best:
            self.files.name_last(best)
        self._note_save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.interrupts.release()
        if not self.best_model_path and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            # The training was over before its first validation.
            self._save_topk_checkpoint(trainer, dict(trainer.callback_metrics))
        self._finish_files(trainer)
        if self.unsaved:
            self._save_last(trainer, mid_epoch=False)
            self._finish_files(trainer)
        if self.unsaved:
            code = int(trainer.is_global_zero)
            raise Stopped("the training is over, but no checkpoint holds its end", code, trainer.default_root_dir)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.interrupts.release()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.mid_epoch is not None:
            changed = {"changed_parts": self.changed_parts.state()}
            checkpoint["position"] = position(trainer, self.mid_epoch) | changed

    def _save_last(self, trainer: L.Trainer, mid_epoch: bool) -> None:
        self._flush_loggers(trainer)
        self.mid_epoch = mid_epoch
        trainer.save_checkpoint(Path(self.dirpath or "", LAST))
        self.mid_epoch = None
        self._note_save(trainer)

    @staticmethod
    def _flush_loggers(trainer: L.Trainer) -> None:
        """Have everything on disk that was logged before a checkpoint from which a training may go on."""
        for logger in trainer.loggers:
            logger.save()

    def _note_save(self, trainer: L.Trainer) -> None:
        self.saved_at, self.saved_step, self.unsaved = time.monotonic(), trainer.global_step, False
        self._check_files(trainer)

    def _look(self, trainer: L.Trainer) -> None:
        """Choose the metric that says what is best when it is first logged; scores by another are discarded."""
        if self.watch.settle(trainer) and self.watch.settled:
            self.monitor, self.mode = self.watch.settled
            if self.watch.restored != self.watch.settled:
                worst = torch.inf if self.mode == "min" else -torch.inf
                self.best_k_models, self.kth_best_model_path, self.kth_value = {}, "", torch.tensor(worst)
                self.best_model_path, self.best_model_score, self.current_score = "", None, None
        self.watch.refuse_misspelt(trainer)

    def _say_that_the_last_is_best(self, trainer: L.Trainer, undefined: str | None) -> None:
        """Say once that nothing says what is best, or that its value is undefined, and how to choose a metric."""
        if self.said_last_is_best or not trainer.enable_validation:
            return
        self.said_last_is_best = True
        wanted = self.watch.metric or getattr(trainer.lightning_module, "monitor", None) or "val/loss or val_loss"
        logged = ", ".join(sorted(trainer.callback_metrics)) or "none"
        choice = f"checkpoint.monitor chooses another; logged metrics: {logged}"
        reason = f"{wanted} is {undefined}" if undefined else f"no validation has logged {wanted}"
        note(trainer, f"the last weights count as the best, since {reason} ({choice})")

    def _should_save_on_train_epoch_end(self, trainer: L.Trainer) -> bool:
        return not trainer.enable_validation or super()._should_save_on_train_epoch_end(trainer)

    def _monitor_candidates(self, trainer: L.Trainer) -> dict[str, Any]:
        """A copy of the one metric that counts: to copy all of them, as Lightning does, takes half a millisecond."""
        return {name: deepcopy(value) for name, value in trainer.callback_metrics.items() if name == self.monitor}

    def _save_topk_checkpoint(self, trainer: L.Trainer, monitor_candidates: dict[str, Any]) -> None:
        self._check_files(trainer)
        self.before = deepcopy(self.state_dict())
        metric, undefined = self.monitor, self.watch.undefined(trainer)
        if undefined and self.best_k_models:
            return  # what was best by a defined value stays the best
        if undefined or not self.watch.settled:
            self._say_that_the_last_is_best(trainer, undefined)
            self.monitor = None  # then Lightning takes the last for the best
        super()._save_topk_checkpoint(trainer, monitor_candidates)
        self.monitor = metric
        self._check_files(trainer)

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        self._last_global_step_saved = trainer.global_step  # set now, so that the file has it: Lightning sets it later
        super()._save_checkpoint(trainer, filepath)

    def _finish_files(self, trainer: L.Trainer) -> None:
        """Wait for what is written in the background."""
        if self.in_background:
            trainer.strategy.checkpoint_io.teardown()
            self._check_files(trainer)

    def _check_files(self, trainer: L.Trainer) -> None:
        """Report what could not be written. What was best before is best again, so that the next best is saved."""
        (failed, error), self.files.failure = self.files.failure or ("", None), None
        found = str(failed), reason_of(error) if error else "", isinstance(error, Unloadable)
        path, reason, is_unloadable = trainer.strategy.broadcast(found)
        if is_unloadable:
            raise UsageError(reason)
        if not path:
            return
        self.unsaved |= path.endswith(LAST)
        if not path.endswith(LAST):
            super().load_state_dict(self.before)
        message = f"can't write {path}: {reason}; the earlier checkpoints are whole"
        if self.full_disk == "stop":
            raise Stopped(message, int(trainer.is_global_zero), trainer.default_root_dir)
        if message not in self.told:
            warn(trainer, f"{message}, and the next save will try again")
        self.told.add(message)

    def _stop_if_asked(self, trainer: L.Trainer, number: int) -> None:
        if number <= 1:
            return
        self._finish_files(trainer)  # before a cluster takes the machine
        if signal.Signals(number).name == "SIGUSR1" and trainer.is_global_zero:
            requeue()
        code = 128 + number if trainer.is_global_zero else 0
        reason = f"stopped after step {trainer.global_step}{', which could not be saved' if self.unsaved else ''}"
        raise Stopped(reason, code, trainer.default_root_dir)
