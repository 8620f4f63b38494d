"""A trained model at work: raw inputs in, labels and probabilities out. `kindling.load` makes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

import kindling.data
import kindling.models  # noqa: F401 (so that checkpoints can name their classes)
from kindling.core.errors import UsageError
from kindling.core.parts import load_projects
from kindling.data.preprocessing import Preprocessing
from kindling.data.tokens import Tokens, tokens_of
from kindling.models.base import Model
from kindling.run.checkpoint_content import fit_or_refuse
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.folder import find_checkpoint, find_run
from kindling.tasks.next_token import NextToken, continued
from kindling.use.raw_inputs import RawInputs
from kindling.use.rebuild import preprocessing_of, rebuilt

if TYPE_CHECKING:
    import pandas as pd


class Pipeline(nn.Module):
    """Raw inputs → scores, in one graph: preprocessing, model and task. This is what `kindling export` writes.

    Args:
        model: the model, in evaluation mode.
        preprocessing: that of the data on which it was trained.
        exported: whether to give what the task defines for an exported file, rather than for a prediction.

    Raises:
        UsageError: if the task doesn't say what such outputs mean.
    """

    def __init__(self, model: Model, preprocessing: Preprocessing, exported: bool = False) -> None:
        super().__init__()
        self.model, self.preprocessing, self.exported = model, preprocessing, exported

    def forward(self, *batch: Tensor) -> Any:
        """Takes raw inputs (B, *shape), then what follows them in a batch, such as lengths (B,)."""
        raw, *others = batch
        inputs = self.preprocessing(raw, *others)
        return scores_of(self.model, (inputs, *others, None), self.exported)  # None where targets would be


def scores_of(model: Model, batch: Any, exported: bool = False) -> Any:
    """What the task makes of the model's outputs for a batch; a UsageError if it doesn't say what they mean."""
    outputs = model.outputs(batch)
    model.task.check_outputs(outputs)
    return (model.task.exported if exported else model.task.prediction)(outputs, batch)


class Predictor:
    """What `kindling.load` gives: call it with raw inputs, and get a table with a row per sample.

    For classes, it has a column `prediction` (several are joined by ;) and a column `probability_<class>` for each; for
    numeric targets, a column for each, in its unit; otherwise what the model's task says.
    """

    def __init__(self, model: Model, preprocessing: Preprocessing, device: str | torch.device = "cpu") -> None:
        self.model, self.preprocessing = model.eval(), preprocessing
        self.names = list(model.hparams.get("classes") or model.hparams.get("targets") or [])
        self.raw_inputs = RawInputs(preprocessing, model.vocabulary)
        self.pipeline = Pipeline(model, preprocessing).eval().to(device)
        self.exported_pipeline = Pipeline(model, preprocessing, exported=True).eval().to(device)
        self.device = torch.device(device)

    def __call__(self, inputs: Any, lengths: Any = None, batch_size: int = 256) -> pd.DataFrame:
        """Predict raw inputs, none of them normalised.

        Args:
            inputs: an image (PIL) or a list of them; an array or a tensor (N, …), or of one sample; a DataFrame.
            lengths: the lengths of padded sequences (N,).
            batch_size: samples to compute at once.

        Raises:
            ValueError: if the inputs are not like those that the model was trained on.
            UsageError: if its task doesn't say what the outputs mean.
        """
        import pandas as pd

        self.check_columns()
        raw, lengths = self.raw_inputs.prepare(inputs, lengths)
        tables = []
        for start in range(0, max(1, len(raw)), batch_size):  # no samples make one empty batch
            part = slice(start, start + batch_size)
            batch = self.with_lengths(raw[part], None if lengths is None else lengths[part])
            tables.append(pd.DataFrame(self.columns(self.scores(*batch), len(batch[0]))))
        return pd.concat(tables, ignore_index=True)

    def with_lengths(self, raw: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """Raw inputs as `Pipeline` takes them: with lengths if the training had them; a ValueError if more is needed.

        Inputs without lengths count as having the full length.
        """
        if self.preprocessing.further_inputs:
            count = 1 + self.preprocessing.further_inputs
            raise ValueError(
                f"the model takes {count} inputs per sample, and this is one: kindling predict --run RUN "
                "predicts the run's own test split"
            )
        if not self.preprocessing.lengths:
            return (raw,)
        return raw, torch.full((len(raw),), raw.shape[1]) if lengths is None else lengths

    @torch.inference_mode()
    def scores(self, *batch: Tensor, exported: bool = False) -> Any:
        """Probabilities, numbers in the targets' unit, or whatever the task defines, of a raw batch; on the CPU.

        Those that an exported file gives may differ from these.
        """
        pipeline = self.exported_pipeline if exported else self.pipeline
        return move_data_to_device(pipeline(*move_data_to_device(batch, self.device)), torch.device("cpu"))

    def generate(
        self, prompt: str, length: int = 200, temperature: float = 1.0, top_k: int | None = None, seed: int = 0
    ) -> str:
        """What a language model writes after a text.

        Args:
            prompt: the text, of at least one token.
            length: tokens to write.
            temperature: below 1 for likelier tokens, above 1 for rarer ones; 0 for the likeliest token each time.
            top_k: how many of the likeliest tokens to draw from; None for all.
            seed: the seed of the draw.

        Raises:
            UsageError: if the model is not a language model of text, or an argument is out of range.
        """
        tokens = self.tokens()
        if length < 1 or temperature < 0 or (top_k is not None and top_k < 1):
            given = f"length is {length}, temperature {temperature}, top_k {top_k}"
            raise UsageError(f"{given}: expected at least 1, 0 and 1")
        begun = tokens.encode(prompt)
        if not begun:
            raise UsageError("the prompt is empty: expected a text to go on with")
        return tokens.decode(continued(self.model, begun, length, temperature, top_k, seed))

    def tokens(self) -> Tokens:
        """How a language model splits text into tokens; a UsageError if it is not one, or its tokens are not known."""
        task, kept = self.model.task, self.preprocessing.tokens
        if not isinstance(task, NextToken) or kept is None:
            what = f"{type(self.model).__name__} with the task {type(task).__name__}, trained on {self.raw_inputs.form}"
            raise UsageError(f"{what}, can't write text: that needs the task NextToken and the data Text")
        try:
            return tokens_of(kept)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def check_columns(self) -> None:
        """A UsageError if the model's task does not say what a table of predictions holds."""
        task = self.model.task
        if not task.declares("columns"):
            raise UsageError(
                f"nothing says what the outputs of {type(self.model).__name__} mean as a table: define columns in its "
                f"task {type(task).__name__}, or predict_step in the model"
            )

    def columns(self, scores: Any, count: int) -> dict[str, Any]:
        """The table's columns for `count` samples; a UsageError if the task gives a column of another length."""
        columns = self.model.task.columns(scores, self.names)
        for name, values in columns.items():
            if len(values) != count or getattr(values, "ndim", 1) != 1:
                given = f"column {name} of shape {tuple(getattr(values, 'shape', (len(values),)))}"
                raise UsageError(f"{type(self.model.task).__name__} gives a {given} for {count} samples")
        return columns


def load(path: str | Path = "latest", ckpt: str = "best", device: str | torch.device | None = None) -> Predictor:
    """Load a trained model for use.

    Args:
        path: a run, such as lightning_logs/digits_resnet/version_0, or latest; or a checkpoint file, which is enough
            by itself.
        ckpt: the run's best or last checkpoint.
        device: such as cpu or cuda; None for a GPU where there is one.

    Raises:
        UsageError: if there is no such checkpoint, it is damaged, or its model's class is not installed here.
    """
    name = str(path)
    file = Path(name) if Path(name).is_file() else find_checkpoint(find_run(name), ckpt)
    return predictor_of(file, load_checkpoint(file), device)


def predictor_of(file: Path, checkpoint: dict[str, Any], device: str | torch.device | None = None) -> Predictor:
    """The predictor of a checkpoint that was loaded from `file`; raises what `load` does."""
    load_projects()  # so that checkpoints can name their classes
    model = rebuilt(Model, file, checkpoint.get("hyper_parameters", {}))
    fit_or_refuse(file, checkpoint, model)
    model.load_state_dict(checkpoint["state_dict"])
    preprocessing = preprocessing_of(file, checkpoint, model)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(model, preprocessing, device)
