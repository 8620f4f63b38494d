"""What a run shows of its training as it goes: `metrics.csv` and TensorBoard events, without gaps or overlaps.

Both are written in whole pieces, so that a kill leaves no half-written row, and a full disk does not end the training.
"""

import io
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

from kindling.core.growing_file import GrowingFile, reported
from kindling.run.event_tags import tag_of
from kindling.run.logged_before import LoggedBefore
from kindling.run.logger_recipes import Recipe, loggers_of
from kindling.run.metrics_table import MetricsTable, last_step


def run_loggers(run: Path, command: str, first_step: int | None, added: Sequence[Recipe] = ()) -> list[Any]:
    """The loggers of a command: the run's own comes first, since it says where the run is.

    Args:
        run: the run's folder.
        command: fit, validate or test.
        first_step: for a resumed training: what was logged from this step on is dropped; None for a new one.
        added: further ones that the user has asked for.
    """
    reported.clear()
    kept = LoggedBefore(run / "loggers.json")
    if command != "fit":  # in a folder of its own, since values at step 0 would break the training's curves
        board = TensorBoard(save_dir=run, sub_dir=command)
        return [board, *loggers_of(added, run, kept, command, last_step(run / "metrics.csv"))]
    board = TensorBoard(save_dir=run, first_step=first_step)
    board.table = table = MetricsTable(run / "metrics.csv", first_step or 0)
    if added:
        kept.follow(table)
    # The table comes last, so that after a kill the others have all that it has.
    return [board, *loggers_of(added, run, kept, command), table]


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, without a chart of the epoch's number and without an `hparams.yaml`.

    Args:
        first_step: what was logged from this step on is hidden from TensorBoard; None for a new training.
        **logger: see TensorBoardLogger.
    """

    table: MetricsTable | None = None  # knows what has been logged

    def __init__(self, *, first_step: int | None = None, **logger: Any) -> None:
        super().__init__(**logger, name="", version="", default_hp_metric=False)
        self.first_step = first_step
        self.writer: EventWriter | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        if self.writer is None:
            self.writer = EventWriter(self.log_dir, purge_step=self.first_step)
        return self.writer

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self.table or not self.table.repeats(metrics, step):
            super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    def save(self) -> None:
        if self.writer is not None:
            self.writer.flush()

    def finalize(self, status: str) -> None:
        self.save()


class EventWriter(SummaryWriter):
    """Torch's writer of TensorBoard events, writing to an `EventFile`."""

    file_writer: Any
    all_writers: Any

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = EventFile(self.log_dir)
            self.all_writers = {self.log_dir: self.file_writer}
            self.file_writer.add_event(Event(file_version="brain.Event:2"))
            if self.purge_step is not None:
                # The start of a session hides what was logged from its step on, except for the first in a folder.
                for _ in range(2):
                    start = Event(session_log=SessionLog(status=SessionLog.START))
                    self.file_writer.add_event(start, self.purge_step)
                self.purge_step = None
        return self.file_writer


class EventFile(FileWriter):
    """Torch's event file without its thread, which a full disk would end, and the training with it."""

    def __init__(self, folder: str) -> None:
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self.file = GrowingFile(Path(folder, name))

    def get_logdir(self) -> str:
        return str(self.file.path.parent)

    def add_event(self, event: Event, step: Any = None, walltime: float | None = None) -> None:
        event.wall_time = walltime or time.time()
        if step is not None:
            event.step = int(step)
        for value in event.summary.value:
            value.tag = tag_of(value.tag)
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self.file.waiting += record.getvalue()

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.flush()
