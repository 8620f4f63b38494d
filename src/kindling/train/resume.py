"""Goes on where a training was: what Lightning's checkpoints lack, and what its loops get wrong on a restart.

A checkpoint to resume from is taken before a batch or at the end of an epoch. Its `position` holds the states of the
random generators, metrics of a part of an epoch, and the size of the batches. The loaders find their place by
themselves, since their order depends on the seed and the epoch alone. All else is Lightning's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.fabric.utilities.seed import _collect_rng_states, _set_rng_states
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torch import nn
from torchmetrics import Metric, MetricCollection

from kindling.core.errors import NothingToDo, UsageError
from kindling.run.checkpoint_files import fit_or_refuse, load_checkpoint, newest_whole
from kindling.run.folder import find_checkpoint

SHOWN = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")  # the metrics last seen
LOGGED: tuple[str, ...] = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph")
LOGGED += ("add_dataloader_idx", "dataloader_idx", "metric_attribute")  # what `self.log` was called with


def position(trainer: L.Trainer, mid_epoch: bool) -> dict[str, Any]:
    """What a checkpoint keeps besides Lightning's; all processes call it at once.

    Args:
        trainer: before a batch, with no gradient accumulated, or at the end of an epoch.
        mid_epoch: whether it is the former.
    """
    own = _generators()
    generators: list[Any] = [own]
    if trainer.world_size > 1:
        generators = [None] * trainer.world_size
        dist.all_gather_object(generators, own)
    results = trainer.fit_loop.epoch_loop._results
    return {
        "mid_epoch": mid_epoch,
        "batches": _batches(trainer),
        "generators": generators,
        "metrics": dict(_metrics(trainer.lightning_module)),
        "logged": {key: _logged(result) for key, result in results.items() if result.meta.on_epoch},
        "shown": {name: dict(getattr(trainer._logger_connector, name)) for name in SHOWN},
    }


def prepare(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Set the counters of Lightning's loops in a checkpoint, before they are restored, so that none is off by one."""
    place, loops = checkpoint["position"], checkpoint["loops"]["fit_loop"]
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    if not place["mid_epoch"]:
        return
    if place["batches"] != _batches(trainer):  # of another size: the epoch starts over
        place["mid_epoch"] = False
        for count in (epochs["total"], epochs["current"]):
            count.update(dict.fromkeys(count, count["processed"]))
        return
    for count in (batches["total"], batches["current"]):  # the next batch was ready
        count.update(dict.fromkeys(count, count["completed"]))
    batches["is_last_batch"] = False
    # Lightning tells by these where it was cut off, and skips or repeats something in each case that it knows (its
    # issue 14579); in any other it adds a step.
    batches["total"]["started"] -= 1
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def change_learning_rate(checkpoint: dict[str, Any], model: L.LightningModule) -> None:
    """Scale the learning rates in a checkpoint to the one that the model has now, if it was trained with another."""
    before, now = (_learning_rate(hparams) for hparams in (checkpoint["hyper_parameters"], model.hparams))
    if not before or not now or before == now:
        return
    factor = now / before
    groups = [group for state in checkpoint["optimizer_states"] for group in state["param_groups"]]
    schedules = [state for state in checkpoint["lr_schedulers"] if "max_lrs" not in state]  # those have their own rates
    for state, names in ((groups, ("lr", "initial_lr")), (schedules, ("base_lrs", "_last_lr"))):
        for each in state:
            for name in each.keys() & names:
                rates = each[name]
                each[name] = [rate * factor for rate in rates] if isinstance(rates, list) else rates * factor


def _learning_rate(hparams: Any) -> float | None:
    optimizer = hparams.get("optimizer")
    return optimizer.get("init_args", {}).get("lr") if isinstance(optimizer, dict) else None


