"""Shows a model's operations and weights in TensorBoard, besides its curves."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from kindling.train.messages import note


class TensorboardExtras(L.Callback):
    """Add the graph of the model's forward pass, or a histogram of every parameter after each epoch, to TensorBoard.

    Args:
        graph: true to add the graph when the training starts, which needs the module to have an `example_input_array`.
        histograms: true to add the histograms.
    """

    def __init__(self, graph: bool = False, histograms: bool = False) -> None:
        self.graph, self.histograms = graph, histograms

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.graph or not trainer.is_global_zero:
            return
        example = pl_module.example_input_array
        if example is None or isinstance(example, dict):  # torch can't trace a dict
            note(trainer, f"no graph: {type(pl_module).__name__} has no example_input_array of tensors")
            return
        for logger in _boards(trainer):
            logger.experiment.add_graph(pl_module, example)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.histograms or not trainer.is_global_zero:
            return
        step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1  # that of the metrics
        for logger in _boards(trainer):
            for name, parameter in pl_module.named_parameters():
                logger.experiment.add_histogram(f"weights/{name}", parameter.detach().float(), step)


def _boards(trainer: L.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
