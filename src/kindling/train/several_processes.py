"""What several processes of a training have to share with each other, and what they can't do."""

import lightning as L
import torch.distributed as dist
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from kindling.train.messages import note

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def refuse_sync_on_cpu(trainer: L.Trainer, sync_batchnorm: bool) -> None:
    """Raise a MisconfigurationException if batch norms are to exchange their statistics where torch can't."""
    if sync_batchnorm and isinstance(trainer.accelerator, CPUAccelerator):
        raise MisconfigurationException(
            "sync_batchnorm is true, but torch has it only on GPUs: leave it out, and each process on a CPU will take "
            "the statistics of its own batch"
        )


def tell_of_batch_norms(trainer: L.Trainer, batch_size: int | None) -> None:
    """Say whose statistics batch norms use, where each of several processes has its own batch."""
    if trainer.world_size == 1 or not _batch_norms(trainer):
        return
    size = "" if batch_size is None else f" of {batch_size}"
    on_gpu = not isinstance(trainer.accelerator, CPUAccelerator)
    of_all = "; --trainer.sync_batchnorm true takes those of all" if on_gpu else ""
    kept = "validations and checkpoints have those of the first"
    note(trainer, f"batch norm: statistics come from each process's batch{size}; {kept}{of_all}")


def share_statistics(trainer: L.Trainer) -> None:
    """Give all processes the first one's batch-norm statistics, so that a validation measures what is saved."""
    if trainer.world_size > 1:
        for layer in _batch_norms(trainer):
            for buffer in layer.buffers():
                dist.broadcast(buffer, src=0)


def _batch_norms(trainer: L.Trainer) -> list[nn.Module]:
    """The batch norms that follow the batches of a single process."""
    return [layer for layer in trainer.lightning_module.modules() if isinstance(layer, BATCH_NORMS)]