def restore(trainer: L.Trainer, place: dict[str, Any]) -> None:
    """Bring back what `position` kept; the last thing before the training goes on."""
    connector, model = trainer._logger_connector, trainer.lightning_module
    for name in SHOWN:
        getattr(connector, name).update(move_data_to_device(place["shown"][name], model.device))
    if trainer.global_rank < len(place["generators"]):  # with more processes than before, some start anew
        states = place["generators"][trainer.global_rank]
        (kind, words, *more), (version, integers, gauss) = states["numpy"], states["python"]
        numpy, python = (kind, words.numpy(), *more), (version, integers.tolist(), gauss)
        cuda = states["torch.cuda"][: torch.cuda.device_count()]
        _set_rng_states(states | {"numpy": numpy, "python": python, "torch.cuda": cuda})
    if not place["mid_epoch"]:
        return
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    total.started += 1  # which `prepare` has taken away
    connector._first_loop_iter = False  # or the first batch would reset what the epoch has logged so far
    for name, state in place["metrics"].items():
        vars(model.get_submodule(name)).update(move_data_to_device(state, model.device))
    for key, (meta, reduce, sync, state) in place["logged"].items():
        known = _Metadata(**meta, reduce_fx=reduce)
        known.sync = _Sync(fn=trainer.strategy.reduce, **sync)
        result = _ResultMetric(known, is_tensor="value" in state)
        vars(result).update(move_data_to_device(state, model.device))
        if "value" not in state:
            result.value = model.get_submodule(meta["metric_attribute"])
        trainer.fit_loop.epoch_loop._results[key] = result


def _batches(trainer: L.Trainer) -> list[Any]:
    """What a batch number means: with another size of batches, or number of processes, it is another place."""
    return [getattr(trainer.datamodule, "batch_size", None), trainer.world_size]  # type: ignore[attr-defined]


def _generators() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's random generators, in tensors and plain values."""
    states = _collect_rng_states()
    (kind, words, *more), (version, integers, gauss) = states["numpy"], states["python"]
    numpy, python = torch.from_numpy(words.astype("int64")), torch.tensor(integers)
    return states | {"numpy": (kind, numpy, *more), "python": (version, python, gauss)}


def _metrics(model: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    """The states of the metrics that have seen a part of an epoch."""
    for module in model.modules():
        if isinstance(module, MetricCollection):
            list(module.items())  # those that share a state get it now
    for name, metric in model.named_modules():
        if isinstance(metric, Metric) and metric.update_called:
            yield name, {key: vars(metric)[key] for key in (*metric._defaults, "_update_count")}


def _logged(result: _ResultMetric) -> tuple[Any, ...]:
    """What `self.log` has gathered for the end of the epoch."""
    meta = {key: getattr(result.meta, key) for key in LOGGED}
    sync = {"_should": result.meta.sync.should, "rank_zero_only": result.meta.sync.rank_zero_only}
    kept = (*result._defaults, "_forward_cache", "_update_count", "has_reset")
    return meta, result.meta.reduce_fx.__name__, sync, {key: vars(result)[key] for key in kept}


def starting_point(
    run: Path | None, ckpt: str | None, fitting: bool, model: Any, trainer: Any
) -> tuple[Path | None, int | None]:
    """The checkpoint that a command starts from, if any, and for a resume its step: 0 if none was saved yet.

    Raises:
        UsageError: if there is none, none is whole, or the model or the settings of the trainer do not go with it.
    """
    if run and fitting:
        path, checkpoint = newest_whole(run)
        if path:
            fit_or_refuse(path, checkpoint, model)
            check_resume(run, checkpoint, model, trainer)
        return path, checkpoint.get("global_step", 0)
    path = find_checkpoint(run, ckpt or "best") if run or ckpt else None
    if path:
        fit_or_refuse(path, load_checkpoint(path), model)
    return path, None


def check_resume(run: Path, checkpoint: dict[str, Any], model: Any, trainer: Any) -> None:
    """Refuse to go on with another recipe than before but for the learning rate, or where nothing is left to do.

    Args:
        run: the run's folder.
        checkpoint: that it would go on from.
        model: as it is now.
        trainer: the trainer's settings, as they are now.
    """
    before, now = checkpoint["hyper_parameters"], model.hparams
    for part in ("optimizer", "schedule"):
        if _without_rate(before.get(part)) != _without_rate(now.get(part)):
            only = " but for its lr" if part == "optimizer" else ""
            raise UsageError(f"a resumed run keeps its {part}{only}: leave out --model.{part}, or start a new run")
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    counts = {"epochs": (epochs, trainer["max_epochs"]), "steps": (checkpoint["global_step"], trainer["max_steps"])}
    for unit, (done, limit) in counts.items():
        if limit is None or limit < 0 or done < limit:
            continue
        if done > limit:
            raise UsageError(f"{run} has trained {done} {unit}: give a larger --trainer.max_{unit} to go on")
        if (run / "results.json").exists():
            raise NothingToDo(f"{run} has trained its {done} {unit}; --trainer.max_{unit} {2 * done} trains on")


def _without_rate(part: Any) -> Any:
    arguments = {**part.get("init_args", {}), "lr": None} if isinstance(part, dict) else None
    return {**part, "init_args": arguments} if arguments else part
