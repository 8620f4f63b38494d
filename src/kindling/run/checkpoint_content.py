"""What a checkpoint may hold: plain values of the expected types, no file outside its folder, a model's weights."""

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.nn.parameter import is_lazy

from kindling.core.errors import UsageError
from kindling.core.parts import path_of
from kindling.core.settings import misnamed_in

# The types of what a checkpoint holds under each name, where it holds it.
TYPES: dict[str, tuple[type, ...]] = {
    "state_dict": (dict,),
    "hyper_parameters": (dict,),
    "datamodule_hyper_parameters": (dict,),
    "preprocessing": (dict, NoneType),
    "callbacks": (dict,),
    "loops": (dict,),
    "position": (dict, NoneType),
    "optimizer_states": (list,),
    "lr_schedulers": (list,),
    "epoch": (int,),
    "global_step": (int,),
    "pytorch-lightning_version": (str,),
}
RECIPE = ("optimizer", "schedule", "_instantiator")  # hyper-parameters on which no weight depends
PLAIN = (NoneType, bool, int, float, str, Tensor)
OF_DICTS = ("callbacks", "loops", "optimizer_states")  # their parts are dicts


def wrong_in(checkpoint: dict[Any, Any]) -> str | None:
    """What is not as it should be in a checkpoint, which can come from anyone; None if all is well."""
    for name, kinds in TYPES.items():
        if name in checkpoint and not isinstance(checkpoint[name], kinds):
            return f"{name} is of type {type(checkpoint[name]).__name__}: expected {kinds[0].__name__}"
    for name in OF_DICTS:
        parts = checkpoint.get(name, ())
        for part in parts.values() if isinstance(parts, dict) else parts:
            if not isinstance(part, dict):
                return f"{name} has a part of type {type(part).__name__}: expected dict"
    for state in checkpoint.get("optimizer_states", ()):
        if not isinstance(state.get("state"), dict) or not isinstance(state.get("param_groups"), list):
            return "optimizer_states has an entry without a state and parameter groups"
    if not all(isinstance(name, str) for name in checkpoint["state_dict"]):
        return "state_dict has a key that is not a string"
    if checkpoint.get("position") and not isinstance(checkpoint.get("loops", {}).get("fit_loop"), dict):
        return "loops has no fit_loop to resume from"
    if problem := misnamed_in("model", {"init_args": checkpoint.get("hyper_parameters", {})}):
        return f"hyper_parameters can't be used: {problem}"
    for name, state in checkpoint.get("callbacks", {}).items():
        for key, path in _paths_in(state):
            if ".." in Path(path).parts or _is_elsewhere(path, state.get("dirpath")):
                return f"state of {name} names a {key} outside its folder: {path}"
    return None


def _paths_in(state: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    """The files that a callback's state names: Lightning removes those that it no longer needs."""
    for key, value in state.items():
        for path in value if key == "best_k_models" and isinstance(value, dict) else [value]:
            if isinstance(path, str) and isinstance(key, str) and (key.endswith("path") or key == "best_k_models"):
                yield key, path


def _is_elsewhere(path: str, folder: Any) -> bool:
    """Whether an address, whose place Lightning does not check, is not below such a folder."""
    return ":/" in path and not (isinstance(folder, str) and ":/" in folder and path.startswith(f"{folder}/"))


def unloadable_in(content: Any, name: str = "") -> str | None:
    """What in nested dicts and lists no checkpoint may hold, since loading it would run code; None if there is none."""
    if _can_be_loaded(content):
        return None
    parts: Any = ()
    if isinstance(content, Mapping):
        parts = content.items()
    elif isinstance(content, list | tuple):
        parts = enumerate(content)
    for key, part in parts:
        if problem := unloadable_in(part, f"{name}.{key}" if name else str(key)):
            return problem
    return f"{name} is of type {path_of(type(content))}, and a checkpoint keeps only plain values and tensors"


def _can_be_loaded(content: Any) -> bool:
    if _is_plain(content):
        return True
    empty = torch.empty(0)
    buffer = io.BytesIO()
    try:
        torch.save(apply_to_collection(content, Tensor, lambda _: empty), buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except Exception:  # foreign objects fail in any way
        return False
    return True


def _is_plain(content: Any) -> bool:
    """Whether it is made of nothing but what is known to load: a look takes 0.2 ms, where a try takes 5."""
    kind = type(content)
    if kind in (dict, OrderedDict):
        return all(map(_is_plain, content)) and all(map(_is_plain, content.values()))
    return kind in PLAIN or (kind in (list, tuple) and all(map(_is_plain, content)))


def unloadable_hyperparameters(*owners: Any) -> dict[str, str]:
    """The types of the modules' hyper-parameters that no checkpoint may hold, by name."""
    every = [item for owner in owners if owner is not None for item in owner.hparams.items()]
    return {name: path_of(type(value)) for name, value in every if unloadable_in(value, name)}


def fit_or_refuse(path: Path, checkpoint: dict[str, Any], model: Any) -> None:
    """Raise a UsageError that names the difference if a checkpoint's weights are not those of a model.

    A module that can change either while it loads is left to Lightning.
    """
    hooks = ("setup", "configure_model", "on_load_checkpoint")
    if not hasattr(model, "task") and (not model.strict_loading or any(is_overridden(hook, model) for hook in hooks)):
        return
    trained = checkpoint.get("hyper_parameters", {})
    for name in ("targets", "classes") if hasattr(model, "task") else ():
        before, now = trained.get(name), model.hparams.get(name)
        if before and now and before != now:
            here = f"{name} is {before} in the checkpoint and {now} here"
            raise UsageError(f"{path} does not fit this {type(model).__name__}: {here}")
    theirs, ours = _shapes(checkpoint["state_dict"]), _shapes(model.state_dict())
    names = [name for name in {**ours, **theirs} if ours.get(name, ()) is not None]
    different = [name for name in names if ours.get(name) != theirs.get(name)]
    if not different:
        return
    settings = [
        f"{name.replace('_class_path', 'the model')} is {trained[name]} in the checkpoint and {value} here"
        for name, value in model.hparams.items()
        if name in trained and str(trained[name]) != str(value) and name not in RECIPE
    ]
    first, *more = different
    weight = f"weight {first} is {theirs.get(first, 'absent')} in the checkpoint and {ours.get(first, 'absent')} here"
    reason = ", ".join(settings) or f"{weight} (and {len(more)} more)"
    raise UsageError(f"{path} does not fit this {type(model).__name__}: {reason}")


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...] | None]:
    """The shapes of weights; None for those that a first batch decides. Other state of a module is left out."""
    weights = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {name: None if is_lazy(weight) else tuple(weight.shape) for name, weight in weights.items()}
