"""`kindling predict --run RUN --input PATH`: write a trained model's predictions for new inputs, as CSV; masks as PNGs.

For a module with its own `predict_step`: what it returns for the run's data. For a language model: the loss of each
window of a text; `--prompt TEXT` prints how it continues a text.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kindling.cli.arguments import parse_options, run_options
from kindling.cli.outputs import written_whole, written_whole_folder
from kindling.core.errors import UsageError
from kindling.core.progress import progress
from kindling.core.tables import plain_cell, print_plain

if TYPE_CHECKING:  # they take seconds to import
    from kindling.cli.image_outputs import ImageOutputs
    from kindling.cli.trained import Trained
    from kindling.use.input_batches import InputBatches, Predictions
    from kindling.use.predictor import Predictor

FEW = 20  # classes whose counts are printed
OF_PROMPT: dict[str, tuple[type, str, str]] = {  # arguments of Predictor.generate: type, default and meaning
    "length": (int, "200", "tokens to write"),
    "temperature": (float, "1", "0 for the likeliest token each time"),
    "top_k": (int, "all", "how many of the likeliest tokens to draw from"),
    "seed": (int, "0", "the seed of the draw"),
}


def option_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kindling predict", description=__doc__)
    run_options(parser, "the run's own test split")
    parser.add_argument("--batch_size", type=int, default=256, help="samples to compute at once (256)")
    parser.add_argument("--device", help="such as cpu or cuda (a GPU where there is one)")
    parser.add_argument("--prompt", metavar="TEXT", help="print how a language model continues this text")
    for name, (kind, default, what) in OF_PROMPT.items():
        parser.add_argument(f"--{name}", type=kind, help=f"with --prompt: {what} ({default})")
    return parser


def main(argv: list[str]) -> None:
    options = parse_options(option_parser(), argv)
    if options.batch_size < 1:
        raise UsageError(f"--batch_size is {options.batch_size}: expected a positive integer")
    of_prompt = {name: getattr(options, name) for name in OF_PROMPT if getattr(options, name) is not None}
    if of_prompt and options.prompt is None:
        raise UsageError(f"--{min(of_prompt)} is for --prompt TEXT: give that too")
    if options.prompt is not None and options.input:
        raise UsageError("--prompt and --input are both given: one generates text, the other measures it")
    from kindling.cli.trained import Trained, check_device

    check_device(options.device)
    trained = Trained(options)
    if options.prompt is not None:
        return write_on(trained, options, of_prompt)
    if _goes_by_step(trained, options.input):
        return predict_by_step(trained, options)
    predict_table(trained, options)


def write_on(trained: "Trained", options: argparse.Namespace, of_prompt: dict[str, Any]) -> None:
    """Print a text and what a language model writes after it, or write both to `--output`."""
    if trained.model_class is None:
        raise UsageError(f"--prompt is for a language model, but {trained.file} is not of a Model of Kindling")
    text = options.prompt + trained.predictor(options.device).generate(options.prompt, **of_prompt)
    if options.output is None:
        return print_plain(text)
    with written_whole(options.output) as part:
        part.write_text(text + "\n", encoding="utf-8")
    print(f"written: {options.output}")


def _goes_by_step(trained: "Trained", given: Path | None) -> bool:
    """Whether the module's `predict_step` says what is predicted, rather than the task of a Model."""
    if trained.is_foreign:
        return True
    if trained.model_class is None or trained.run is None or given:
        return False
    import lightning as L

    from kindling.models.base import Model

    return trained.model_class.predict_step not in (L.LightningModule.predict_step, Model.predict_step)


def predict_by_step(trained: "Trained", options: argparse.Namespace) -> None:
    """Write what the module's `predict_step` returns, in a file for each loader."""
    from lightning.pytorch.utilities.model_helpers import is_overridden

    if options.input:
        because = f"{trained.run} is not of a Model of Kindling, so nothing says how a file becomes its inputs"
        raise UsageError(f"--input is {options.input}, but {because}: leave it out to predict the run's own data")
    module = trained.parts.model
    name = type(module).__name__
    if not is_overridden("predict_step", module):
        means = "define predict_step, which returns what to write"
        raise UsageError(f"nothing says what the outputs of {name} mean: {means}")
    loaders = trained.predict(module, options.device)
    for index, batches in enumerate(loaders):
        number = f"_{index}" if len(loaders) > 1 else ""
        _write_outputs(batches, f"{name}.predict_step", trained.folder("predict"), options.output, number)


def _write_outputs(batches: list[Any], source: str, folder: Path, output: Path | None, number: str) -> None:
    """Write what a step has returned to the file that was asked for, or to `predictions` in a folder."""
    from kindling.use.step_outputs import suffix_for, write_outputs

    if all(batch is None for batch in batches):
        print(f"{source} returns nothing, so no file is written")
        return
    try:
        suffix = suffix_for(batches)
    except ValueError as error:
        raise UsageError(f"{source} returns {error}") from error
    file = output or folder / f"predictions{suffix}"
    if file.suffix != suffix:
        raise UsageError(f"--output is {file}: what {source} returns goes into a {suffix} file")
    file = file.with_stem(f"{file.stem}{number}")
    with written_whole(file) as part:
        write_outputs(batches, part, suffix)
    print(f"{len(batches):,} batches, as {source} returns them: {file}")


