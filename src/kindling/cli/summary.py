"""What is trained on what, in a few words and numbers: for the first lines of a training, and for its page."""

from collections.abc import Iterable
from typing import Any

import lightning as L

from kindling.cli.build import Parts
from kindling.core.settings import Setting, flatten
from kindling.data.base import Data
from kindling.models.base import Model
from kindling.run.record import count_parameters


def summary_of(parts: Parts, trainer: Any) -> dict[str, Any]:
    """Plain values: model and data by their names, sizes, device and precision."""
    model = parts.model
    kind = trainer.strategy.root_device.type
    return {
        "model": type(model).__name__,
        "parameters": count_parameters(model),
        "task": type(model.task).__name__ if hasattr(model, "task") else None,
        **_of_data(parts.datamodule),
        "batch_size": getattr(parts.datamodule, "batch_size", None),
        "device": kind if kind == "cpu" else f"{trainer.num_devices} × {kind}",
        "precision": trainer.described_precision,
    }


def _of_data(data: L.LightningDataModule | None) -> dict[str, Any]:
    if not isinstance(data, Data):
        return {"data": type(data).__name__ if data is not None else None}
    names = data.classes or data.targets or []
    unit = "classes" if data.classes else "target" if len(names) == 1 else "targets"
    targets = f"{len(names)} {unit}" if names else None
    if data.vocabulary and not names:
        targets = f"tokens, vocabulary of {data.vocabulary:,}"
    return {
        "data": type(data).__name__,
        "inputs": "×".join(map(str, data.input_shape)),
        "targets": targets,
        "splits": {split: len(indices) for split, indices in data.splits.items()},
    }


def in_a_line(summary: dict[str, Any]) -> str:
    """Model and data as the first line of a training has them."""
    task = f", {summary['task']}" if summary["task"] else ""
    model = f"{summary['model']} ({summary['parameters']:,} parameters{task})"
    if summary["data"] is None:
        return f"{model}, with loaders of its own"
    if "splits" not in summary:
        return f"{model} on {summary['data']}"
    targets = summary["targets"] or ""
    shown = f"→ {targets}" if targets and not targets.startswith("tokens") else targets or "without targets"
    sizes = ", ".join(f"{count:,} {split}" for split, count in summary["splits"].items())
    return f"{model} on {summary['data']} ({summary['inputs']} {shown}; {sizes})"


def notes_of(parts: Parts) -> list[str]:
    """What a user should know of the data and the model."""
    owners = [owner for owner in (parts.datamodule, parts.model) if isinstance(owner, Data | Model)]
    return [note for owner in owners for note in owner.notes]


def given(config: dict[str, Any], settings: Iterable[Setting]) -> dict[str, Any]:
    """What files and flags set, by the keys of flags and with the values of the resolved config."""
    every, found = dict(flatten(config)), {}
    for _, key, value in settings:
        key = key.removesuffix("+")  # which adds to a list
        inner = {} if isinstance(value, dict) else {each: every[each] for each in every if each.startswith(f"{key}.")}
        if key in every:
            found[key] = every[key]
        elif inner:
            found |= inner
        elif value in (None, "null"):
            found[key] = "null"
    return found
