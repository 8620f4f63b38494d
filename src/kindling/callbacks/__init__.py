"""Callbacks: one a file, each with its arguments as flags, such as `--weight_histograms.enabled true`."""

import re
import sys
from importlib import import_module
from pkgutil import iter_modules

from lightning import Callback

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def default() -> dict[str, type[Callback]]:
    """The callbacks of this folder by their names as flags: WeightHistograms is weight_histograms."""
    modules = [module for name, module in sys.modules.items() if name.startswith(f"{__name__}.")]
    found = [cls for module in modules for cls in vars(module).values() if isinstance(cls, type)]
    own = [cls for cls in found if issubclass(cls, Callback) and cls.__module__.startswith(f"{__name__}.")]
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower(): cls for cls in own}
