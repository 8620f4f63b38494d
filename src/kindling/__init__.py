"""Kindling: the engine behind a PyTorch Lightning project. What it offers in Python is here.

from kindling import Model        # base of models, with a task and a recipe
from kindling import Data         # base of data, with splits and loaders
from kindling import Task         # base of what a model's outputs mean
from kindling import Augmentation # base of what changes training batches at random
from kindling import Trainer      # Lightning's, with a leaner step and a faithful resume
from kindling import load         # a trained model for use
from kindling import main         # the command line
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from kindling.cli import main as main
    from kindling.data.augmentation import Augmentation as Augmentation
    from kindling.data.base import Data as Data
    from kindling.models.base import Model as Model
    from kindling.tasks.base import Task as Task
    from kindling.train.trainer import Trainer as Trainer
    from kindling.use.predictor import load as load

HOMES = {
    "Augmentation": "kindling.data.augmentation",
    "Data": "kindling.data.base",
    "Model": "kindling.models.base",
    "Task": "kindling.tasks.base",
    "Trainer": "kindling.train.trainer",
    "load": "kindling.use.predictor",
    "main": "kindling.cli",
}
__all__ = ["Augmentation", "Data", "Model", "Task", "Trainer", "load", "main"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: torch takes seconds, which `kindling --help` does without."""
    if name not in HOMES:
        raise AttributeError(f"module 'kindling' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
