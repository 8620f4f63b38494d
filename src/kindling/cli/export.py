"""`kindling export --run RUN --format onnx`: a model with its preprocessing in a file that needs no Kindling."""

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from kindling.cli.arguments import parse_options, run_options
from kindling.cli.predict import open_inputs
from kindling.core.errors import UsageError
from kindling.core.files import whole_file

OPSET = 18  # of ONNX; onnxruntime 1.32 fails on the attention of 23
TOLERANCE = 1e-4  # of probabilities; of numbers, relative to their size where that is over 1
CHECKED = 256  # inputs


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("kindling export", description=__doc__)
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="onnx, or torch for torch.export")
    run_options(parser, "the run's own test split, to check the file on")
    options = parse_options(parser, argv)
    options.device = "cpu"
    predictor, run, (_, chunks) = open_inputs(options, 64)
    suffix = ".onnx" if options.format == "onnx" else ".pt2"
    output = options.output or (run / "export" if run else Path()) / f"model{suffix}"
    if output.suffix != suffix:
        raise UsageError(f"--output is {output}: a file of the format {options.format} ends in {suffix}")
    with whole_file(output) as part, catch_warnings():
        simplefilter("ignore")
        (write_onnx if options.format == "onnx" else write_torch)(predictor, part)
        count, difference = check(predictor, part, chunks)
    opset = f"ONNX, opset {OPSET}" if suffix == ".onnx" else "torch.export"
    print(f"{output}: {opset}, {output.stat().st_size / 1e6:,.1f} MB")
    for name, value in describe(predictor).items():
        print(f"  {name}: {value if len(value) < 100 else f'{value[:100]} …'}")
    print(f"the largest difference to the model, on {count:,} inputs: {difference:.1g}")


def example(predictor: Any) -> tuple[Any, ...]:
    """Two empty inputs as the graph takes them; of one alone the exporters would make a fixed batch."""
    import torch

    known = predictor.preprocessing
    raw = torch.zeros(2, *known.shape, dtype=getattr(torch, known.dtype))
    return (raw, torch.full((2,), known.shape[0])) if known.lengths else (raw,)


def describe(predictor: Any) -> dict[str, str]:
    """What somebody who has only the file must know, as text; it is the file's metadata."""
    known = predictor.preprocessing
    values = {"uint8": "0 to 255", "float32": "as they are, not normalised", "int64": "tokens"}[known.dtype]
    bounded = known.dtype == "float32" and known.bounded
    found = {
        "inputs": f"{known.dtype} {('batch', *known.shape)}, {'0 to 1' if bounded else values}".replace("'", ""),
        "scores": "probabilities" if predictor.model.hparams.get("classes") else "numbers",
        "task": type(predictor.model.task).__name__,
        "names": json.dumps(predictor.names, ensure_ascii=False),
    }
    if known.lengths:
        found["lengths"] = "int64 (batch), steps that are not padding, at least 1"
    return found | ({"columns": json.dumps(known.columns, ensure_ascii=False)} if known.columns else {})


def write_onnx(predictor: Any, path: Path) -> None:
    """One ONNX file: raw inputs and lengths → scores, for any batch, with `describe` as metadata."""
    import torch

    with _extra():
        import onnxscript  # noqa: F401 (what torch.onnx needs)

    inputs = example(predictor)
    program: Any = torch.onnx.export(
        predictor.pipeline.float(),
        inputs,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["inputs", "lengths"][: len(inputs)],
        output_names=["scores"],
        dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in inputs),
    )
    for node in program.model.graph.all_nodes():  # stack traces, with the paths of this machine
        node.metadata_props.clear()
    program.model.graph.metadata_props.clear()
    program.model.metadata_props.update(describe(predictor))
    program.save(path, external_data=False)


def write_torch(predictor: Any, path: Path) -> None:
    """A program of torch.export: `torch.export.load(path).module()(inputs)`; `metadata.json` in it is `describe`."""
    import torch

    inputs = example(predictor)
    shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    program = torch.export.export(predictor.pipeline.float(), inputs, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(describe(predictor))})


def check(predictor: Any, path: Path, chunks: Iterable[Any]) -> tuple[int, float]:
    """Compare the file with the model on real inputs: how many, and the largest difference.

    Raises:
        UsageError: if they differ by more than TOLERANCE, or there is no input to compare on.
    """
    import torch

    run = _onnx_runner(path) if path.suffix == ".onnx" else torch.export.load(path).module()
    count, largest = 0, 0.0
    for chunk in chunks:
        if not len(chunk.raw):
            continue
        raw = chunk.raw
        if raw.is_floating_point() and predictor.preprocessing.dtype == "uint8":  # the graph takes nothing else
            raw = (raw * 255).round().byte()
        expected = predictor.scores(raw, chunk.lengths)
        with torch.no_grad():
            found = torch.as_tensor(run(*predictor.graph_inputs(raw, chunk.lengths)))
        if found.shape != expected.shape:
            raise UsageError(f"the exported model gives {tuple(found.shape)}, and the model {tuple(expected.shape)}")
        worst = float(((found - expected).abs() / expected.abs().clamp_min(1)).max())
        if not worst <= TOLERANCE:
            raise UsageError(f"the exported model differs from the model by {worst:.2g}: no file was written")
        count, largest = count + len(expected), max(largest, worst)
        if count >= CHECKED:
            break
    if not count:
        raise UsageError("there is no input to check the exported model on: give one with --input PATH")
    return count, largest


def _onnx_runner(path: Path) -> Any:
    with _extra():
        import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, (each.numpy() for each in inputs), strict=True)))[0]


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UsageError(f"ONNX needs {error.name}: pip install -e '.[export]'") from error
