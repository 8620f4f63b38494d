"""`kindling fit --find lr` and `--find batch_size`: try values on a few batches, and say which to use."""

import contextlib
import io
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.tuner import Tuner

from kindling.core.errors import UsageError


def find(setting: str, trainer: L.Trainer, model: L.LightningModule, data: Any) -> str:
    """Find a learning rate (Smith, 2017) or the largest batch that fits, and return what to tell the user.

    Only the figure of the learning rates remains: the tuner's own checkpoint, in the trainer's `default_root_dir`, is
    removed at the end.

    Raises:
        UsageError: if none can be found.
    """
    if setting == "batch_size" and not hasattr(data, "batch_size"):
        raise UsageError(f"--find batch_size changes the batch_size of the data, and {type(data).__name__} has none")
    with contextlib.redirect_stdout(io.StringIO()):
        if setting == "batch_size":
            largest = Tuner(trainer).scale_batch_size(model, datamodule=data, init_val=data.batch_size, max_val=2**16)
            return f"the largest batch that fits, up to the size of the training split: --data.batch_size {largest}"
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
            finder = Tuner(trainer).lr_find(model, datamodule=data, update_attr=False)
    if finder is None or len(finder.results["loss"]) < 20:
        raise UsageError("the loss rose too soon to find a learning rate: set --model.optimizer.lr yourself")
    rates, losses = np.array(finder.results["lr"][10:]), np.array(finder.results["loss"][10:])
    slopes = np.gradient(losses, np.log(rates))  # Lightning's own suggestion uses slopes over plain rates
    suggestion = rates[slopes.argmin()]
    figure = finder.plot()
    figure.axes[0].axvline(suggestion, linestyle="--")  # type: ignore[union-attr]
    path = Path("lightning_logs", "learning_rate.png")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)  # type: ignore[union-attr]
    return f"the loss falls fastest near this rate (see {path}): --model.optimizer.lr {suggestion:.2g}"
