"""The task that suits the data's targets, for users who want another loss or more metrics but leave the task open."""

import inspect

from torch import nn

from kindling.tasks.base import Task
from kindling.tasks.own_metrics import Specs


class DefaultTask(Task):
    """What a model's own task is, or what the data's targets ask for, such as Classification: `Model` puts it in place.

    Args:
        loss: see that task.
        metrics: see that task.
    """

    def __init__(self, loss: nn.Module | None = None, metrics: Specs | None = None) -> None:
        super().__init__()
        self.loss, self.metrics = loss, metrics

    def chosen(self, default: type[Task]) -> Task:
        """That task; a ValueError if it takes no loss, or no metrics, and some are given."""
        arguments = {"loss": self.loss, "metrics": self.metrics}
        given = {name: value for name, value in arguments.items() if value is not None}
        if unknown := given.keys() - inspect.signature(default).parameters.keys():
            raise ValueError(f"task.{min(unknown)} is set, which {default.__name__} doesn't take: leave it out")
        return default(**given)
