"""Lets a training go on with learning rates other than those in its checkpoint."""

from typing import Any

import lightning as L

from kindling.models.groups import PATTERN


def change_learning_rate(checkpoint: dict[str, Any], model: L.LightningModule) -> None:
    """Scale the learning rates in a checkpoint to the model's present ones, if it was trained with others."""
    before, now = checkpoint.get("hyper_parameters", {}), model.hparams
    usual = _change(before, now)
    states = checkpoint.get("optimizer_states", [])
    factors = [_change(before, now, group.get(PATTERN)) for state in states for group in state["param_groups"]]
    if {usual, *factors} == {1.0}:
        return
    for group, factor in zip((group for state in states for group in state["param_groups"]), factors, strict=True):
        _scale(group, ("lr", "initial_lr"), [factor])
    for state in checkpoint.get("lr_schedulers", []):
        if "max_lrs" not in state:  # such a schedule has rates of its own
            _scale(state, ("base_lrs", "_last_lr"), factors if len(states) == 1 else [usual])


def _change(before: Any, now: Any, pattern: str | None = None) -> float:
    """How many times as large a learning rate is now, by two sets of hyper-parameters; 1 if either doesn't say."""
    old, new = _learning_rate(before, pattern), _learning_rate(now, pattern)
    return new / old if old and new else 1.0


def _scale(state: dict[str, Any], names: tuple[str, ...], factors: list[float]) -> None:
    """Multiply rates by the factors of their groups, or by a single one for all."""
    for name in state.keys() & names:
        rates = state[name]
        if not isinstance(rates, list):
            state[name] = rates * factors[0]
            continue
        of_groups = factors if len(factors) == len(rates) else factors[:1] * len(rates)
        state[name] = [rate * factor for rate, factor in zip(rates, of_groups, strict=True)]


def _learning_rate(hparams: Any, pattern: str | None = None) -> float | None:
    """The learning rate among hyper-parameters: a group's, the optimiser's, or one under a name Lightning knows."""
    own = groups_of(hparams).get(pattern, {}).get("lr")
    if own is not None:
        return own
    optimizer = hparams.get("optimizer")
    owner = optimizer.get("init_args") or {} if isinstance(optimizer, dict) else hparams
    rates = [owner.get(name) for name in ("lr", "learning_rate")]
    return next((rate for rate in rates if isinstance(rate, float | int)), None)


def groups_of(hparams: Any) -> dict[Any, dict[str, Any]]:
    """The optimiser's options by pattern, among the hyper-parameters of a Model; none for any other module."""
    groups = hparams.get("groups")
    is_ours = isinstance(groups, dict) and all(isinstance(options, dict) for options in groups.values())
    return groups if is_ours else {}
