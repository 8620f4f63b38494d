"""What the loggers that a user has added already hold of a run: `loggers.json`."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from kindling.core.errors import UsageError
from kindling.core.files import write_json
from kindling.core.growing_file import going_on
from kindling.run.metrics_table import Content, MetricsTable, content


class LoggedBefore:
    """Which run of each logger belongs to this run, and what they already have of steps that a resume repeats.

    Args:
        path: the file, which can come from anyone: an address in it is compared, and never followed.

    Raises:
        UsageError: if the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: dict[str, dict[str, Any]] = {}  # by the logger's name: `id`, and `store`, where that run is
        self.ahead = set[Content]()  # what they have of the steps that are repeated
        self.table: MetricsTable | None = None
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            self.runs = {name: {"id": str(run["id"]), "store": run["store"]} for name, run in kept["runs"].items()}
            self.ahead = {(str(int(step)), *map(str, names)) for step, *names in kept["ahead"]}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"{self.path} is damaged: remove it, and the loggers will begin new runs") from error

    def follow(self, table: MetricsTable) -> None:
        """Learn from the table what the others have, and what they have beyond it after one or more resumes."""
        self.table = table
        self.ahead |= table.dropped
        if table.dropped:
            self._write()

    def has(self, metrics: dict[str, Any], step: int | None) -> bool:
        named = content({**metrics, "step": step})
        return named in self.ahead or (self.table is not None and self.table.repeats(metrics, step))

    @property
    def until(self) -> int:
        """The last repeated step for which they have metrics; -1 if none is repeated."""
        return max((int(names[0]) for names in self.ahead), default=-1)

    def keep(self, name: str, id: str, store: str | None) -> None:
        """Remember the run of a logger."""
        if self.runs.get(name) != (run := {"id": id, "store": store}):
            self.runs[name] = run
            self._write()

    @rank_zero_only
    def _write(self) -> None:
        with going_on(self.path):
            write_json(self.path, {"runs": self.runs, "ahead": sorted(self.ahead)})
