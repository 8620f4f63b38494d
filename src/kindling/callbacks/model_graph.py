"""Shows the model's operations as a graph: `--model_graph.enabled true`."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger


class ModelGraph(L.Callback):
    """Add the graph of the model's forward pass to TensorBoard when the training starts.

    Args:
        enabled: true to add it.
    """

    def __init__(self, enabled: bool = False) -> None: ...

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger._log_graph = True  # type: ignore[assignment]
                logger.log_graph(pl_module)
