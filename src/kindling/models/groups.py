"""Parameters by name: options of an optimiser for some of them, `--model.groups "{head: {lr: 1e-2}}"`.

A pattern is a regular expression for a whole dotted name. It fits a parameter if it matches the parameter's name or
that of a module around it: `head` means the module `head` and all below it, `.*norm.*` all with norm in a name. If
several patterns fit, the first wins.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

PATTERN = "pattern"  # in an optimiser's group: the one that its parameters fit
MOST_NAMES = 20  # of modules that an error lists, at most


def fits(pattern: str, name: str) -> bool:
    """Whether a pattern matches this dotted name, or that of a module above it."""
    words = name.split(".")
    return any(re.fullmatch(pattern, ".".join(words[:count])) for count in range(1, len(words) + 1))


def names_by_pattern(module: nn.Module, patterns: Iterable[str], setting: str) -> dict[str | None, list[str]]:
    """The names of a module's parameters by the first pattern that fits each; None for those that none fits.

    Args:
        module: the one whose parameters are meant.
        patterns: in the order in which they are tried.
        setting: what an error calls them.

    Raises:
        ValueError: if a pattern is not a regular expression, or no parameter is left for it.
    """
    found: dict[str | None, list[str]] = {pattern: [] for pattern in (None, *patterns)}
    for pattern in filter(None, found):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{setting} is wrong: {pattern!r} is not a regular expression ({error})") from None
    names = [name for name, _ in module.named_parameters()]
    for name in names:
        found[next((pattern for pattern in filter(None, found) if fits(pattern, name)), None)].append(name)
    for pattern in filter(None, found):
        if found[pattern]:
            continue
        if any(fits(pattern, name) for name in names):
            raise ValueError(f"{setting} is wrong: all that {pattern!r} fits is taken by the patterns before it")
        raise ValueError(f"{setting} is wrong: {pattern!r} fits no parameter; the modules are {_modules(names)}")
    return found


def _modules(names: list[str]) -> str:
    """The modules that hold parameters, from the top down, as many as there is room for."""
    words = [name.split(".")[:-1] for name in names]
    paths = dict.fromkeys(".".join(each[:count]) for each in words for count in range(1, len(each) + 1))
    from_top = sorted(paths, key=lambda path: path.count("."))
    more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
    return ", ".join(from_top[:MOST_NAMES]) + more


def parameter_groups(module: nn.Module, options: dict[str, dict[str, Any]], decay: str) -> list[dict[str, Any]]:
    """Groups for an optimiser: those that no pattern fits come first.

    Args:
        module: the one whose parameters they are.
        options: of the optimiser, by pattern.
        decay: all, or weights to exempt biases and norms from weight decay unless a pattern's options give them one.

    Raises:
        ValueError: if a pattern fits nothing.
    """
    parameters = dict(module.named_parameters())
    groups = []
    for pattern, names in names_by_pattern(module, options, "groups").items():
        own = {PATTERN: pattern, **options[pattern]} if pattern else {}
        chosen = [parameters[name] for name in names]
        if decay == "all":
            groups.append({"params": chosen, **own})
            continue
        groups.append({"params": [each for each in chosen if each.dim() > 1], **own})
        groups.append({"params": [each for each in chosen if each.dim() <= 1], "weight_decay": 0.0, **own})
    return [group for group in groups if group["params"]] if options else groups


def try_groups(optimizer: Any, schedule: Any, options: dict[str, dict[str, Any]]) -> None:
    """Build a recipe once with the options of each group, so that wrong ones are refused when the model is built.

    Raises:
        ValueError: if the optimiser does not have an option or refuses its value, or the schedule ignores a rate.
    """
    for pattern, own in options.items():
        usual = optimizer([_weight()])
        refused = f"groups is {{{pattern}: {own}}}: {type(usual).__name__}"
        if unknown := own.keys() - usual.defaults.keys():
            known = ", ".join(sorted(usual.defaults))
            raise ValueError(f"{refused} has no option {min(map(str, unknown))}: it has {known}")
        try:
            type(usual)([_weight()], **own)
            both = optimizer([{"params": [_weight()]}, {"params": [_weight()], **own}])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{refused} refuses it: {error}") from None
        before = _rates(both)
        made = schedule(both)
        after = _rates(both)
        if before[0] != before[1] and after[0] == after[1] > 0:
            raise ValueError(f"{refused} gets one learning rate for all from {type(made).__name__}: leave out lr here")


def _weight() -> nn.Parameter:
    return nn.Parameter(torch.zeros(1, 1))


def _rates(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]
