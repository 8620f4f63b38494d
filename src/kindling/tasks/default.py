"""The task for what the data's targets are, where one wants another loss or more metrics and leaves the task open."""

from torch import nn

from kindling.tasks.base import Task
from kindling.tasks.own_metrics import Specs


class DefaultTask(Task):
    """Classification, MultilabelClassification or Regression, as the data's targets ask for; `Model` puts it in place.

    Args:
        loss: see that task.
        metrics: see that task.
    """

    def __init__(self, loss: nn.Module | None = None, metrics: Specs | None = None) -> None:
        super().__init__()
        self.loss, self.metrics = loss, metrics

    def chosen(self, default: type[Task]) -> Task:
        return default(loss=self.loss, metrics=self.metrics)  # type: ignore[call-arg]
