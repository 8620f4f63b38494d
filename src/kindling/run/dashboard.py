"""What loggers show besides the curves: what was set and what came out; in TensorBoard also the losses on one chart."""

import math
import re
from collections.abc import Iterable
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from kindling.core.settings import flatten
from kindling.run.added_logger import AddedLogger
from kindling.tasks import Task
from kindling.tasks.measures import names_in

TRAINER = ("max_epochs", "gradient_clip_val", "accumulate_grad_batches", "precision")
SHOW = ("trainer.", "figures.")  # begin settings on which, but for those above, no result depends


class Dashboard(L.Callback):
    """Write the layout of the charts and the hyper-parameters when the training starts.

    Args:
        config: the resolved config.
        given: keys of the command line, such as those that a study searches, which are shown in any case.
    """

    def __init__(self, config: dict[str, Any], given: Iterable[str] = ()) -> None:
        trainer = {key: config["trainer"][key] for key in TRAINER}
        chosen = {"model": config["model"], "data": config.get("data") or {}, "trainer": trainer}
        self.parameters = {**dict(flatten(chosen)), "seed": config["seed_everything"]}
        every = dict(flatten(config))
        self.parameters |= {key: every[key] for key in given if key in every and not key.startswith(SHOW)}
        self.settings = {name: value for name, value in every.items() if not name.startswith("trainer.logger")}

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for logger in _added(trainer.loggers):
            logger.log_hyperparams(self.settings)
        if not trainer.is_global_zero or trainer.global_step:  # a resumed run has it all
            return
        task = getattr(model, "task", None)
        names = names_in(task.train_metrics) if isinstance(task, Task) else []
        charts = {name: ["Multiline", [f"train/{name}", f"val/{name}"]] for name in ("loss", *names)}
        # Without torch's first part, the list of columns, the tab shows the columns of all runs, not of the first.
        _, start, _ = hparams(self.parameters, {})
        counts = getattr(trainer.datamodule, "class_counts", None)  # type: ignore[attr-defined]
        for writer in _writers(trainer.loggers):
            if counts:
                writer.add_text("class counts", _markdown(counts))
            writer.add_custom_scalars({"training and validation": charts})
            writer._get_file_writer().add_summary(start)

    @staticmethod
    def finish(loggers: list[Any], metrics: dict[str, float], results: dict[str, Any], step: int) -> None:
        """Write what came out.

        Args:
            loggers: of the run.
            metrics: of the best checkpoint on the validation split, by which runs are compared: as first columns.
            results: what else is known of the training; its numbers are for the added loggers.
            step: of the training's end.
        """
        numbers = {f"results/{name}": value for name, value in results.items() if isinstance(value, int | float)}
        best = {f"best/val_{name}": value for name, value in metrics.items() if not math.isnan(value)}
        for logger in _added(loggers):
            logger.log_metrics({**best, **numbers}, step)
            logger.save()
        _, _, end = hparams({}, {})
        for writer in _writers(loggers):
            for name, value in best.items():  # without what is undefined: an empty cell
                writer.add_scalar(name, value, step)
            writer._get_file_writer().add_summary(end)
            writer.flush()


def _added(loggers: list[Any]) -> list[AddedLogger]:
    return [logger for logger in loggers if isinstance(logger, AddedLogger)]


def _writers(loggers: list[Any]) -> list[Any]:
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]


def _markdown(counts: dict[str, dict[str, int]]) -> str:
    """A table with a row a class and a column a split."""
    rows = [["class", *counts], ["---"] * (1 + len(counts))]
    rows += [[_as_text(name), *(f"{split[name]:,}" for split in counts.values())] for name in counts["train"]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _as_text(name: str) -> str:
    """A name in Markdown that is shown letter by letter."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|$~&])", r"\\\1", " ".join(name.split()))
