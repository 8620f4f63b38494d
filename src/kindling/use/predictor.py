"""A trained model for use: raw inputs in, labels and probabilities out. `kindling.load` makes one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import kindling.data
import kindling.models  # noqa: F401 (with them, what a checkpoint can name)
from kindling.core.parts import load_projects
from kindling.data.image_files import pixels
from kindling.data.preprocessing import Preprocessing, arranged
from kindling.models.base import Model
from kindling.run.checkpoint_files import fit_or_refuse, load_checkpoint
from kindling.run.folder import find_checkpoint, find_run
from kindling.use.rebuild import rebuilt

if TYPE_CHECKING:
    import pandas as pd


class Pipeline(nn.Module):
    """Raw inputs → scores, in one graph: preprocessing, model and task. It is what `kindling export` writes."""

    def __init__(self, model: Model, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model, self.preprocessing = model, preprocessing

    def forward(self, raw: Tensor, lengths: Tensor | None = None) -> Tensor:
        inputs = self.preprocessing(raw, lengths)
        batch = (inputs, raw) if lengths is None else (inputs, lengths, raw)  # the last is where targets would be
        return self.model.task.scores(self.model.outputs(batch))


class Predictor:
    """What `kindling.load` gives: call it with raw inputs, get a table with a row a sample.

    A column `prediction` with the class (several are joined by ;), and a column `probability_<class>` for each class;
    for numeric targets a column for each, in its unit.
    """

    def __init__(self, model: Model, preprocessing: Preprocessing, device: str | torch.device = "cpu") -> None:
        self.model, self.preprocessing = model.eval(), preprocessing
        self.names = list(model.hparams.get("classes") or model.hparams.get("targets") or [])
        self.pipeline = Pipeline(model, preprocessing).eval().to(device)
        self.device = torch.device(device)

    def __call__(self, inputs: Any, lengths: Any = None, batch_size: int = 256) -> pd.DataFrame:
        """Predict raw inputs, none of them normalised.

        Args:
            inputs: an image (PIL) or a list of them; an array or a tensor (N, …), or of one sample; a DataFrame.
            lengths: of padded sequences (N,).
            batch_size: samples that are computed at once.

        Raises:
            ValueError: if they are not what the model was trained on.
        """
        import pandas as pd

        raw, lengths = self.prepare(inputs, lengths)
        starts = range(0, max(1, len(raw)), batch_size)  # nothing is an empty batch
        cut = [slice(start, start + batch_size) for start in starts]
        parts = [self.scores(raw[part], None if lengths is None else lengths[part]) for part in cut]
        return pd.DataFrame(self.model.task.columns(torch.cat(parts), self.names))

    @torch.inference_mode()
    def scores(self, raw: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Probabilities, or numbers in the targets' unit, of a batch that `prepare` gave; on the CPU."""
        return self.pipeline(*(each.to(self.device) for each in self.graph_inputs(raw, lengths))).cpu()

    def graph_inputs(self, raw: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """A batch as `Pipeline` takes it: with lengths if the training had them."""
        if not self.preprocessing.lengths:
            return (raw,)
        return raw, torch.full((len(raw),), raw.shape[1]) if lengths is None else lengths

    def prepare(self, inputs: Any, lengths: Any = None) -> tuple[Tensor, Tensor | None]:
        """Raw inputs as tensors (N, *shape) of the type that the training saw; a ValueError if they can't be that."""
        known = self.preprocessing
        if isinstance(inputs, Image.Image):
            inputs = [inputs]
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], Image.Image):
            if known.form != "images":
                raise ValueError(f"the model takes {known.form}, not images")
            stacked = np.stack([pixels(each, known.shape, known.resize) for each in inputs])
            return self.from_pixels(torch.from_numpy(stacked)), None
        if hasattr(inputs, "columns"):
            raw, _, reasons = self.from_table(inputs)
            if reasons:
                raise ValueError(f"row {min(reasons)}: {reasons[min(reasons)]}")
            return raw, None
        raw, lengths = self.from_array(inputs, lengths)
        if not raw.isfinite().all():
            raise ValueError("the inputs hold values that are no finite numbers")
        return raw, lengths

    def from_pixels(self, raw: Tensor) -> Tensor:
        """Pixels from 0 to 255 as the training saw images; a ValueError if it saw no pixels."""
        if self.preprocessing.dtype == "uint8":
            return raw
        if not self.preprocessing.bounded:
            raise ValueError("the model was trained on floats that are not from 0 to 1: it takes no pixels")
        return raw.float() / 255

    def from_table(self, frame: pd.DataFrame) -> tuple[Tensor, Counter[tuple[str, str]], dict[int, str]]:
        """Rows (N, F), what was missing or never seen, and why a row can't be used, by position: see columns.encode."""
        from kindling.data.columns import encode

        columns, (size, *more) = self.preprocessing.columns, self.preprocessing.shape
        if more:
            raise ValueError(f"the model takes {self.preprocessing.form}, not the rows of a table")
        if not columns:  # it was not trained on a table: columns in the same order, gaps filled with the mean
            if frame.shape[1] != size:
                raise ValueError(f"the model takes {size} columns of numbers, and the table has {frame.shape[1]}")
            means = self.preprocessing.plain["mean"] or [0.0] * size
            columns = [{"name": name, "fill": fill} for name, fill in zip(frame.columns, means, strict=True)]
        raw, counts, reasons = encode(frame, columns)
        return torch.from_numpy(raw), counts, reasons

    def from_array(self, inputs: Any, lengths: Any = None) -> tuple[Tensor, Tensor | None]:
        """An array (N, …), or one sample of it, as the training saw them."""
        known, array = self.preprocessing, as_tensor(inputs)
        grey = known.form == "images" and known.shape[0] == 1  # which can do without their channel
        single = array.dim() == len(known.shape)
        if grey:
            single = array.dim() < 4 and (array.dim() == 2 or array.shape[1:] != known.shape[1:])
        array = array[None] if single else array
        raw = arranged(array, known.form, known.divisor)
        if known.lengths and raw.dim() > 1:
            lengths = torch.full((len(raw),), raw.shape[1]) if lengths is None else as_tensor(lengths).reshape(-1)
            if len(lengths) != len(raw) or (len(raw) and not 1 <= lengths.min() <= lengths.max() <= raw.shape[1]):
                raise ValueError(f"lengths: expected {len(raw)} whole numbers from 1 to {raw.shape[1]}, one a sample")
            if raw.shape[1] < known.shape[0]:  # padded to the length that the training saw
                raw = nn.functional.pad(raw, (0, 0) * (raw.dim() - 2) + (0, known.shape[0] - raw.shape[1]))
        if tuple(raw.shape[1:]) != known.shape:
            raise ValueError(f"the model takes {known.form} of shape {known.shape}, not {tuple(array.shape[1:])}")
        if raw.dtype == torch.uint8:
            raw = self.from_pixels(raw)
        if known.bounded and raw.is_floating_point() and len(raw) and not (raw.min() > -0.01 and raw.max() < 1.01):
            low, high = float(raw.min()) * known.divisor, float(raw.max()) * known.divisor
            raise ValueError(
                f"the model takes uint8 images, or floats from 0 to {known.divisor:g}, not {low:g} to {high:g}"
            )
        size = self.model.vocabulary
        if size and len(raw) and not 0 <= raw.min() <= raw.max() < size:
            raise ValueError(f"the model takes tokens from 0 to {size - 1}, not {raw.min()} to {raw.max()}")
        return raw, lengths


