"""Lightning's training loop without what nobody asked for in a step, which can cost as much as a small network's step.

Lightning calls all hooks of all callbacks and of the model, defined or not, at some 10 µs each: here those defined.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from lightning.pytorch.loops.optimization.automatic import ClosureResult
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from kindling.train.gradients import gradients_of
from kindling.train.logged_values import LoggedValues

HOOKS = {"on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"}
HOOKS |= {"on_before_optimizer_step", "on_train_batch_end"}
# A model or data that defines one of these is trained by Lightning's own loop.
RARE = {"on_train_batch_start", "on_before_batch_transfer", "transfer_batch_to_device", "backward", "optimizer_step"}
RARE |= {"optimizer_zero_grad", "configure_gradient_clipping"}


class LeanLoop(_TrainingEpochLoop):
    """The loop over the batches of an epoch; on one device, with automatic optimisation, it does a step by itself."""

    trainer: Any
    _results: Any
    lean = False
    validates: bool | None = None  # after this epoch; None outside of epochs

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        super().__init__(loop.trainer, loop.min_steps, loop.max_steps)
        self._results = LoggedValues()
        self.outputs: dict[str, Any] | None = None  # of this step
        self.gradient_norm: Tensor | None = None  # of this step, if a callback has taken it

    def run(self, data_fetcher: _DataFetcher) -> None:
        try:
            super().run(data_fetcher)
        finally:
            self.validates = None

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        self.lean, self.connector = self.is_usual(data_fetcher), self.trainer._logger_connector
        self.hooks = {name: self._hooks(name) for name in HOOKS}
        self.shares_norm = all(
            getattr(owner, "keeps_gradients", False) for owner in self._owners("on_before_optimizer_step")
        )
        self.validates = super()._should_check_val_epoch()
        selector = self.trainer._data_connector._datahook_selector
        self.after_transfer = selector.get_instance("on_after_batch_transfer").on_after_batch_transfer

    def is_usual(self, data_fetcher: _DataFetcher) -> bool:
        """Whether all that a step here leaves out is unused."""
        trainer, model = self.trainer, self.trainer.lightning_module
        own = [model] if trainer.datamodule is None else [model, trainer.datamodule]
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.precision_plugin) in (Precision, MixedPrecision)
            and not getattr(trainer.precision_plugin, "scaler", None)
            and type(trainer.profiler) is PassThroughProfiler
            and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
            and model.automatic_optimization
            and not self.automatic_optimization._skip_backward
            and is_param_in_hook_signature(model.training_step, "batch_idx", min_args=2)
            and not any(is_overridden(hook, each) for hook in RARE for each in own if hasattr(each, hook))
        )

    def _owners(self, hook: str) -> list[Any]:
        """The callbacks that define this hook, and the model if it does."""
        model, unused = self.trainer.lightning_module, getattr(L.Callback, hook)
        found = [(each, getattr(getattr(each, hook), "__func__", None)) for each in self.trainer.callbacks]
        return [each for each, function in found if function is not unused] + [model] * is_overridden(hook, model)

    def _hooks(self, name: str) -> list[Callable[..., Any]]:
        model = self.trainer.lightning_module
        hooks = [(owner, getattr(owner, name)) for owner in self._owners(name)]
        return [hook if owner is model else partial(hook, self.trainer, model) for owner, hook in hooks]

    def _call(self, name: str, *args: Any) -> None:
        vars(self.trainer.lightning_module)["_current_fx_name"] = name  # for `self.log`
        for hook in self.hooks[name]:
            hook(*args)

    def _should_check_val_epoch(self) -> bool:  # which Lightning finds out anew at every step
        return super()._should_check_val_epoch() if self.validates is None else self.validates

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self.restarting or not self.lean:
            return super().advance(data_fetcher)
        progress, results, connector = self.batch_progress, self._results, self.connector
        batch, _, _ = next(data_fetcher)
        batch_idx = progress.current.ready
        progress.is_last_batch = data_fetcher.done
        batch = self._on_device(batch)
        progress.increment_ready()
        connector.on_batch_start(batch)
        steps, outputs = not self._should_accumulate(), None
        if batch is None:
            self._warning_cache.warn("train_dataloader yielded None: the step is skipped")
        else:
            self._call("on_train_batch_start", batch, batch_idx)
            progress.increment_started()
            outputs = self._step(batch, batch_idx, steps)
        progress.increment_processed()
        self._step_schedules(batch_idx + 1, steps)
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        vars(self.trainer.lightning_module)["_current_fx_name"] = None
        is_logged = connector.should_update_logs or self.trainer.fast_dev_run
        if results.changed or is_logged:
            connector.on_batch_end()
        results.batch, results.batch_size, results.changed = None, None, False
        progress.increment_completed()
        if is_logged:
            connector.update_train_step_metrics()

    def _on_device(self, batch: Any) -> Any:
        batch, device = self.trainer.precision_plugin.convert_input(batch), self.trainer.strategy.root_device
        there = device.type == "cpu" and type(batch) is tuple and all(isinstance(part, Tensor) for part in batch)
        return self.after_transfer(batch if there else move_data_to_device(batch, device), 0)

    def _step(self, batch: Any, batch_idx: int, steps: bool) -> dict[str, Any]:
        """Forward and backward pass, then a step of the optimiser if no batch of it is missing; what the model said."""
        optimizer, counts = self.trainer.optimizers[0], self.automatic_optimization.optim_progress.optimizer.step
        closure = partial(self._backward, batch, batch_idx, optimizer, steps)
        if steps:
            counts.increment_ready()
            optimizer.step(closure=closure)
            counts.increment_completed()
        else:
            closure()
        outputs, self.outputs = self.outputs, None
        if outputs is None:
            raise MisconfigurationException(f"{type(optimizer).__name__}.step did not call its closure: no training")
        return outputs

    def _step_schedules(self, batches: int, steps: bool) -> None:
        vars(self.trainer.lightning_module)["_current_fx_name"] = "lr_scheduler_step"
        for config in self.trainer.strategy.lr_scheduler_configs if steps else ():
            if config.interval == "step" and not config.reduce_on_plateau and batches % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                self.trainer.lightning_module.lr_scheduler_step(config.scheduler, None)
                self.scheduler_progress.increment_completed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)

    def _backward(self, batch: Any, batch_idx: int, optimizer: Any, steps: bool) -> Tensor | None:
        """What an optimiser calls to get the loss and the gradients, and may call again."""
        trainer, model, accumulated = self.trainer, self.trainer.lightning_module, self.trainer.accumulate_grad_batches
        vars(model)["_current_fx_name"] = "training_step"
        with torch.enable_grad():
            with trainer.precision_plugin.forward_context():
                output = model.training_step(batch, batch_idx)
            loss, extra = output, {}
            if not isinstance(output, Tensor) or accumulated > 1:
                result = ClosureResult.from_training_step_output(output, accumulated)
                loss, extra = result.closure_loss, result.extra
            if batch_idx % accumulated == 0:
                counts = self.automatic_optimization.optim_progress.optimizer.zero_grad
                counts.increment_ready()
                self._call("on_before_zero_grad", optimizer)
                counts.increment_started()
                optimizer.zero_grad()
                counts.increment_completed()
            if loss is not None:
                self._call("on_before_backward", loss)
                loss.backward()
                self._call("on_after_backward")
            if steps:
                self._before_step(optimizer)
        self.outputs = {} if loss is None else {"loss": loss.detach(), **extra}
        return self.outputs.get("loss")

    def _before_step(self, optimizer: Any) -> None:
        """Run the hooks, then clip: by the norm that a callback has taken, and without torch's multiplication by one.

        The bits are the same. Where a hook may have changed the gradients, Lightning takes the norm again.
        """
        self.gradient_norm = None
        self._call("on_before_optimizer_step", optimizer)
        limit, kind, norm = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm, self.gradient_norm
        if norm is None or not self.shares_norm or not limit or kind == GradClipAlgorithmType.VALUE:
            self.trainer.lightning_module.configure_gradient_clipping(optimizer, limit, kind)
        elif not norm.item() + 1e-6 < limit:
            torch._foreach_mul_(gradients_of(optimizer), (limit / (norm + 1e-6)).clamp(max=1.0))
