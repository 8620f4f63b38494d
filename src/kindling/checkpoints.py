"""Reads a checkpoint before anything trusts it."""

import pickle
import re
from pathlib import Path
from typing import Any

import lightning as L
import torch

from kindling.runs import UsageError


def check(path: Path, model: L.LightningModule) -> dict[str, Any]:
    """Load a checkpoint of tensors and plain values, and see that its weights fit the model.

    Raises:
        UsageError: if the file is damaged, holds anything but tensors and plain values, or does not fit.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("GLOBAL|Unsupported (global|class)|unrecognized function", str(error)):
            raise UsageError(
                f"{path} is refused and nothing in it was run: it holds code or objects besides weights"
            ) from error
        raise UsageError(
            f"{path} is not a checkpoint, or it is damaged: validate and test take another with --ckpt"
        ) from error
    except Exception as error:  # damaged bytes can make the reader fail in any way
        raise UsageError(
            f"{path} is damaged (truncated or corrupted): validate and test take another with --ckpt"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UsageError(f"{path} is not a Lightning checkpoint: it has no state_dict")
    _check_fit(path, checkpoint, model)
    return checkpoint


def _check_fit(path: Path, checkpoint: dict[str, Any], model: L.LightningModule) -> None:
    theirs = {name: tuple(weight.shape) for name, weight in checkpoint["state_dict"].items()}
    ours = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if theirs == ours:
        return
    trained = checkpoint.get("hyper_parameters", {})
    settings = [
        f"{name} is {trained[name]} in the checkpoint and {value} here"
        for name, value in model.hparams.items()
        if name in trained and trained[name] != value and name not in ("optimizer", "schedule", "_instantiator")
    ]
    weights = [
        f"weight {name} is {theirs.get(name, 'absent')} in the checkpoint and {ours.get(name, 'absent')} here"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    reason = ", ".join(settings) or f"{weights[0]} (and {len(weights) - 1} more)"
    raise UsageError(f"{path} does not fit this {type(model).__name__}: {reason.replace('_class_path', 'the model')}")
