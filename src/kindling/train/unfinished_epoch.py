"""What a part of an epoch has gathered: the states of metrics, and what was logged for its end."""

from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torch import nn
from torchmetrics import Metric, MetricCollection

# What `self.log` was called with.
LOGGED = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph")
LOGGED += ("add_dataloader_idx", "dataloader_idx", "metric_attribute")  # type: ignore[assignment]


def gathered(trainer: L.Trainer) -> dict[str, Any]:
    """What this process has gathered, in tensors and plain values."""
    model, results = trainer.lightning_module, trainer.fit_loop.epoch_loop._results
    logged = {key: _logged(result) for key, result in results.items() if result.meta.on_epoch}
    return {"metrics": dict(_metrics(model)), "logged": logged}


def gather_on(trainer: L.Trainer, before: dict[str, Any]) -> None:
    """Bring back what was gathered, so that the rest of the epoch is added to it."""
    model, results = trainer.lightning_module, trainer.fit_loop.epoch_loop._results
    trainer._logger_connector._first_loop_iter = False  # or the first batch would reset what the epoch has logged
    for name, state in before["metrics"].items():
        vars(model.get_submodule(name)).update(move_data_to_device(state, model.device))
    for key, (arguments, reduction, sync, state) in before["logged"].items():
        metadata = _Metadata(**arguments, reduce_fx=reduction)
        metadata.sync = _Sync(fn=trainer.strategy.reduce, **sync)
        result = _ResultMetric(metadata, is_tensor="value" in state)
        vars(result).update(move_data_to_device(state, model.device))
        if "value" not in state:
            result.value = model.get_submodule(arguments["metric_attribute"])
        results[key] = result


def count_on(model: L.LightningModule, before: dict[str, Any]) -> None:
    """After a finished epoch, bring back the metrics that no epoch resets: those that are not logged as objects."""
    of_an_epoch = {arguments["metric_attribute"] for arguments, *_ in before["logged"].values()}
    for name in before["metrics"].keys() - of_an_epoch:
        vars(model.get_submodule(name)).update(move_data_to_device(before["metrics"][name], model.device))


def _metrics(model: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    """The states of the metrics that have seen a part of an epoch."""
    for module in model.modules():
        if isinstance(module, MetricCollection):
            list(module.items())  # metrics that share a state receive it now
    for name, metric in model.named_modules():
        if isinstance(metric, Metric) and metric.update_called:
            yield name, {key: vars(metric)[key] for key in (*metric.metric_state, "_update_count")}


def _logged(result: _ResultMetric) -> tuple[Any, ...]:
    """What `self.log` has gathered for the end of the epoch."""
    arguments = {key: getattr(result.meta, key) for key in LOGGED}
    sync = {"_should": result.meta.sync.should, "rank_zero_only": result.meta.sync.rank_zero_only}
    kept = (*result.metric_state, "_forward_cache", "_update_count", "has_reset")
    return arguments, result.meta.reduce_fx.__name__, sync, {key: vars(result)[key] for key in kept}
