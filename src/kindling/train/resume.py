"""Resumes a training where it was: what Lightning's checkpoints lack, and what its loops get wrong on a restart.

A checkpoint to resume from is taken before a batch or at the end of an epoch. Its `position` holds what Lightning
leaves out: the random generators, the metrics of a part of an epoch, the states of loaders, and the size of the
batches. `prepare` changes a checkpoint before Lightning restores it, and `restore` changes the training after that.
The loaders find their place by Lightning's counters: see kindling.train.loaders.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.utilities.apply_func import move_data_to_device

from kindling.core.errors import NothingToDo, UsageError
from kindling.data.position import generator_states, set_generator_states
from kindling.run.checkpoint_content import fit_or_refuse
from kindling.run.checkpoint_files import newest_whole
from kindling.train.learning_rates import groups_of
from kindling.train.loaders import Loaders
from kindling.train.messages import warn
from kindling.train.unfinished_epoch import count_on, gather_on, gathered

SHOWN = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")  # the metrics last seen


def position(trainer: L.Trainer, mid_epoch: bool) -> dict[str, Any]:
    """What a checkpoint keeps besides Lightning's content; all processes call this at once.

    Args:
        trainer: the trainer before a batch, with no gradient accumulated by Lightning, or at the end of an epoch.
        mid_epoch: whether it is before a batch.
    """
    loaders = loaders_of(trainer)
    return {
        "mid_epoch": mid_epoch,
        "batches": loaders.layout(),
        "processes": _from_all_processes(trainer, _of_this_process(trainer, loaders)),
        "shown": {name: _as_numbers(getattr(trainer._logger_connector, name)) for name in SHOWN},
        "validated": dict(trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader),
    }


def _as_numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics as numbers, each with its type: saving a tensor takes torch 20 µs, saving a number 1."""
    return {
        name: [value.item(), str(value.dtype).removeprefix("torch.")] if _is_number(value) else value
        for name, value in metrics.items()
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 0


def _as_tensors(metrics: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The metrics that `_as_numbers` was given; older checkpoints hold them as tensors."""
    tensors = {
        name: torch.tensor(value[0], dtype=getattr(torch, value[1])) if isinstance(value, list) else value
        for name, value in metrics.items()
    }
    return move_data_to_device(tensors, device)


def _of_this_process(trainer: L.Trainer, loaders: Loaders) -> dict[str, Any]:
    return {
        "generators": generator_states(),
        "loaders": loaders.states(),
        "gradients": _gradients(trainer.lightning_module),
        **gathered(trainer),
    }


def _gradients(model: L.LightningModule) -> dict[str, Any]:
    """The gradients that manual optimisation may be accumulating; with automatic, all have been applied by now."""
    if model.automatic_optimization:
        return {}
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def _from_all_processes(trainer: L.Trainer, own: dict[str, Any]) -> list[Any]:
    if trainer.world_size == 1:
        return [own]
    processes: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(processes, move_data_to_device(own, "cpu"))
    return processes


def prepare(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Correct what a checkpoint says of Lightning's loops before they are restored, so that nothing is off by one."""
    place, loops = checkpoint["position"], checkpoint["loops"]["fit_loop"]
    own = _kept_by(trainer.global_rank, place)
    loaders_of(trainer).saved = list(own["loaders"]) if own else []
    _let_a_finished_epoch_be_finished(trainer)
    if place["mid_epoch"]:
        _forget_the_batch_that_was_drawn(loops)
        _hide_where_it_was_cut_off(loops)
    else:
        _count_the_epoch_as_completed(loops)


def restore(trainer: L.Trainer, place: dict[str, Any]) -> None:
    """Bring back what `position` kept; the random generators come last, just before the training goes on."""
    loaders, own = loaders_of(trainer), _kept_by(trainer.global_rank, place)
    for name in SHOWN:
        shown = _as_tensors(place["shown"][name], trainer.lightning_module.device)
        getattr(trainer._logger_connector, name).update(shown)
    trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader.update(place.get("validated", {}))
    if own and not place["mid_epoch"]:
        count_on(trainer.lightning_module, own)
    if place["mid_epoch"]:
        _show_where_it_was_cut_off(trainer)
        if own and place["batches"] == loaders.layout():
            gather_on(trainer, own)
        else:
            _start_the_epoch_over(trainer, place["batches"], loaders.layout())
    loaders.start_again_if_too_early()
    if own:  # with more processes than before, some start anew
        _set_gradients(trainer.lightning_module, own["gradients"])
        _after_the_start(trainer, lambda: set_generator_states(own["generators"]))


def _after_the_start(trainer: L.Trainer, action: Callable[[], None]) -> None:
    """Do something after the model's start hooks, which may draw random numbers, as they did when the training began.

    The strategy's hook is the last of them that Lightning calls.
    """
    strategy, start = trainer.strategy, trainer.strategy.on_train_start

    def on_train_start() -> None:
        del strategy.on_train_start
        start()
        action()

    strategy.on_train_start = on_train_start  # type: ignore[method-assign]


def loaders_of(trainer: L.Trainer) -> Loaders:
    """The Loaders of a kindling.Trainer; Lightning's Trainer, which has none, is given some."""
    if not hasattr(trainer, "loaders"):
        trainer.loaders = Loaders(trainer)  # type: ignore[attr-defined]
    return trainer.loaders  # type: ignore[attr-defined]


def _kept_by(rank: int, place: dict[str, Any]) -> dict[str, Any] | None:
    """What a process has kept; None if there were fewer processes. Older checkpoints keep one's metrics for all."""
    if "processes" in place:
        return place["processes"][rank] if rank < len(place["processes"]) else None
    if rank >= len(place["generators"]):
        return None
    shared = {name: place[name] for name in ("metrics", "logged")}
    return {"generators": place["generators"][rank], "loaders": [], "gradients": {}, **shared}


def _set_gradients(model: L.LightningModule, gradients: dict[str, Any]) -> None:
    for name, gradient in gradients.items():
        model.get_parameter(name).grad = gradient.to(model.device)


def _let_a_finished_epoch_be_finished(trainer: L.Trainer) -> None:
    """With `max_steps`, Lightning goes on with an epoch that is over (its issue 19617)."""
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def _forget_the_batch_that_was_drawn(loops: dict[str, Any]) -> None:
    """A checkpoint before a batch finds it already drawn and counted, and an epoch's last batch marked as the last."""
    batches = loops["epoch_loop.batch_progress"]
    for counts in (batches["total"], batches["current"]):
        counts.update(dict.fromkeys(counts, counts["completed"]))
    batches["is_last_batch"] = False


def _count_the_epoch_as_completed(loops: dict[str, Any]) -> None:
    """A checkpoint at the end of an epoch is taken in its last hook, after which Lightning counts the epoch."""
    for counts in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
        counts["completed"] = counts["processed"]


def _hide_where_it_was_cut_off(loops: dict[str, Any]) -> None:
    """Lightning guesses this from its counters, and skips or repeats something in each case that it recognises.

    See its issue 14579. In a case that it does not recognise it does neither, but counts one step too many.
    """
    loops["epoch_loop.batch_progress"]["total"]["started"] -= 1
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def _show_where_it_was_cut_off(trainer: L.Trainer) -> None:
    """Undo `_hide_where_it_was_cut_off`: Lightning has made its guess by now."""
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    total.started += 1


def _start_the_epoch_over(trainer: L.Trainer, before: list[Any], now: list[Any]) -> None:
    """With another batch size or number of processes, a batch's number means another place in the epoch."""
    fit_loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    for counts in (fit_loop.epoch_progress.total, fit_loop.epoch_progress.current):
        counts.ready = counts.started = counts.processed  # type: ignore[attr-defined]
    epoch_loop.batch_progress.reset_on_run()
    epoch_loop._batches_that_stepped += 1  # Lightning adds it only to an epoch that goes on
    fit_loop.restarting = False
    for loop in (fit_loop, epoch_loop):
        loop.reset_restart_stage()
    change = f"it had {_in_words(before)}, and now has {_in_words(now)}"
    warn(trainer, f"epoch {trainer.current_epoch + 1} starts over: {change}")


def _in_words(layout: list[Any]) -> str:
    """The size of the batches, if it is known, and the number of processes."""
    size, processes = layout
    of_size = "" if size is None else f" of {size}"
    return f"batches{of_size} on {processes} process{'es' * (processes > 1)}"


def resume_point(run: Path, model: Any, trainer: Any) -> tuple[Path | None, int]:
    """The checkpoint that a training goes on from, and the step that its loggers go on from.

    None and 0 if no checkpoint has been saved yet.

    Args:
        run: the run's folder.
        model: the model as it is now.
        trainer: the trainer's settings as they are now.

    Raises:
        UsageError: if no checkpoint is whole, or the model or the settings do not match it.
    """
    path, checkpoint = newest_whole(run)
    if path:
        fit_or_refuse(path, checkpoint, model)
        check_resume(run, checkpoint, model, trainer)
    return path, _logged_step(checkpoint)


def _logged_step(checkpoint: dict[str, Any]) -> int:
    """The step of a checkpoint as loggers count it: in batches, each of which may be steps of several optimisers."""
    epoch_loop = _fit_loop_of(checkpoint).get("epoch_loop.state_dict", {})
    return epoch_loop.get("_batches_that_stepped", checkpoint.get("global_step", 0))


def _fit_loop_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint.get("loops", {}).get("fit_loop", {})


def check_resume(run: Path, checkpoint: dict[str, Any], model: Any, trainer: Any) -> None:
    """Refuse to go on with a recipe that differs in more than learning rates, or where nothing is left to do.

    Args:
        run: the run's folder.
        checkpoint: the one that it would go on from.
        model: the model as it is now.
        trainer: the trainer's settings as they are now.
    """
    before, now = checkpoint.get("hyper_parameters", {}), model.hparams
    for part in ("optimizer", "schedule"):
        if part in before and _without_rate(before[part]) != _without_rate(now.get(part)):
            only = " except for its lr" if part == "optimizer" else ""
            raise UsageError(f"a resumed run keeps its {part}{only}: leave out --model.{part}, or start a new run")
    if _without_rates(groups_of(before)) != _without_rates(groups_of(now)):
        raise UsageError(
            "a resumed run keeps its groups except for their lr: leave out --model.groups, or start a new run"
        )
    progress = _fit_loop_of(checkpoint).get("epoch_progress")
    epochs = progress["current"]["processed"] if progress else checkpoint.get("epoch", 0)
    steps = checkpoint.get("global_step", 0)
    counts = {"epochs": (epochs, trainer["max_epochs"]), "steps": (steps, trainer["max_steps"])}
    for unit, (done, limit) in counts.items():
        if limit is None or limit < 0 or done < limit:
            continue
        trained = f"{done} {unit if done != 1 else unit.removesuffix('s')}"
        if done > limit:
            raise UsageError(f"{run} has trained {trained}: give a larger --trainer.max_{unit} to go on")
        if (run / "results.json").exists():
            raise NothingToDo(f"{run} has trained its {trained}; --trainer.max_{unit} {2 * done} trains on")


def _without_rate(part: Any) -> Any:
    arguments = {**part.get("init_args", {}), "lr": None} if isinstance(part, dict) else None
    return {**part, "init_args": arguments} if arguments else part


def _without_rates(groups: dict[Any, dict[str, Any]]) -> list[Any]:
    """Patterns, whose order counts, and options."""
    return [(pattern, {**options, "lr": None}) for pattern, options in groups.items()]
