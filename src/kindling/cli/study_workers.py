"""The workers of one `kindling sweep`: trials side by side, each in a process of its own."""

import math
import os
import signal
import sys
import time
from types import FrameType
from typing import Any

from kindling.cli.dispatch import ENDS_WITH_PARENT
from kindling.cli.folds import SAFE_PATH
from kindling.core.errors import Stopped, UsageError
from kindling.core.tables import print_plain, shown
from kindling.run.folder import ENDED_EARLY
from kindling.study.space import Space, Values, as_text
from kindling.study.storage import optuna
from kindling.study.trial_process import TrialProcess, environment_of, gpus_here
from kindling.study.trials import Claim, State, Trials

FIT = [sys.executable, *SAFE_PATH, "-m", "kindling", "fit"]
OF_A_TRIAL = ["--test=false", "--figures.enabled=false"]
LOOK, CLAIM = 0.2, 5.0  # seconds between two looks at the trials, and at those of workers that may be gone


class Workers:
    """Runs the trials of a study until it has as many as it should have.

    Args:
        trials: the study's trials.
        space: the space that it searches.
        fit: the arguments of fit that all trials share.
        about: what the study is about.
        count: the number of trials at a time.
        most: the number of trials in the whole study; None for the whole grid.
    """

    def __init__(
        self, trials: Trials, space: Space, fit: list[str], about: dict[str, Any], count: int, most: int | None
    ) -> None:
        self.trials, self.space, self.fit, self.about, self.most = trials, space, fit, about, most
        self.slots: list[TrialProcess | None] = [None] * count
        self.gpus = gpus_here() if count > 1 else []
        self.signal = 0  # the one that asks to stop
        self.next_claim = 0.0  # when to look again

    def run(self) -> None:
        """Return when there is no trial left for this process.

        Raises:
            Stopped: after Ctrl-C or SIGTERM, with every trial saved.
            UsageError: if ten trials in a row break, or the study's record can't be written.
        """
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._fill_slots():
                time.sleep(LOOK)
                for slot, process in enumerate(self.slots):
                    if process and self._is_over(process):
                        self.slots[slot], self.next_claim = None, 0.0
        except (OSError, optuna.exceptions.StorageInternalError) as error:  # a full disk, a database that is gone
            reason = str(error.__cause__ or error).partition("\n")[0]
            raise UsageError(f"the study has stopped, and the same command goes on with it: {reason}") from error
        finally:
            for process in filter(None, self.slots):
                process.stop()
            for process in filter(None, self.slots):
                process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.signal:
            raise Stopped("stopped, with all trials saved: the same command goes on with them", 128 + self.signal)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.signal = number

    def _fill_slots(self) -> bool:
        """Begin trials where there is room; returns whether any runs. After a signal, none is begun or awaited."""
        if self.signal:
            return False
        for slot, process in enumerate(self.slots):
            if process is None and time.monotonic() >= self.next_claim:
                self.trials.refuse_if_all_break()
                if claim := self.trials.claim(self.space, self.most):
                    self.slots[slot] = self._begin(claim, slot)
                else:
                    self.next_claim = time.monotonic() + CLAIM
        return any(self.slots)

    def _begin(self, claim: Claim, slot: int) -> TrialProcess:
        """Begin the run of a trial, or go on with it: the same command does either."""
        folder, number = self.trials.folder, claim.trial.number
        values, run = self.space.suggest(claim.trial), folder / run_id(number)
        given = [*self.fit, *self.space.flags(values), f"--name={folder.name}", f"--run-id={run.name}"]
        goes_on = "goes on: " if (run / "config.yaml").exists() else ""
        print_plain(f"trial {number}  {goes_on}{', '.join(described(values))}")
        output = folder / "output" / f"{run.name}.txt"
        environment = self._environment(slot, number) | {ENDS_WITH_PARENT: str(os.getpid())}
        return TrialProcess(claim, [*FIT, *given, *OF_A_TRIAL], environment, run, output, self.about["metric"])

    def _environment(self, slot: int, number: int) -> dict[str, str]:
        """The environment of a trial, which shares this machine with those of other shells as well."""
        own = {process.claim.trial.number for process in self.slots if process}
        others = self.trials.at_work_here() - own - {number}
        return environment_of(slot, len(self.slots) + len(others), self.gpus)

    def _is_over(self, process: TrialProcess) -> bool:
        """Look at a trial, and tell the study what has become of it; returns whether its process has ended."""
        has_ended = process.has_ended
        should_stop = not process.is_told and process.report()
        if not has_ended:
            if should_stop:
                self._tell(process, State.PRUNED)
                process.stop()
            return False
        value = process.value()
        if process.is_told:
            pass
        elif value is None and process.was_interrupted:
            process.claim.lock.close()  # for whoever takes it over
        elif value is None:
            self._tell(process, State.FAIL, cause=process.cause())
        elif math.isnan(value):
            self._tell(process, State.FAIL, cause=f"{self.about['metric']} is undefined")
        else:
            self._tell(process, State.COMPLETE, value)
        return True

    def _tell(self, process: TrialProcess, state: State, value: float | None = None, cause: str = "") -> None:
        said = {
            State.COMPLETE: f"{self.about['metric']} {shown(value or 0.0)}",
            State.PRUNED: f"stopped as worse than the median, after validation {process.reported}",
            State.FAIL: f"broken: {cause}",
        }[state]
        if state != State.COMPLETE and process.run.is_dir():
            (process.run / ENDED_EARLY).write_text(f"{said}\n", encoding="utf-8")
        self.trials.tell(process.claim, state, value, cause)
        process.is_told = True
        print_plain(f"trial {process.claim.trial.number}  {said}")


def run_id(trial: int) -> str:
    """The name of the folder of a trial's run."""
    return f"trial_{trial}"


def described(values: Values) -> list[str]:
    """Values in readable form."""
    return [f"{dimension.key} {rounded(value)}" for dimension, value in values]


def rounded(value: Any) -> str:
    """A value as text, a number with at most four digits."""
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)
