"""Tasks: what a model's outputs mean. A new file here is at once a name: `--model.task MyTask`."""

from importlib import import_module
from pkgutil import iter_modules

from kindling.tasks.base import Task as Task
from kindling.tasks.classification import BinaryClassification as BinaryClassification
from kindling.tasks.classification import Classification, MultilabelClassification
from kindling.tasks.regression import Regression

DEFAULT_TASKS = {task.fits: task for task in (Classification, MultilabelClassification, Regression)}

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
