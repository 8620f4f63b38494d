"""What a training has frozen and thawed so far: no weight holds that, so a resume would start over with it."""

from collections.abc import Iterator

from torch import nn

Flag = tuple[nn.Module | nn.Parameter, str]


class ChangedParts:
    """Which parts of a module are frozen or thawed by now, unlike at the start of every training.

    A BaseFinetuning callback, or a hook of the module, sets three flags: whether a parameter has a gradient, whether a
    norm tracks the statistics of its batches, and whether a layer is in training mode.

    Args:
        module: the module at the start of a training, whether new or resumed.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.at_start = self._flags()

    def state(self) -> dict[str, bool]:
        """The flags that have changed since the start, by name."""
        return {name: flag for name, flag in self._flags().items() if self.at_start.get(name) != flag}

    def restore(self, state: dict[str, bool]) -> None:
        """Set again the flags that a training had changed before an interruption."""
        for name, (part, attribute) in self._parts():
            if name in state:
                setattr(part, attribute, state[name])

    def _flags(self) -> dict[str, bool]:
        return {name: getattr(part, attribute) for name, (part, attribute) in self._parts()}

    def _parts(self) -> Iterator[tuple[str, Flag]]:
        for name, parameter in self.module.named_parameters():
            yield f"{name}.requires_grad", (parameter, "requires_grad")
        for name, layer in self.module.named_modules():
            yield f"{name}.training", (layer, "training")
            if hasattr(layer, "track_running_stats"):
                yield f"{name}.track_running_stats", (layer, "track_running_stats")
