"""A trial's own process: `kindling fit`, watched from outside by what its run writes."""

import csv
import io
import json
import math
import os
import signal
import subprocess
from pathlib import Path

from kindling.study.trials import Claim

INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)  # exit codes


class TrialProcess:
    """The training of a trial.

    Args:
        claim: the claim of the trial.
        command: begins its run or goes on with it.
        environment: that of the process.
        run: the run's folder.
        output: the file for what it prints.
        metric: what it is judged by, as its `metrics.csv` names it.
    """

    def __init__(
        self, claim: Claim, command: list[str], environment: dict[str, str], run: Path, output: Path, metric: str
    ) -> None:
        self.claim, self.run, self.output, self.metric = claim, run, output, metric
        self.seen, self.reported = 0, 0  # bytes of `metrics.csv`, and number of validations
        self.is_told = False  # whether the study knows its end, or that it is to be stopped
        self.process: subprocess.Popen[bytes] | None = None
        if (run / "results.json").exists():  # of a worker that was gone before it could report it
            return
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as file:
            self.printed_before = file.tell()  # bytes, by earlier starts of the trial
            lock = claim.lock.fileno()
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, pass_fds=[lock])

    @property
    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    @property
    def was_interrupted(self) -> bool:
        """Whether a signal has ended it, which says nothing against its settings."""
        return self.process is not None and self.process.returncode in INTERRUPTED

    def stop(self) -> None:
        """Ask it to save and stop after its step."""
        if self.process and not self.has_ended:
            self.process.terminate()

    def wait(self) -> None:
        if self.process:
            self.process.wait()

    def report(self) -> bool:
        """Report the new validations; returns whether the trial should be stopped at one of them."""
        trial, values = self.claim.trial, self._validations()
        for value in values[self.reported :]:
            self.reported += 1
            trial.report(value, self.reported)  # again, if the trial was taken over: that changes nothing
            if trial.should_prune():
                return True
        return False

    def _validations(self) -> list[float]:
        """The metric after each validation so far; nothing if the file has not changed."""
        path = self.run / "metrics.csv"
        size = path.stat().st_size if path.exists() else 0
        if size == self.seen:
            return []
        self.seen = size
        whole_lines, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        values = [row.get(self.metric) for row in csv.DictReader(io.StringIO(whole_lines))]
        return [float(value) for value in values if value]

    def value(self) -> float | None:
        """The metric of the best checkpoint, as `results.json` has it; None if the run has not finished."""
        path = self.run / "results.json"
        if not path.exists():
            return None
        of_validation = json.loads(path.read_text(encoding="utf-8")).get("val", {})
        name = self.metric.removeprefix("val/").removeprefix("val_")
        value = of_validation.get(name, of_validation.get(self.metric))
        return math.nan if value is None else value

    def cause(self) -> str:
        """Why it has broken, from the last line that it printed."""
        code = self.process.returncode if self.process else 0
        if code == -9:  # SIGKILL, which Windows lacks
            return "it was killed, as the system does when memory runs out"
        printed = self.output.read_bytes()[self.printed_before :].decode(errors="replace")
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        told = [line.removeprefix("kindling: ") for line in lines if line.startswith("kindling: ")]
        return (told or lines or [f"it ended with exit code {code}"])[-1]


def environment_of(slot: int, workers: int, gpus: list[str]) -> dict[str, str]:
    """The environment of one of several trainings on this machine: its share of the cores, and one GPU.

    Args:
        slot: the training's number, from 0 on.
        workers: how many trainings there are.
        gpus: the GPUs as CUDA_VISIBLE_DEVICES names them; empty if there are none.
    """
    environment = dict(os.environ)
    if workers > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return environment


def cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def gpus_here() -> list[str]:
    """The GPUs that this process may use."""
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return visible.split(",")
    import torch  # takes seconds

    return [str(index) for index in range(torch.cuda.device_count())]
