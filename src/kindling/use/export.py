"""Writes a trained model to a file that does not need Kindling, and compares the file with the model."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kindling.core.errors import UsageError, origin
from kindling.use.graph import Graph, tensors_in

OPSET = 18  # of ONNX; onnxruntime 1.32 fails on the attention of opset 23
TOLERANCE = 1e-4  # for probabilities; for numbers, relative to their size where that is over 1
CHECKED = 256  # inputs


def write(graph: Graph, path: Path) -> None:
    """Write an `.onnx` or a `.pt2`, by the suffix of `path`; a UsageError if torch can't trace the module."""
    try:
        (_write_onnx if path.suffix == ".onnx" else _write_torch)(graph, path)
    except (OSError, UsageError):
        raise
    except Exception as error:  # an exporter can fail in any way
        first = origin(error)
        reason = f"{type(first).__name__}: {' '.join(str(first).split())}"
        raise UsageError(f"the model can't be written as {path.suffix}: {reason[:300]}") from error


def _write_onnx(graph: Graph, path: Path) -> None:
    """One ONNX file, with the description as metadata."""
    with _extra():
        import onnxscript  # noqa: F401 (what torch.onnx needs)

    program: Any = torch.onnx.export(
        graph.module,
        graph.example,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=graph.names,
        output_names=graph.outputs,
        dynamic_shapes=graph.dynamic_shapes,
    )
    for node in program.model.graph.all_nodes():  # drop stack traces, which have paths of this machine
        node.metadata_props.clear()
    program.model.graph.metadata_props.clear()
    program.model.metadata_props.update(graph.description)
    program.save(path, external_data=False)


def _write_torch(graph: Graph, path: Path) -> None:
    """A torch.export program, for `torch.export.load(path).module()(inputs)`; its `metadata.json` describes it."""
    program = torch.export.export(graph.module, graph.example, dynamic_shapes=graph.dynamic_shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(graph.description)})


def check(path: Path, model: Callable[..., Any], batches: Iterable[tuple[Tensor, ...]]) -> tuple[int, float]:
    """Compare a file with the model on some inputs; returns how many, and the largest difference.

    Args:
        path: the file.
        model: gives what the file should give.
        batches: inputs; enough batches are taken for CHECKED of them.

    Raises:
        UsageError: if they differ by more than TOLERANCE, or there is no input to compare on.
    """
    run = _onnx_runner(path) if path.suffix == ".onnx" else _torch_runner(path)
    count, largest = 0, 0.0
    for batch in batches:
        if not len(batch[0]):
            continue
        with torch.no_grad():
            expected, given = tensors_in(model(*batch)), run(*batch)
        shapes = [[tuple(each.shape) for each in tensors] for tensors in (given, expected)]
        if shapes[0] != shapes[1]:
            raise UsageError(f"the exported model gives shapes {shapes[0]}, and the model {shapes[1]}")
        difference = max(map(_difference, given, expected))
        if not difference <= TOLERANCE:
            raise UsageError(f"the exported model differs from the model by {difference:.2g}: no file was written")
        count, largest = count + len(batch[0]), max(largest, difference)
        if count >= CHECKED:
            break
    if not count:
        raise UsageError("there is no input to check the exported model with: give one with --input PATH")
    return count, largest


def _difference(given: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the expected number where that is over 1."""
    given, expected = given.double(), expected.double()
    return float(((given - expected).abs() / expected.abs().clamp_min(1)).max())


def batches_like(graph: Graph, count: int = 4) -> Iterator[tuple[Tensor, ...]]:
    """A graph's example, then random inputs like it, leaving out those for which its outputs are not finite.

    Floats have the same mean and the same spread, but at least 1; whole numbers stay as they are.
    """
    yield graph.example
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        noise = tuple(_noise_like(each, generator) if each.is_floating_point() else each for each in graph.example)
        with torch.no_grad():
            outputs = graph.module(*noise)
        if all(output.isfinite().all() for output in outputs):
            yield noise


def _noise_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    spread = float(tensor.std(correction=0).clamp_min(1))
    return tensor.mean() + spread * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)


def _torch_runner(path: Path) -> Callable[..., list[Tensor]]:
    program = torch.export.load(path).module()
    return lambda *inputs: tensors_in(program(*inputs))


def _onnx_runner(path: Path) -> Callable[..., list[Tensor]]:
    with _extra():
        import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        arrays = dict(zip(names, (each.numpy() for each in inputs), strict=True))
        return [torch.as_tensor(output) for output in session.run(None, arrays)]

    return run


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UsageError(f"ONNX needs {error.name}: pip install -e '.[export]'") from error
