"""Losses that `torch.nn` lacks: one a file. A new file here is at once a name: `--model.task.loss FocalLoss`."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
