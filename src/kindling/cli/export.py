"""`kindling export --run RUN --format onnx`: write a model with its preprocessing to a file that doesn't need Kindling.

For a module that is not a Model: its forward, as it is, traced with its `example_input_array`.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from kindling.cli.arguments import parse_options, run_options
from kindling.cli.outputs import written_whole
from kindling.core.errors import UsageError
from kindling.core.tables import print_plain

if TYPE_CHECKING:  # they take seconds to import
    from kindling.cli.trained import Trained
    from kindling.use.graph import Graph
    from kindling.use.input_batches import InputBatches
    from kindling.use.predictor import Predictor

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def option_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kindling export", description=__doc__)
    parser.add_argument("--format", choices=[*SUFFIXES], default="onnx", help="onnx, or torch for torch.export")
    run_options(parser, "the run's own test split, to check the file on")
    return parser


def main(argv: list[str]) -> None:
    options = parse_options(option_parser(), argv)
    from kindling.cli.trained import Trained
    from kindling.use.export import OPSET, check, write

    trained, suffix = Trained(options), SUFFIXES[options.format]
    output = options.output or trained.folder("export") / f"model{suffix}"
    if output.suffix != suffix:
        raise UsageError(f"--output is {output}: a file in the format {options.format} ends in {suffix}")
    with catch_warnings():
        simplefilter("ignore")
        graph, model, batches = _of_module(trained) if trained.is_foreign else _of_model(trained, options)
        with written_whole(output) as part:
            write(graph, part)
            count, difference = check(part, model, batches)
    written = f"ONNX, opset {OPSET}" if suffix == ".onnx" else "torch.export"
    print(f"{output}: {written}, {output.stat().st_size / 1e6:,.1f} MB")
    for name, value in graph.description.items():
        print_plain(f"  {name}: {value if len(value) < 100 else f'{value[:100]} …'}")
    print(f"largest difference from the model, on {count:,} inputs: {difference:.1g}")


Exported = tuple["Graph", Callable[..., Any], Iterator[tuple[Any, ...]]]  # the graph, the model, inputs to compare on


def _of_model(trained: "Trained", options: argparse.Namespace) -> Exported:
    """Raw inputs → scores, to be checked on `--input`, or on the run's test split."""
    from kindling.use.graph import graph_of_predictor

    predictor = trained.predictor("cpu")
    inputs = trained.inputs(predictor, options.input, 64)
    scores = partial(predictor.scores, exported=True)
    return graph_of_predictor(predictor), scores, _raw_batches(predictor, inputs)


def _raw_batches(predictor: "Predictor", inputs: "InputBatches") -> Iterator[tuple[Any, ...]]:
    """Batches of the type that the file takes: only bytes, where the training saw bytes."""
    for batch in inputs.batches:
        raw, *others = batch.tensors
        if raw.is_floating_point() and predictor.preprocessing.dtype == "uint8":
            raw = (raw * 255).round().byte()
        yield raw, *others


def _of_module(trained: "Trained") -> Exported:
    """Inputs → outputs of the module's forward, to be checked on its example and on similar noise."""
    from kindling.use.export import batches_like
    from kindling.use.graph import graph_of_forward
    from kindling.use.rebuild import load_weights

    module = trained.parts.model
    load_weights(module, trained.file, trained.checkpoint)
    module.cpu().float()
    graph = graph_of_forward(module)
    return graph, graph.module, batches_like(graph)
