"""What a run shows of its training as it goes: `metrics.csv` and TensorBoard events, without gap or overlap.

Both are written in whole pieces, so that a kill leaves no half row behind, and a full disk does not end the training.
"""

import csv
import io
import os
import socket
import time
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyExperiment, Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

from kindling.core.growing_file import GrowingFile, reported

Row = dict[str, Any]  # of the table: metrics by name, and the step


def run_loggers(run: Path, command: str, first_step: int | None) -> list[Any]:
    """The loggers of a command. A resumed training goes on at `first_step`: what was logged after that is dropped."""
    reported.clear()
    if command != "fit":  # in a folder of its own, since at step 0 it would break the curves of the training
        return [TensorBoard(save_dir=run, sub_dir=command)]
    board = TensorBoard(save_dir=run, first_step=first_step)
    board.table = MetricsTable(run / "metrics.csv", first_step or 0)
    return [board, board.table]


class MetricsTable(Logger):
    """`metrics.csv`: a row each time that metrics are logged, and a column for each metric, sorted by name.

    Metrics that a step has logged already, which a resumed training can repeat, are left out.

    Args:
        path: of the file.
        first_step: of a training that goes on: from its first row in a file that is there already, rows are dropped.
    """

    name, version = "", ""  # None would be shown in the progress bar

    def __init__(self, path: Path, first_step: int = 0) -> None:
        super().__init__()
        self.file, self.columns = GrowingFile(path), list[str]()
        whole = filter(_is_whole, self._rows())
        past = list(takewhile(lambda row: _has_own_step(row) or int(row["step"]) < first_step, whole))
        self.logged = {_content(row) for row in past}  # by the last step
        self.logged_before = {_content(row) for row in past if _has_own_step(row)}
        if path.exists():
            self._rewrite(past)

    @property
    def experiment(self) -> Any:
        """What takes any call and does nothing: a module may call `add_image` of each of its loggers."""
        return DummyExperiment()

    def repeats(self, metrics: Mapping[str, Any], step: int | None) -> bool:
        content = _content({**metrics, "step": step})
        return content in self.logged or content in self.logged_before

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self.repeats(metrics, step):
            return
        row: Row = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        row["step"] = step
        of_this_step = {content for content in self.logged if content[0] == str(step)}
        self.logged = of_this_step | {_content(row)}
        if row.keys() <= set(self.columns):
            self.file.waiting += self._lines([row]).encode()
        else:
            self._rewrite([*self._rows(), row])

    @rank_zero_only
    def save(self) -> None:
        self.file.flush()

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

    def _rows(self) -> list[Row]:
        return list(csv.DictReader(io.StringIO(self.file.text(), newline="")))

    def _rewrite(self, rows: list[Row]) -> None:
        """Write the whole file anew, with the columns that these rows need."""
        self.columns = sorted({name for row in rows for name, value in row.items() if value != ""})
        header = {name: name for name in self.columns}
        self.file.replace(self._lines([header, *rows]))

    def _lines(self, rows: list[Row]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore").writerows(row for row in rows if row)
        return text.getvalue()


def _is_whole(row: Row) -> bool:
    """Whether a row that was read has a value for each column, none too many, and a step."""
    has_all_columns = None not in row and None not in row.values()  # csv's sign for too many, and for too few
    return has_all_columns and row.get("step", "").isdecimal()


def _has_own_step(row: Row) -> bool:
    """Whether a callback or a validation's batch has given its own step: to any other row Lightning adds the epoch."""
    return not row.get("epoch")


def _content(row: Row) -> tuple[str, ...]:
    """What a row is about: its step, and the names of its metrics."""
    return str(row["step"]), *sorted(name for name, value in row.items() if value != "")


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, without a chart of the epoch's number and without an `hparams.yaml`.

    Args:
        first_step: what was logged from this step on is hidden from TensorBoard; None for a new training.
        **logger: see TensorBoardLogger.
    """

    table: MetricsTable | None = None  # which knows what has been logged

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
    """Torch's writer of TensorBoard events, into an `EventFile`."""

    file_writer: Any
    all_writers: Any

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = EventFile(self.log_dir)
            self.all_writers = {self.log_dir: self.file_writer}
            self.file_writer.add_event(Event(file_version="brain.Event:2"))
            if self.purge_step is not None:
                # The start of a session hides what was logged from its step on; the first one in a folder does not.
                for _ in range(2):
                    start = Event(session_log=SessionLog(status=SessionLog.START))
                    self.file_writer.add_event(start, self.purge_step)
                self.purge_step = None
        return self.file_writer


class EventFile(FileWriter):
    """Torch's file of events without its thread, which a full disk would end, and then the training."""

    def __init__(self, folder: str) -> None:
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self.file = GrowingFile(Path(folder, name))

    def get_logdir(self) -> str:
        return str(self.file.path.parent)

    def add_event(self, event: Event, step: Any = None, walltime: float | None = None) -> None:
        event.wall_time = walltime or time.time()
        if step is not None:
            event.step = int(step)
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self.file.waiting += record.getvalue()

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self.flush()
