"""Lightning's training loop without unused work in each step, which can cost as much as a small network's step.

Lightning calls all hooks of all callbacks and of the module, defined or not, at some 10 µs each; here only those that
are defined are called.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from kindling.models.run_length import adapt_to_run_length
from kindling.train.accumulation import SharesOfSteps
from kindling.train.gradients import Gradients
from kindling.train.lean import can_be_lean
from kindling.train.logged_values import LoggedValues
from kindling.train.several_processes import tell_of_batch_norms
from kindling.train.to_device import to_device

BEFORE_STEP = "on_before_optimizer_step"
HOOKS = {"on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"}
HOOKS |= {BEFORE_STEP, "on_train_batch_end"}


class LeanLoop(_TrainingEpochLoop):
    """The loop over the batches of an epoch; on one device, with automatic optimisation, it does the steps by itself.

    For every module, it tells schedules the length of the run, and logs each epoch at least once.
    """

    trainer: Any
    _results: Any
    lean = False  # whether it does the steps of this epoch by itself
    validates: bool | None = None  # after this epoch; None outside of epochs
    gradients: Gradients | None = None  # of the optimiser step that is about to be taken
    schedules: Any = None  # those that know the length of the run
    log_interval: int | None = None  # the run's own, while another replaces it
    plateaus_stepped = False  # at the end of this epoch

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        super().__init__(loop.trainer, loop.min_steps, loop.max_steps)
        self._results = LoggedValues()
        self.shares = SharesOfSteps(loop.trainer)
        self.automatic_optimization.output_result_cls = self.shares  # type: ignore[assignment]

    # A step, from top to bottom

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train on the next batch."""
        if self.restarting or not self.lean:
            super().advance(data_fetcher)
            return
        progress = self.batch_progress
        if self.val_loop.restarting:  # from a checkpoint that was saved at the end of a validation
            self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        batch_idx = progress.current.ready
        progress.is_last_batch = data_fetcher.done
        batch = self._to_device(batch)
        progress.increment_ready()
        self.connector.on_batch_start(batch)
        self._log_at_least_once()

        outputs = None
        if batch is None:
            self._warning_cache.warn("train_dataloader yielded None: the step is skipped")
        else:
            self._call("on_train_batch_start", batch, batch_idx)
            progress.increment_started()
            outputs = self._train_on(batch, batch_idx)
        progress.increment_processed()
        self._step_schedules(batch_idx + 1)
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        self._hand_over_metrics()

    def _to_device(self, batch: Any) -> Any:
        batch = self.trainer.precision_plugin.convert_input(batch)
        return self.after_transfer(to_device(batch, self.trainer.strategy.root_device), 0)

    def _train_on(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Forward, backward and, unless gradients accumulate, an optimiser step; returns what the module returned.

        Raises:
            MisconfigurationException: if the optimiser does not ask for the loss.
        """
        optimizer = self.trainer.optimizers[0]
        is_first_of_step = batch_idx % self.trainer.accumulate_grad_batches == 0
        is_last_of_step = not self._should_accumulate()
        outputs: dict[str, Any] | None = None

        def closure() -> Tensor | None:
            """Compute the loss and the gradients; an optimiser calls this in its step, and may call it again."""
            nonlocal outputs
            with torch.enable_grad():
                loss, extra = self._forward(batch, batch_idx)
                if is_first_of_step:
                    self._zero_gradients(optimizer)
                if loss is not None:
                    self._call("on_before_backward", loss)
                    loss.backward()
                    self._call("on_after_backward")
                if is_last_of_step:
                    self._before_step(optimizer)
            outputs = {} if loss is None else {"loss": loss.detach(), **extra}
            return outputs.get("loss")

        if is_last_of_step:
            step = self.automatic_optimization.optim_progress.optimizer.step
            step.increment_ready()
            optimizer.step(closure=closure)
            step.increment_completed()
        else:
            closure()
        if outputs is None:
            name = type(optimizer).__name__
            raise MisconfigurationException(f"The closure hasn't been executed: {name}.step has to call it to train")
        return outputs

    def _zero_gradients(self, optimizer: Any) -> None:
        count = self.automatic_optimization.optim_progress.optimizer.zero_grad
        count.increment_ready()
        self._call("on_before_zero_grad", optimizer)
        count.increment_started()
        optimizer.zero_grad()
        count.increment_completed()

    def _forward(self, batch: Any, batch_idx: int) -> tuple[Tensor | None, dict[str, Any]]:
        """The loss, as its share of an accumulated step, and whatever else the module's `training_step` returns."""
        trainer, module = self.trainer, self.trainer.lightning_module
        vars(module)["_current_fx_name"] = "training_step"
        with trainer.precision_plugin.forward_context():
            output = module.training_step(batch, batch_idx) if self.takes_index else module.training_step(batch)
        if isinstance(output, Tensor) and trainer.accumulate_grad_batches == 1:
            return output, {}
        if output is None:
            self._warning_cache.warn("`training_step` returned `None`: no gradients come from this batch")
        result = self.shares.from_training_step_output(output, trainer.accumulate_grad_batches)
        return result.closure_loss, result.extra

    def _before_step(self, optimizer: Any) -> None:
        """Let callbacks and module see the gradients, then clip them.

        NonFinite computes the norm of the gradients. Clipping uses it if no hook has changed them since; otherwise
        Lightning computes it again.
        """
        trainer, module = self.trainer, self.trainer.lightning_module
        self.gradients = Gradients(optimizer, are_of_the_loop=True)
        if self.ends_unforeseen:
            self.shares.make_up(self.gradients)
        vars(module)["_current_fx_name"] = BEFORE_STEP
        for hook, keeps_gradients in zip(self.hooks[BEFORE_STEP], self.keeps_gradients, strict=True):
            hook(optimizer)
            if not keeps_gradients:
                self.gradients.forget()
        limit, algorithm = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
        if limit and self.gradients.tensors:
            if self.gradients.can_clip and algorithm != GradClipAlgorithmType.VALUE:
                self.gradients.clip(limit)
            else:
                module.configure_gradient_clipping(optimizer, limit, algorithm)
        self.gradients = None

    def _step_schedules(self, batches: int) -> None:
        module = self.trainer.lightning_module
        vars(module)["_current_fx_name"] = "lr_scheduler_step"
        for config in [] if self._should_accumulate() else self.trainer.strategy.lr_scheduler_configs:
            if config.interval == "step" and not config.reduce_on_plateau and batches % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                module.lr_scheduler_step(config.scheduler, None)
                self.scheduler_progress.increment_completed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)

    def _hand_over_metrics(self) -> None:
        """Give what was logged in the step to the callbacks, the progress bar and, if due, the loggers."""
        vars(self.trainer.lightning_module)["_current_fx_name"] = None
        results, is_logged = self._results, self.connector.should_update_logs or self.trainer.fast_dev_run
        if results.changed or is_logged:
            self.connector.on_batch_end()
        results.batch, results.batch_size, results.changed = None, None, False
        self.batch_progress.increment_completed()
        if is_logged:
            self.connector.update_train_step_metrics()

    def _call(self, name: str, *args: Any) -> None:
        vars(self.trainer.lightning_module)["_current_fx_name"] = name  # for `self.log`
        for hook in self.hooks[name]:
            hook(*args)

    # What an epoch begins with

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        self.lean, self.connector = can_be_lean(trainer, data_fetcher), trainer._logger_connector
        self.hooks = {name: self._hooks(name) for name in HOOKS}
        self.keeps_gradients = [getattr(owner, "keeps_gradients", False) for owner in self._owners(BEFORE_STEP)]
        self.takes_index = is_param_in_hook_signature(trainer.lightning_module.training_step, "batch_idx", min_args=2)
        data, hook = trainer.datamodule, "on_after_batch_transfer"
        owner = data if data is not None and is_overridden(hook, data) else trainer.lightning_module
        self.after_transfer = owner.on_after_batch_transfer
        self.validates = super()._should_check_val_epoch()
        self.plateaus_stepped = False
        if self.schedules is not trainer.lr_scheduler_configs:  # new ones, which don't yet know the length of this run
            self.schedules = trainer.lr_scheduler_configs
            adapt_to_run_length(trainer)
            tell_of_batch_norms(trainer, trainer.loaders.layout()[0])
        self.ends_unforeseen = math.isinf(trainer.num_training_batches)
        done = self.batch_progress.current.completed // trainer.accumulate_grad_batches
        self.steps_before = self._batches_that_stepped - done  # this epoch

    def _owners(self, hook: str) -> list[Any]:
        """The callbacks that define this hook, and the module if it does."""
        module, unused = self.trainer.lightning_module, getattr(L.Callback, hook)
        callbacks = [(each, getattr(getattr(each, hook), "__func__", None)) for each in self.trainer.callbacks]
        return [each for each, function in callbacks if function is not unused] + [module] * is_overridden(hook, module)

    def _hooks(self, name: str) -> list[Callable[..., Any]]:
        module = self.trainer.lightning_module
        hooks = [(owner, getattr(owner, name)) for owner in self._owners(name)]
        return [hook if owner is module else partial(hook, self.trainer, module) for owner, hook in hooks]

    # What an epoch logs, and when it ends

    def run(self, data_fetcher: _DataFetcher) -> None:
        try:
            super().run(data_fetcher)
        finally:
            self.validates = None
            self._restore_log_interval()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        self._restore_log_interval()
        super().on_advance_end(data_fetcher)

    def _log_at_least_once(self) -> None:
        """Log the last step of an epoch if none before it was logged, where its number of steps was not known."""
        if not self.ends_unforeseen or not self.batch_progress.is_last_batch:
            return
        interval, steps = self.trainer.log_every_n_steps, self._batches_that_stepped + 1
        if interval and steps // interval == self.steps_before // interval:
            self.log_interval, self.trainer.log_every_n_steps = interval, 1

    def _restore_log_interval(self) -> None:
        if self.log_interval is not None:
            self.trainer.log_every_n_steps, self.log_interval = self.log_interval, None

    def _build_kwargs(self, kwargs: OrderedDict, batch: Any, batch_idx: int) -> OrderedDict:
        """Lightning's loop calls this before `training_step`, when it knows whether the batch is the last."""
        self._log_at_least_once()
        return super()._build_kwargs(kwargs, batch, batch_idx)

    def _should_check_val_epoch(self) -> bool:  # Lightning computes it anew in every step
        return super()._should_check_val_epoch() if self.validates is None else self.validates

    def step_plateaus(self) -> None:
        """Step the schedules that follow a metric at an epoch's end, before its checkpoint is saved.

        Lightning steps them after that, or not at all if the epoch was resumed in its middle.
        """
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=True)
            self.plateaus_stepped = True

    def update_lr_schedulers(self, interval: str, update_plateau_schedulers: bool) -> None:
        if not (update_plateau_schedulers and interval == "epoch" and self.plateaus_stepped):
            super().update_lr_schedulers(interval, update_plateau_schedulers)
