"""Lets a checkpoint name parts of models alone: it can come from anyone."""

from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import _common, set_parsing_settings
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kindling.core.parts import imported

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"

# For configs, too: none can name os.system, eval and the like, or have a class built where any value would do.
set_parsing_settings(import_path_denylist=[], instantiate_subclass_spec_in_any=False)


@contextmanager
def imported_parts() -> Iterator[None]:
    """Let the parser build nothing but ImportedParts, and import nothing. It has no public way (seen with 4.53)."""
    others = _common.parsing_settings["import_path_verdicts"]
    _common.parsing_settings["import_path_verdicts"] = ImportedParts()
    try:
        yield
    finally:
        _common.parsing_settings["import_path_verdicts"] = others


class ImportedParts(dict[str, bool]):
    """Tells of every path whether it names a part of models, or a function of torch.nn.functional, that is imported."""

    def __contains__(self, path: object) -> bool:
        return True

    def __getitem__(self, path: str) -> bool:
        found = imported(path)
        if isinstance(found, type):
            return issubclass(found, nn.Module | Optimizer | LRScheduler)
        return callable(found) and any(found is function for function in vars(nn.functional).values())
