"""What a run shows of its training as it goes: `metrics.csv` and TensorBoard events, without gap or overlap."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from warnings import catch_warnings

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment


def run_loggers(run: Path, command: str, first_step: int | None) -> list[Any]:
    """The loggers of a command. A resumed training goes on at `first_step`: what was logged after that is dropped."""
    if command != "fit":  # in a folder of its own, since at step 0 it would break the curves of the training
        return [TensorBoard(run, name="", version="", sub_dir=command, default_hp_metric=False)]
    table = MetricsTable(run, name="", version="", flush_logs_every_n_steps=1)
    table.first_step = first_step or 0
    return [TensorBoard(run, name="", version="", default_hp_metric=False, purge_step=first_step), table]


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, without a chart of the epoch's number and without an `hparams.yaml`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    def save(self) -> None:
        self.experiment.flush()


class MetricsTable(CSVLogger):
    """Lightning's CSV logger, which in a resumed run keeps the rows of `metrics.csv` that are before `first_step`."""

    first_step = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            path = Path(self.log_dir, "metrics.csv")
            rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
            with catch_warnings(record=True):  # of the deletion
                whole = [row for row in rows if (row["step"] or "").isdecimal()]  # a crash can cut the last line off
                super().experiment.metrics = [row for row in whole if int(row["step"]) < self.first_step]
            self.save()
        return self._experiment
