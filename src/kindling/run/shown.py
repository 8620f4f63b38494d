"""Shows images and texts in the loggers that take them, each by what its library offers."""

from collections.abc import Callable
from textwrap import indent
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CometLogger, MLFlowLogger, TensorBoardLogger

from kindling.run.added_logger import AddedLogger


def show_image(logger: Any, name: str, image: np.ndarray, step: int) -> None:
    """Show an image (H, W, 3) uint8."""
    _show(logger, _send_image, name, image, step)


def show_text(logger: Any, name: str, text: str, step: int) -> None:
    _show(logger, _send_text, name, text, step)


def _show(logger: Any, send: Callable[..., None], name: str, content: Any, step: int) -> None:
    if isinstance(logger, AddedLogger):
        logger.show(send, name, content, step)
    else:
        send(logger, name, content, step)


def _send_image(logger: Any, name: str, image: np.ndarray, step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, image, step, dataformats="HWC")
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, image, key=name, step=step)
    elif isinstance(logger, CometLogger):
        logger.experiment.log_image(image, name=name, step=step)
    elif hasattr(logger, "log_image"):  # W&B's
        logger.log_image(name, [image], step)


def _send_text(logger: Any, name: str, text: str, step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text(name, indent(text, "    "), step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_text(logger.run_id, text, f"{name}.txt")
    elif isinstance(logger, CometLogger):
        logger.experiment.log_text(text, step=step, metadata={"name": name})
    elif hasattr(logger, "log_text"):  # W&B's
        logger.log_text(name, ["text"], [[text]], step=step)
