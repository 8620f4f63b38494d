"""A logger that keeps what it is given, as one of a team's would on its server."""

from collections import defaultdict
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment

SERVER: dict[str, list[tuple[Any, ...]]] = defaultdict(list)  # what is in each of its runs


class Experiment:
    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def finish(self, exit_code: int) -> None:
        SERVER[self.run_id].append(("finish", exit_code))


class RecordingLogger(Logger):
    """Args as those of W&B's: where it writes, what its run is called, and which one it goes on with."""

    def __init__(self, name: str | None = None, save_dir: str = ".", id: str | None = None, fails_at: int = -1) -> None:
        super().__init__()
        self.called, self.save_to, self.id, self.fails_at = name, save_dir, id, fails_at
        self.begun: Experiment | None = None

    @property
    def name(self) -> str | None:
        return self.called

    @property
    def version(self) -> str | None:
        return self.id

    @property
    @rank_zero_experiment
    def experiment(self) -> Experiment:
        if self.begun is None:
            if self.fails_at == 0:
                raise ConnectionError("nobody is logged in")
            self.id = self.id or f"run{len(SERVER)}"
            self.begun = Experiment(self.id)
            SERVER[self.id].append(("begin", self.called))
        return self.begun

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if self.fails_at == step:
            raise OSError("No space left on device")
        SERVER[self.experiment.run_id].append(
            ("metrics", step, {name: float(value) for name, value in metrics.items()})
        )

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        SERVER[self.experiment.run_id].append(("params", dict(params)))

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        SERVER[self.experiment.run_id].append(("image", step, key, images[0].shape))


def metrics_in(run_id: str) -> list[tuple[int, str]]:
    """The step and the name of each metric of a run, as often as it was logged."""
    rows = [entry[1:] for entry in SERVER[run_id] if entry[0] == "metrics"]
    return [(step, name) for step, metrics in rows for name in metrics if name != "epoch"]
