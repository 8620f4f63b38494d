"""What a step of several processes logs: the loss and the metrics of all their samples, with one exchange."""

from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torchmetrics import Metric

from kindling.data.batches import batch_size_of
from kindling.tasks import Task


def measured(task: Task, loss: Tensor, outputs: Any, targets: Any) -> dict[str, Tensor]:
    """`train/loss` and the metrics of a training batch; with several processes, which all call it, of all samples.

    Losses are averaged by what their batches weigh, which need not be alike. Metrics are computed from the states of
    all processes, so that an F1 is that of the whole batch, not a mean of several. What a task measures with its
    own `batch_metrics` is averaged as the losses are.

    Args:
        task: of the model.
        loss: of this process's batch, a scalar.
        outputs: of the model for that batch.
        targets: of that batch.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return {"train/loss": loss, **task.batch_metrics(outputs, targets)}
    means, metrics = {"train/loss": loss}, list[Any]()
    if task.declares("batch_metrics"):
        means |= task.batch_metrics(outputs, targets)
    elif task.train_metrics:
        task.see_batch(outputs, targets)
        metrics = list(task.train_metrics.values())
    weight: Any = task.loss_weight(targets)
    weight = batch_size_of(targets) if weight is None else weight
    everyone = _from_all_processes((weight, list(means.values()), [_sent_by(metric) for metric in metrics]))
    means = _weighted_means(list(means), [values for _, values, _ in everyone], [weight for weight, _, _ in everyone])
    return means | _computed(task, metrics, [sent for _, _, sent in everyone])


def _from_all_processes(own: Any) -> list[Any]:
    """What each process gives, in order of rank, with tensors on the CPU."""
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, move_data_to_device(own, "cpu"))
    return everyone


def _weighted_means(names: list[str], values: list[list[Any]], weights: list[Any]) -> dict[str, Tensor]:
    """The mean of each value over the processes whose batch weighs something."""
    weighed = torch.tensor(weights, dtype=torch.float64)
    counts = weighed > 0  # the loss of a batch whose samples all weigh nothing is NaN
    means = weighed[counts] @ torch.tensor(values, dtype=torch.float64)[counts] / weighed.sum()
    return dict(zip(names, means.float(), strict=True))


def _sent_by(metric: Metric) -> list[Tensor]:
    """The tensors that a metric would gather from all processes, one after the other."""
    sent: list[Tensor] = []

    def send(tensor: Tensor, group: Any = None) -> list[Tensor]:
        sent.append(tensor)
        return [tensor]

    metric.sync(dist_sync_fn=send)
    metric.unsync()
    return sent


def _computed(task: Task, metrics: list[Any], received: list[list[list[Tensor]]]) -> dict[str, Tensor]:
    """The metrics of all processes, from what each has sent for each metric."""
    if not metrics:
        return {}
    for number, metric in enumerate(metrics):
        answers = zip(*(of_metrics[number] for of_metrics in received), strict=True)
        metric.dist_sync_fn = lambda tensor, group=None, answers=answers: [each.to(tensor) for each in next(answers)]
    computed = task.train_metrics.compute()
    task.train_metrics.reset()
    for metric in metrics:
        metric.dist_sync_fn = None
    return computed