def as_tensor(values: Any) -> Tensor:
    """Numbers of any kind that NumPy knows, in memory of their own; a ValueError if they are none."""
    if isinstance(values, Tensor):
        return values.cpu()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(f"expected numbers, not {array.dtype}")
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))


def load(path: str | Path = "latest", ckpt: str = "best", device: str | torch.device | None = None) -> Predictor:
    """Load a trained model for use.

    Args:
        path: a run, such as lightning_logs/digits_resnet/version_0, or latest; or a checkpoint file, which needs
            nothing but itself.
        ckpt: the run's best or last checkpoint.
        device: such as cpu or cuda; None for a GPU where there is one.

    Raises:
        UsageError: if there is no such checkpoint, or it is damaged or of a model that is not here.
    """
    load_projects()  # with them, what a checkpoint can name
    name = str(path)
    file = Path(name) if Path(name).is_file() else find_checkpoint(find_run(name), ckpt)
    checkpoint = load_checkpoint(file)
    model = rebuilt(Model, file, dict(checkpoint.get("hyper_parameters", {})))
    fit_or_refuse(file, checkpoint, model)
    model.load_state_dict(checkpoint["state_dict"])
    plain = checkpoint.get("preprocessing") or {
        "shape": model.input_shape,
        "dtype": "int64" if model.vocabulary else "float32",
    }
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(model, Preprocessing(**plain), device)
