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
    """Let the parser build imported parts of models alone, and import nothing, inside of the `with`.

    The parser's public lists of allowed and denied paths can't be taken back, and allow all that is below a path.
    """
    others = _common.parsing_settings["import_path_verdicts"]
    _common.parsing_settings["import_path_verdicts"] = VerdictOnEveryPath()
    try:
        yield
    finally:
        _common.parsing_settings["import_path_verdicts"] = others


class VerdictOnEveryPath(dict[str, bool]):
    """What the parser asks whether a path may be named: unlike the parser's own dict, it has an answer to every one."""

    def __contains__(self, path: object) -> bool:
        return True

    def __getitem__(self, path: str) -> bool:
        return is_trusted(path)


def is_trusted(path: str) -> bool:
    """Whether a path names a part of models, or a function of torch.nn.functional, that is imported."""
    named = imported(path)
    if isinstance(named, type):
        return issubclass(named, nn.Module | Optimizer | LRScheduler)
    return callable(named) and any(named is function for function in vars(nn.functional).values())
