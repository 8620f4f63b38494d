"""Shows how the weights spread, layer by layer: `--weight_histograms.enabled true`."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger


class WeightHistograms(L.Callback):
    """Add a histogram of every parameter to TensorBoard after each epoch.

    Args:
        enabled: true to add them.
    """

    def __init__(self, enabled: bool = False) -> None: ...

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        step = trainer.global_step - 1  # that of the metrics
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, parameter in pl_module.named_parameters():
                    logger.experiment.add_histogram(f"weights/{name}", parameter.detach().float(), step)
