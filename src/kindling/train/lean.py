"""Decides whether the training loop does the steps of an epoch by itself, or leaves them to Lightning's."""

from typing import Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

# A module or data that defines one of these is trained by Lightning's own loop.
RARE = {"on_train_batch_start", "on_before_batch_transfer", "transfer_batch_to_device", "backward", "optimizer_step"}
RARE |= {"optimizer_zero_grad", "configure_gradient_clipping"}
# Likewise if one of these has been replaced on the object itself: the module, data, strategy or precision plugin.
REPLACEABLE = RARE | {"batch_to_device", "convert_input", "forward_context"}


def can_be_lean(trainer: Any, data_fetcher: _DataFetcher) -> bool:
    """Whether the loop's shorter step does the same as Lightning's would: on one device, with default parts."""
    return trainer.lean_loop and _has_usual_parts(trainer, data_fetcher) and not _is_changed(trainer)


def _has_usual_parts(trainer: Any, data_fetcher: _DataFetcher) -> bool:
    module, model = trainer.lightning_module, trainer.strategy.model
    optimization = trainer.fit_loop.epoch_loop.automatic_optimization
    return bool(
        type(trainer.strategy) is SingleDeviceStrategy
        and model is module
        and type(trainer.precision_plugin) in (Precision, MixedPrecision)
        and not getattr(trainer.precision_plugin, "scaler", None)
        and type(trainer.profiler) is PassThroughProfiler
        and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        and module.automatic_optimization
        and not optimization._skip_backward
        and not isinstance(trainer.optimizers[0], LightningOptimizer)
    )


def _is_changed(trainer: Any) -> bool:
    """Whether a rare hook is defined, or a method has been replaced."""
    own = [each for each in (trainer.lightning_module, trainer.datamodule) if each is not None]
    for each in own:
        if any(hasattr(each, hook) and (hook in vars(each) or is_overridden(hook, each)) for hook in RARE):
            return True
    return any(REPLACEABLE & vars(each).keys() for each in (trainer.strategy, trainer.precision_plugin))
