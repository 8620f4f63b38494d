"""`kindling predict --run RUN --input PATH`: what a trained model makes of new inputs, as a CSV."""

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kindling.cli.arguments import parse_options, run_options
from kindling.core.errors import UsageError
from kindling.core.files import whole_file


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("kindling predict", description=__doc__)
    run_options(parser, "the run's own test split")
    parser.add_argument("--batch_size", type=int, default=256, help="samples that are computed at once (256)")
    parser.add_argument("--device", help="such as cpu or cuda (a GPU where there is one)")
    options = parse_options(parser, argv)
    if options.batch_size < 1:
        raise UsageError(f"--batch_size is {options.batch_size}: expected a positive integer")
    predictor, run, (total, chunks) = open_inputs(options, options.batch_size)
    output = options.output or (run / "predict" if run else Path()) / "predictions.csv"
    if options.input and output.resolve() == options.input.resolve():
        raise UsageError(f"--output is {output}, which is the input: choose another file")
    write(output, predictor, chunks, total and -(-total // options.batch_size))


def open_inputs(options: argparse.Namespace, size: int) -> tuple[Any, Path | None, Any]:
    """The model that `--run` or `--ckpt` names, its run, and the inputs to read.

    Raises:
        UsageError: if one of them is not there, or they don't go together.
    """
    if not options.run and options.ckpt in (None, "best", "last"):
        raise UsageError("needs --run RUN (a folder or latest), or --ckpt PATH and --input PATH")
    from kindling.run.folder import find_checkpoint, find_run
    from kindling.use.inputs import open_source
    from kindling.use.predictor import load  # takes seconds to import

    run = find_run(options.run) if options.run else None
    path = find_checkpoint(run, options.ckpt or "best")
    try:
        predictor = load(path, device=options.device)
    except RuntimeError as error:  # there is no such device
        raise UsageError(f"--device is {options.device}, which can't be used here: leave it out, or say cpu") from error
    if options.input:
        return predictor, run, open_source(options.input, predictor, size)
    if run:
        return predictor, run, open_test_split(run, predictor, size)
    raise UsageError("needs --input PATH: a checkpoint alone has no test split")


def open_test_split(run: Path, predictor: Any, size: int) -> Any:
    """The test split of a run, as `sources.open_source` gives a path; a UsageError if the data is not there now."""
    import yaml
    from lightning.pytorch.cli import instantiate_module

    from kindling.core.errors import origin
    from kindling.data.base import Data
    from kindling.use.inputs import Chunk

    config = yaml.safe_load((run / "config.yaml").read_text())["data"]
    saved = {"split_file": str(run / "splits.npz")} if (run / "splits.npz").is_file() else {}
    try:
        data = instantiate_module(Data, {"_class_path": config["class_path"], **config["init_args"], **saved})
        inputs, *lengths, targets = data.samples
        test = data.splits["test"]
    except (argparse.ArgumentError, ValueError) as error:
        raise UsageError(
            f"the data of {run} can't be read: {origin(error)}; --input PATH takes other inputs"
        ) from error
    if tuple(data.input_shape) != predictor.preprocessing.shape:
        shapes = f"has the shape {tuple(data.input_shape)}, and the model takes {predictor.preprocessing.shape}"
        raise UsageError(f"the data of {run} {shapes}: give --input PATH")

    def chunks() -> Iterator[Chunk]:
        for some in test.split(size):
            names = [data.names[row] if data.names else str(row) for row in some.tolist()]
            yield Chunk(names, [""] * len(some), inputs[some], lengths[0][some] if lengths else None, targets[some])

    return len(test), chunks()


def write(output: Path, predictor: Any, chunks: Iterable[Any], total: int | None) -> None:
    """Write a row an input, then say what was in them; the file is there only once it is whole."""
    from kindling.core.progress import progress
    from kindling.data.columns import count_lines

    inputs = failed = 0
    classes, counts = Counter[str](), Counter[tuple[str, str]]()
    with whole_file(output) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for chunk in progress(chunks, "predicting", total):
            columns = predictor.model.task.columns(predictor.scores(chunk.raw, chunk.lengths), predictor.names)
            if chunk.targets is not None:
                columns = predictor.model.task.named(chunk.targets, predictor.names, "target") | columns
            if not inputs:
                writer.writerow(["input", *columns, "error"])
            rows = zip(*map(_cells, columns.values()), strict=True)
            for name, reason in zip(chunk.names, chunk.reasons, strict=True):
                writer.writerow([name, *([""] * len(columns) if reason else next(rows)), reason])
            inputs, failed = inputs + len(chunk.names), failed + sum(map(bool, chunk.reasons))
            classes.update(columns.get("prediction", ()))
            counts.update(chunk.counts)
        if not inputs:
            raise UsageError("there is nothing to predict: the input has no rows")
    print(f"{inputs - failed:,} of {inputs:,} inputs are predicted: {output}")
    if failed:
        print(f"{failed:,} can't be read: the column error says why")
    if 0 < len(classes) <= 20:
        print(", ".join(f"{name}: {count:,}" for name, count in sorted(classes.items())))
    for line in count_lines(counts):
        print(line)


def _cells(column: Any) -> list[str]:
    return column if isinstance(column, list) else [f"{value:.7g}" for value in column.tolist()]
