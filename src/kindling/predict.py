"""`kindling predict --run RUN --input PATH`: what a trained model makes of new inputs, as a CSV."""

import argparse
import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kindling.arguments import parse_options, run_options
from kindling.runs import UsageError, whole_file


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
    from kindling.predictor import load  # takes seconds to import
    from kindling.runs import find_checkpoint, find_run
    from kindling.sources import open_source, open_test_split

    run = find_run(options.run) if options.run else None
    path = find_checkpoint(run, options.ckpt or "best")
    try:
        predictor = load(path, device=options.device)
    except RuntimeError as error:  # there is no such device
        reason = str(error).splitlines()[0].partition(". ")[0].partition(" one of")[0]
        raise UsageError(
            f"--device is {options.device}, which can't be used ({reason}): leave it out, or say cpu"
        ) from error
    if options.input:
        return predictor, run, open_source(options.input, predictor, size)
    if run:
        return predictor, run, open_test_split(run, size)
    raise UsageError("needs --input PATH: a checkpoint alone has no test split")


def write(output: Path, predictor: Any, chunks: Iterable[Any], total: int | None) -> None:
    """Write a row an input, then say what was in them; the file is there only once it is whole."""
    from kindling.columns import told
    from kindling.progress import progress

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
    for line in told(counts):
        print(line)


def _cells(column: Any) -> list[str]:
    return column if isinstance(column, list) else [f"{value:.7g}" for value in column.tolist()]
