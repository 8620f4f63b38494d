"""What a callback watches: the metric that the user asked for, or the one that it finds in the first validation."""

from typing import Any

import lightning as L

from kindling.run.monitor import Mode, Monitor, monitored, refuse_unlogged


class Watch:
    """The metric of one callback, from what it was asked for to what it settles on.

    Args:
        metric: its name; None to find one.
        mode: whether lower (min) or higher (max) is better; None to infer it from the name.
    """

    def __init__(self, metric: str | None, mode: Mode | None) -> None:
        self.metric, self.mode = metric, mode
        self.settled: Monitor | None = None  # once it has been logged; it does not change after that
        self.restored: Monitor | None = None  # the metric that a checkpoint's state is about
        self.validated = False

    def about(self, monitor: str | None, mode: str) -> dict[str, Any]:
        """What the callback's state says that it is about; before a first metric, what the callback was made with.

        A resumed training settles on its metric in its first validation, and can be saved and end before that.
        """
        metric = self.settled or self.restored
        return {"monitor": metric.metric, "mode": metric.mode} if metric else {"monitor": monitor, "mode": mode}

    def settle(self, trainer: L.Trainer) -> bool:
        """Settle on a metric if one is logged for the first time now; returns whether it did.

        Raises:
            UsageError: if its name doesn't say whether lower or higher is better.
        """
        if not self.settled:
            self.settled = monitored(trainer, self.metric, self.mode)
            return self.settled is not None
        return False

    def undefined(self, trainer: L.Trainer) -> str | None:
        """Why the metric has no value after this validation, such as an AUROC of one class; None if it has one."""
        metric = self.settled.metric if self.settled else ""
        value = trainer.callback_metrics.get(metric)
        if value is None or not value.isnan():
            return None
        return getattr(getattr(trainer.lightning_module, "task", None), "notes", {}).get(metric)

    def refuse_misspelt(self, trainer: L.Trainer) -> None:
        """Refuse metrics that are not logged: after a validation its own, after an epoch of training all others.

        Raises:
            UsageError: with the name of the metric, and those of the logged ones.
        """
        self.validated |= trainer.validating
        if trainer.validating or trainer.sanity_checking:
            refuse_unlogged(trainer, of_validation=True)
        elif self.validated or not trainer.enable_validation:
            refuse_unlogged(trainer, of_validation=False)