def predict_table(trained: "Trained", options: argparse.Namespace) -> None:
    """Write a CSV with a row for each input, and predictions that are images into a folder beside it."""
    from kindling.cli.image_outputs import ImageOutputs

    predictor = trained.predictor(options.device)
    predictor.check_columns()
    output = options.output or trained.folder("predict") / f"{_name_for(options.input)}.csv"
    if options.input and output.resolve() == options.input.resolve():
        raise UsageError(f"--output is {output}, which is the input: choose another file")
    if options.input or trained.keeps_raw_inputs():
        inputs = trained.inputs(predictor, options.input, options.batch_size)
        steps = inputs.total and -(-inputs.total // options.batch_size)
        predictions = progress(_predictions(predictor, inputs), "predicting", steps)
    else:
        predictions = trained.predictions_of_loader(options.device)
    folder = output.parent / f"{output.stem}_masks"
    with written_whole(output) as part, written_whole_folder(folder) as images:
        files = ImageOutputs(images, folder, options.output is None, predictor.preprocessing.resize)
        summary = write_table(part, predictor, predictions, files)
    print(f"{summary.inputs - summary.failed:,} of {summary.inputs:,} inputs predicted: {output}")
    if files.written:
        print(f"{len(files.written):,} mask{'s' * (len(files.written) != 1)}: {folder}")
    if files.cropped:
        told = f"{files.cropped:,} cropped: their masks hold 255 where the model did not look"
        print(f"{told}; one trained with --data.resize pad looks everywhere")
    for line in summary.lines():
        print_plain(line)


def _name_for(given: Path | None) -> str:
    """The name of the file: `predictions` for the run's test split, and a different one for other inputs beside it."""
    return f"predictions_{given.resolve().stem}" if given else "predictions"


def _predictions(predictor: "Predictor", inputs: "InputBatches") -> Iterator["Predictions"]:
    from kindling.use.input_batches import Predictions

    for batch in inputs.batches:
        scores = predictor.scores(*batch.tensors)
        yield Predictions(batch.names, batch.reasons, scores, batch.targets, batch.counts, batch.files)


class Summary:
    """What was in the inputs and in the predictions."""

    def __init__(self) -> None:
        self.inputs = self.failed = 0
        self.classes = Counter[str]()
        self.counts = Counter[tuple[str, str]]()

    def add(self, predictions: "Predictions", columns: dict[str, Any]) -> None:
        self.inputs += len(predictions.names)
        self.failed += len(predictions.reasons) - predictions.reasons.count("")
        self.counts.update(predictions.counts)
        classes = columns.get("prediction")
        if isinstance(classes, list):
            self.classes.update(classes)

    def lines(self) -> Iterator[str]:
        from kindling.data.columns import count_lines

        if self.failed:
            yield f"{self.failed:,} can't be read: the column error says why"
        if 0 < len(self.classes) <= FEW:
            yield ", ".join(f"{name}: {count:,}" for name, count in sorted(self.classes.items()))
        yield from count_lines(self.counts)


def write_table(path: Path, predictor: "Predictor", batches: Iterable["Predictions"], files: "ImageOutputs") -> Summary:
    """Write a row for each input; a UsageError if there is none."""
    summary = Summary()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for predictions in batches:
            columns = files.with_files(_columns(predictor, predictions), _readable(predictions), predictions.files)
            if not summary.inputs:
                writer.writerow(["input", *columns, "error"])
            writer.writerows(_rows(predictions, columns))
            summary.add(predictions, columns)
    if not summary.inputs:
        raise UsageError("there is nothing to predict: the input has no rows")
    return summary


def _columns(predictor: "Predictor", predictions: "Predictions") -> dict[str, Any]:
    """The table's columns for the inputs that could be read: targets first, if they are known."""
    columns = predictor.columns(predictions.scores, predictions.reasons.count(""))
    if predictions.targets is None:
        return columns
    return predictor.model.task.target_columns(predictions.targets, predictor.names) | columns


def _readable(predictions: "Predictions") -> list[str]:
    """The names of the inputs that could be read."""
    return [name for name, reason in zip(predictions.names, predictions.reasons, strict=True) if not reason]


def _rows(predictions: "Predictions", columns: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """A row for each input: its predictions, or why it can't be read."""
    names, reasons = list(map(plain_cell, predictions.names)), list(map(plain_cell, predictions.reasons))
    cells = list(map(_cells, columns.values()))
    if not any(reasons):  # nearly always so, and twice as fast
        return zip(names, *cells, reasons, strict=True)
    said, nothing = zip(*cells, strict=True), ("",) * len(columns)
    return [(name, *(nothing if reason else next(said)), reason) for name, reason in zip(names, reasons, strict=True)]


def _cells(column: Any) -> list[str]:
    """Texts as they are, and numbers with all their digits, so that the table gives the same metrics as the test."""
    if isinstance(column, list):
        return [plain_cell(text) for text in column]
    digits = 9 if column.dtype == "float32" else 12
    return [f"{value:.{digits}g}" for value in column.tolist()]
