"""The two loggers of a run: TensorBoard events and `metrics.csv`."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment


def run_loggers(run: Path, command: str, first_step: int | None) -> list[Any]:
    """The loggers of a command. A resumed training goes on at `first_step`: what was logged from there on is dropped.

    `validate` and `test` log to a folder of their own, since at step 0 they would break the curves of the training.
    """
    where: dict[str, Any] = {"save_dir": run.parent.parent, "name": run.parent.name, "version": run.name}
    if command != "fit":
        return [TensorBoard(**where, sub_dir=command, default_hp_metric=False)]
    return [
        TensorBoard(**where, default_hp_metric=False, purge_step=first_step),
        MetricsTable(**where, flush_logs_every_n_steps=1, first_step=first_step or 0),
    ]


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, without the `hparams.yaml` that would repeat the run's `config.yaml`."""

    def save(self) -> None:
        self.experiment.flush()


class MetricsTable(CSVLogger):
    """Lightning's CSV logger, which on a resume goes on in the same `metrics.csv` instead of deleting it.

    Args:
        first_step: the step at which a resumed run goes on; rows from there on are dropped.
        **csv_logger: see Lightning's CSVLogger.
    """

    def __init__(self, *, first_step: int = 0, **csv_logger: Any) -> None:
        super().__init__(**csv_logger)
        self.first_step = first_step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            os.makedirs(self.log_dir, exist_ok=True)
            self._experiment = _Writer(self.log_dir)
            self._experiment.go_on_from(self.first_step)
        return self._experiment


class _Writer(_ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        """The base class deletes the file here."""

    def go_on_from(self, step: int) -> None:
        if not os.path.isfile(self.metrics_file_path):
            return
        with open(self.metrics_file_path, newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if int(row["step"]) < step]
            self.metrics_keys = list(reader.fieldnames or [])
        with open(self.metrics_file_path, "w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)

    def log_hparams(self, params: dict[str, Any]) -> None:
        """`config.yaml` has them."""
