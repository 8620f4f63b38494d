"""What a callback watches: the metric that it was asked for, or the one that it finds in the first validation."""

import lightning as L

from kindling.run.monitor import Mode, Monitor, monitored, refuse_unlogged


class Watch:
    """The metric of one callback, from what it was asked for to what it settles on.

    Args:
        metric: its name; None to find one.
        mode: whether lower (min) or higher (max) is better; None to tell by the name.
    """

    def __init__(self, metric: str | None, mode: Mode | None) -> None:
        self.metric, self.mode = metric, mode
        self.settled: Monitor | None = None  # once it is logged: from then on it is no other
        self.restored: Monitor | None = None  # which a checkpoint's state is of
        self.validated = False

    def settle(self, trainer: L.Trainer) -> bool:
        """Settle on a metric if one is logged for the first time now, and say so.

        Raises:
            UsageError: if its name doesn't tell whether lower or higher is better.
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
            UsageError: names the metric, and those that are logged.
        """
        self.validated |= trainer.validating
        if trainer.validating or trainer.sanity_checking:
            refuse_unlogged(trainer, of_validation=True)
        elif self.validated or not trainer.enable_validation:
            refuse_unlogged(trainer, of_validation=False)
