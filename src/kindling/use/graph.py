"""What a trained model puts into a file: tensors in, tensors out, and what the file's user must know about them."""

import json
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from kindling.core.errors import UsageError
from kindling.use.predictor import Predictor

VALUES = {"uint8": "0 to 255", "float32": "as they are, not normalised", "int64": "tokens"}  # of raw inputs
SCORES = {"numeric targets": "numbers"}  # what the scores are, by what the task fits
SCORES["tokens to come"] = "logits of the token after each position"
SCORES["inputs alone"] = "latent vector, then the error of the reconstruction"
SCORES |= dict.fromkeys(("one class a sample", "several classes a sample", "one class a pixel"), "probabilities")


@dataclass
class Graph:
    """What is written to the file.

    Args:
        module: takes and gives tensors, by `forward(*inputs)`; on the CPU, in evaluation mode.
        example: inputs to trace it with, batches of two or more.
        names: the inputs' names.
        outputs: the output's name, if there is just one.
        any_batch: whether the file takes batches of any size, or only of the example's size.
        description: what somebody who has only the file must know, as text; it becomes the file's metadata.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    names: list[str]
    outputs: list[str] | None
    any_batch: bool
    description: dict[str, str]

    @property
    def dynamic_shapes(self) -> Any:
        return _any_batch(self.example) if self.any_batch else None


def graph_of_predictor(predictor: Predictor) -> Graph:
    """Raw inputs → scores, for any batch.

    Raises:
        UsageError: if the model's task doesn't say what the scores of such outputs are.
    """
    task, model = predictor.model.task, type(predictor.model).__name__
    if not task.declares("scores"):
        raise UsageError(
            f"nothing says what the outputs of {model} mean: define scores in its task {type(task).__name__}"
        )
    preprocessing = predictor.preprocessing
    if preprocessing.further_inputs:
        raise UsageError(
            f"{model} takes {1 + preprocessing.further_inputs} inputs per sample, and export can write only one"
        )
    raw = torch.zeros(2, *preprocessing.shape, dtype=getattr(torch, preprocessing.dtype))
    example = predictor.with_lengths(raw)
    scores = predictor.scores(*example, exported=True)  # raises its UsageError here, which an exporter would wrap
    if not isinstance(scores, Tensor):
        raise UsageError(
            f"{type(task).__name__}.scores gives {type(scores).__name__}: an exported file gives one tensor"
        )
    return Graph(
        module=predictor.exported_pipeline.float(),
        example=example,
        names=["inputs", "lengths"][: len(example)],
        outputs=["scores"],
        any_batch=True,
        description=_describe(predictor),
    )


def _describe(predictor: Predictor) -> dict[str, str]:
    preprocessing, task = predictor.preprocessing, predictor.model.task
    is_bounded = preprocessing.dtype == "float32" and preprocessing.bounded
    values = "0 to 1" if is_bounded else VALUES[preprocessing.dtype]
    name = type(task).__name__
    description = {
        "inputs": f"{preprocessing.dtype} {_shape('batch', *preprocessing.shape)}, {values}",
        "scores": SCORES.get(task.fits, f"what {name}.scores gives"),
        "task": name,
        "names": json.dumps(predictor.names, ensure_ascii=False),
    }
    if preprocessing.lengths:
        description["lengths"] = "int64 (batch), steps that are not padding, at least 1"
    if preprocessing.tokens:
        description["tokens"] = preprocessing.tokens
    if preprocessing.columns:
        description["columns"] = json.dumps(preprocessing.columns, ensure_ascii=False)
    return description


class Forward(nn.Module):
    """The forward of any module, with its outputs as one tuple; `names` are its arguments, if it is called by name."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(**dict(zip(self.names, inputs, strict=True))) if self.names else self.module(*inputs)
        return tuple(tensors_in(outputs))


def graph_of_forward(module: L.LightningModule) -> Graph:
    """Inputs → outputs as the module's forward takes and gives them, for batches like its `example_input_array`.

    Raises:
        UsageError: if it has no such example or no forward, or they are not made of tensors.
    """
    name, example = type(module).__name__, module.example_input_array
    if not is_overridden("forward", module):
        raise UsageError(f"{name} has no forward: there is nothing to export")
    if example is None:
        raise UsageError(f"{name} has no example_input_array: set it in the module to a batch that forward takes")
    arguments = list(example) if isinstance(example, dict) else []
    inputs = tuple(tensors_in(example))
    forward = Forward(module, arguments).eval()
    with torch.no_grad():
        count = len(forward(*inputs))
    twice = tuple(torch.cat([each, each]) if each.dim() else each for each in inputs)
    any_batch = _takes_any_batch(forward, twice)
    description = {
        f"inputs {arguments[index] if arguments else index}": f"{str(each.dtype).removeprefix('torch.')} "
        f"{_shape('batch' if any_batch else each.shape[0], *each.shape[1:])}"
        for index, each in enumerate(inputs)
    }
    description["outputs"] = f"{count}, as {name}.forward gives them"
    return Graph(
        module=forward,
        example=twice if any_batch else inputs,
        names=arguments or [f"input_{index}" for index in range(len(inputs))],
        outputs=["outputs"] if count == 1 else None,
        any_batch=any_batch,
        description=description,
    )


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order; a UsageError if there is anything else."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        raise UsageError(f"an exported file takes and gives only tensors, but here is a {type(value).__name__}")
    return [tensor for each in value for tensor in tensors_in(each)]


def _takes_any_batch(module: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """Whether the first dimension of all inputs is the batch's, and may have any size."""
    if not all(each.dim() and len(each) == len(example[0]) for each in example):
        return False
    try:
        torch.export.export(module, example, dynamic_shapes=_any_batch(example))
    except Exception:  # a module that is bound to one size can fail in any way
        return False
    return True


def _any_batch(example: tuple[Tensor, ...]) -> Any:
    """In torch.export's terms: a first dimension of any size, for each of `*inputs`."""
    return (tuple({0: torch.export.Dim("batch")} for _ in example),)


def _shape(*sizes: Any) -> str:
    return f"({', '.join(map(str, sizes))})"
