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
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from kindling.optim import gradients_of

HOOKS = {"on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"}
HOOKS |= {"on_before_optimizer_step", "on_train_batch_end"}
# A model or data that defines one of these is trained by Lightning's own loop.
RARE = {"on_train_batch_start", "on_before_batch_transfer", "transfer_batch_to_device", "backward", "optimizer_step"}
RARE |= {"optimizer_zero_grad", "configure_gradient_clipping"}


class Results(_ResultCollection):
    """Lightning's logged values. One that is for its step alone is kept as it is, not in a torchmetrics.Metric."""

    def __init__(self) -> None:
        super().__init__(training=True)
        self.changed = False  # whether there is a new one
        self.of_step: dict[str, tuple[Tensor, bool, bool]] = {}  # value, and whether it is for progress bar and loggers

    def __bool__(self) -> bool:  # by which Lightning tells whether to look
        return bool(len(self) or self.of_step)

    def log(
        self, fx: str, name: str, value: Any, prog_bar: bool = False, logger: bool = True, on_step: bool = False,
        on_epoch: bool = True, sync_dist: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        self.changed = True
        if on_step and not on_epoch and not sync_dist and isinstance(value, Tensor):
            self.of_step[name] = value.detach(), prog_bar, logger
        else:
            super().log(fx, name, value, prog_bar, logger, on_step, on_epoch, sync_dist=sync_dist, **more)

    def metrics(self, on_step: bool) -> dict[str, Any]:  # type: ignore[override]
        metrics: dict[str, Any] = super().metrics(on_step)  # type: ignore[assignment]
        for name, (value, prog_bar, logger) in self.of_step.items() if on_step else ():
            metrics["callback"][name] = value
            if logger:
                metrics["log"][name] = value
            if prog_bar:
                metrics["pbar"][name] = value.item()
        return metrics

    def reset(self, metrics: bool | None = None, fx: str | None = None) -> None:
        super().reset(metrics, fx)
        if not metrics and fx is None:
            self.of_step.clear()


class LeanLoop(_TrainingEpochLoop):
    """The loop over the batches of an epoch; on one device, with automatic optimisation, it does a step by itself."""

    trainer: Any
    _results: Any
    lean = validates = False

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        super().__init__(loop.trainer, loop.min_steps, loop.max_steps)
        self._results = Results()
        self.gradient_norm: Tensor | None = None  # of this step, if someone has taken it

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        self.lean, self.connector = self.is_usual(data_fetcher), self.trainer._logger_connector
        self.hooks = {name: self._defined(name) for name in HOOKS}
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
            and is_param_in_hook_signature(model.training_step, "batch_idx", min_args=2)
            and not any(is_overridden(hook, each) for hook in RARE for each in own if hasattr(each, hook))
        )

    def _defined(self, name: str) -> list[Callable[..., Any]]:
        """The hook of this name of all callbacks that define it, and of the model."""
        model, unused = self.trainer.lightning_module, getattr(L.Callback, name)
        found = [getattr(callback, name) for callback in self.trainer.callbacks]
        hooks = [partial(hook, self.trainer, model) for hook in found if getattr(hook, "__func__", None) is not unused]
        return hooks + [getattr(model, name)] * is_overridden(name, model)

    def _call(self, name: str, *args: Any) -> None:
        vars(self.trainer.lightning_module)["_current_fx_name"] = name  # for `self.log`
        for hook in self.hooks[name]:
            hook(*args)

    def _should_check_val_epoch(self) -> bool:  # which Lightning finds out anew at every step
        return self.validates

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
        self._call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()
        loss = self._step(batch, batch_idx)
        progress.increment_processed()
        self._call("on_train_batch_end", {} if loss is None else {"loss": loss.detach()}, batch, batch_idx)
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
        return self.after_transfer(batch if device.type == "cpu" else move_data_to_device(batch, device), 0)

    def _step(self, batch: Any, batch_idx: int) -> Any:
        """Forward and backward pass, then a step of optimiser and schedule if no batch of the step is missing."""
        progress, optimizer = self.automatic_optimization.optim_progress.optimizer.step, self.trainer.optimizers[0]
        if self._should_accumulate():
            return self._backward(batch, batch_idx, optimizer, steps=False)
        progress.increment_ready()
        loss = optimizer.step(lambda: self._backward(batch, batch_idx, optimizer, steps=True))
        progress.increment_completed()
        self._step_schedules(batch_idx + 1)
        return loss

    def _step_schedules(self, batches: int) -> None:
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        for config in self.trainer.strategy.lr_scheduler_configs:
            if config.interval == "step" and not config.reduce_on_plateau and batches % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                self.trainer.lightning_module.lr_scheduler_step(config.scheduler, None)
                self.scheduler_progress.increment_completed()

    def _backward(self, batch: Any, batch_idx: int, optimizer: Any, steps: bool) -> Tensor | None:
        trainer, model, accumulated = self.trainer, self.trainer.lightning_module, self.trainer.accumulate_grad_batches
        vars(model)["_current_fx_name"] = "training_step"
        with torch.enable_grad():
            with trainer.precision_plugin.forward_context():
                loss = model.training_step(batch, batch_idx)
            if not isinstance(loss, Tensor) or accumulated > 1:
                loss = ClosureResult.from_training_step_output(loss, accumulated).closure_loss
            if batch_idx % accumulated == 0:
                progress = self.automatic_optimization.optim_progress.optimizer.zero_grad
                progress.increment_ready()
                self._call("on_before_zero_grad", optimizer)
                progress.increment_started()
                optimizer.zero_grad()
                progress.increment_completed()
            if loss is not None:
                self._call("on_before_backward", loss)
                loss.backward()
                self._call("on_after_backward")
            if steps:
                self._before_step(optimizer)
        return loss

    def _before_step(self, optimizer: Any) -> None:
        """Clip the gradient, after the hooks, to the same bits as torch does, which multiplies also by one."""
        self.gradient_norm = None
        self._call("on_before_optimizer_step", optimizer)
        limit, kind, norm = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm, self.gradient_norm
        if norm is None or not limit or kind == GradClipAlgorithmType.VALUE:
            self.trainer.lightning_module.configure_gradient_clipping(optimizer, limit, kind)
        elif not norm.item() + 1e-6 < limit:
            torch._foreach_mul_(gradients_of(optimizer), (limit / (norm + 1e-6)).clamp(max=1.0))
