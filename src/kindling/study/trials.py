"""The trials of a study, shared by its workers: each is claimed by one at a time, and taken over if that one dies."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import IO, Any
from uuid import uuid4

import numpy as np

from kindling.core.errors import UsageError
from kindling.study.locks import try_lock, wait_for_lock
from kindling.study.space import Space
from kindling.study.storage import JOURNAL, open_storage, optuna

State = optuna.trial.TrialState
Frozen = optuna.trial.FrozenTrial
ABOUT = "kindling"  # the attribute in which a study keeps what it is about
IN_A_ROW = 10  # as many broken trials mean that something other than their settings is wrong
SAMPLERS = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


@dataclass
class Claim:
    """A trial that belongs to this process as long as it holds the lock.

    Args:
        trial: Optuna's trial.
        lock: the trial's own process inherits it: a trial is free when both processes are gone.
    """

    trial: optuna.trial.Trial
    lock: IO[str]


class Trials:
    """The trials of the study in a folder.

    Args:
        folder: the study's folder; its name is the study's name in the storage.
        url: the address of a database; None for the journal in the folder.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.url = folder, url
        self.id_file = folder / "locks" / "id"  # says which study the locks belong to
        self.began = datetime.now()

    def exist(self) -> bool:
        """Whether the study has been made, completely."""
        if not (self.folder / "locks").is_dir():
            return False
        with self._all_to_itself():
            return self._is_complete()

    def _is_complete(self) -> bool:
        if self.url is None and not (self.folder / JOURNAL).is_file():
            return False
        self.storage = open_storage(self.folder, self.url)
        names = optuna.study.get_all_study_names(self.storage)
        return self.folder.name in names and ABOUT in self._load().user_attrs

    def make(self, about: dict[str, Any], grid: list[dict[str, Any]]) -> None:
        """Make the study, unless another worker has just done so.

        Args:
            about: what it searches, by which `metric` and `mode`, and the `seed` of its random draws: plain values.
            grid: the parameters of trials that are to be run before all others.
        """
        with self._all_to_itself():
            if self._is_complete():
                return
            if any(self.folder.glob("trial_*")):
                raise UsageError(
                    f"{self.folder} has runs of a study whose record is elsewhere or gone: give --name NAME"
                )
            self.storage = open_storage(self.folder, self.url)
            study = optuna.create_study(
                storage=self.storage,
                study_name=self.folder.name,
                direction="minimize" if about["mode"] == "min" else "maximize",
                load_if_exists=True,
            )
            for parameters in grid:
                study.enqueue_trial(parameters, skip_if_exists=True)
            self.id_file.write_text(uuid4().hex, encoding="utf-8")
            study.set_user_attr(ABOUT, about | {"id": self.id_file.read_text(encoding="utf-8")})

    def open(self) -> dict[str, Any]:
        """Open the study that is there; returns what it is about.

        Raises:
            UsageError: if a database keeps it for another folder: without shared locks, workers would run trials twice.
        """
        self.study = self._load()
        self.about = self.study.user_attrs[ABOUT]
        if self.url and not (self.id_file.is_file() and self.id_file.read_text(encoding="utf-8") == self.about["id"]):
            raise UsageError(
                f"the study {self.folder.name} in --storage has its runs and locks in another {self.folder} than this "
                "one, and all its workers must share one: give --name NAME for a separate study"
            )
        return self.about

    def _load(self) -> optuna.Study:
        return optuna.load_study(storage=self.storage, study_name=self.folder.name)

    @contextmanager
    def _all_to_itself(self) -> Iterator[None]:
        """Let no other worker claim a trial meanwhile."""
        with wait_for_lock(self.folder / "locks" / "study"):
            yield

    def all(self) -> list[Frozen]:
        """Every trial that has been begun, in order."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != State.WAITING]

    def claim(self, space: Space, most: int | None) -> Claim | None:
        """A trial for this process: one whose worker is gone, or else a new one, if there are to be more.

        Args:
            space: where its values come from.
            most: the number of trials in the whole study; None for those of the grid.
        """
        with self._all_to_itself():
            begun = self.all()
            self.study.pruner = _pruner(begun)
            unfinished = [trial.number for trial in begun if trial.state == State.RUNNING]
            claim = next(filter(None, map(self._claim, unfinished)), None)
            if claim is None and self._has_room(len(begun), most):
                claim = self._claim(self.study.ask().number)
            if claim:  # so that its values are recorded before another worker's sampler looks
                space.suggest(claim.trial)
            return claim

    def _has_room(self, begun: int, most: int | None) -> bool:
        if self.about["search"] == "grid" and not self.study.get_trials(deepcopy=False, states=(State.WAITING,)):
            return False
        return most is None or begun < most

    def at_work(self) -> set[int]:
        """The numbers of the trials that a process is working on; those of dead workers only seem to be running."""
        with self._all_to_itself():
            locks = {trial.number: self._lock(trial.number) for trial in self.all() if trial.state == State.RUNNING}
            for lock in filter(None, locks.values()):
                lock.close()
        return {number for number, lock in locks.items() if not lock}

    def at_work_here(self) -> set[int]:
        """The numbers of those that a process of this machine is working on."""
        return {
            number for number in self.at_work() if self._lock_file(number).read_text(encoding="utf-8") == gethostname()
        }

    def _lock_file(self, number: int) -> Path:
        return self.folder / "locks" / f"trial_{number}"

    def _lock(self, number: int) -> IO[str] | None:
        return try_lock(self._lock_file(number))

    def _claim(self, number: int) -> Claim | None:
        """A claim of the trial, if no other worker has one."""
        lock = self._lock(number)
        if lock is None:
            return None
        study_id = self.storage.get_study_id_from_name(self.folder.name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        if self.storage.get_trial(trial_id).state.is_finished():  # just now
            lock.close()
            return None
        lock.truncate(0)
        lock.write(gethostname())
        lock.flush()
        self.study.sampler = _sampler(self.about["search"], self.about["seed"], number)
        return Claim(optuna.trial.Trial(self.study, trial_id), lock)

    def tell(self, claim: Claim, state: State, value: float | None = None, cause: str = "") -> None:
        """Finish a trial; a broken one, with its cause, counts as stopped and as violating a constraint.

        From such trials the samplers learn where not to look, whereas they ignore failed ones.
        """
        if state == State.FAIL:
            claim.trial.set_user_attr("cause", cause)
            claim.trial.set_constraint("broken", 1.0)
            state = State.PRUNED
        self.study.tell(claim.trial.number, value, state)
        claim.lock.close()

    def refuse_if_all_break(self) -> None:
        """Raise a UsageError with the cause if the last ten trials that ended since this process began all broke."""
        ended = [trial for trial in self.all() if trial.datetime_complete and trial.datetime_complete > self.began]
        last = sorted(ended, key=lambda trial: trial.datetime_complete or self.began)[-IN_A_ROW:]
        if len(last) == IN_A_ROW and all(map(is_broken, last)):
            raise UsageError(f"{IN_A_ROW} trials in a row have broken, the last with: {cause_of(last[-1])}")


def _sampler(search: str, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Draws the settings of a trial: the same whenever the study's seed and the earlier trials are the same."""
    of_trial = np.random.SeedSequence([seed, number]).generate_state(1)
    return SAMPLERS.get(search, SAMPLERS["random"])(seed=int(of_trial[0]))


def _pruner(begun: list[Frozen]) -> optuna.pruners.BasePruner:
    """Stops a trial that is worse than the median of the others after the same number of validations.

    The first five trials are left alone, and so is the first quarter of every other trial's validations.
    """
    validations = [trial.last_step or 0 for trial in begun if trial.state == State.COMPLETE]
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1 + max(validations, default=0) // 4)


def is_broken(trial: Frozen) -> bool:
    return trial.state == State.PRUNED and "cause" in trial.user_attrs


def cause_of(trial: Frozen) -> str:
    return trial.user_attrs["cause"]


def differing(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first setting, or part of the space, in which two studies differ."""
    for part in ("space", "settings"):
        keys = [key for key in before[part] | now[part] if before[part].get(key) != now[part].get(key)]
        if keys:
            return max(keys, key=lambda key: key.count("."))  # the innermost is the most precise
    return None if before["search"] == now["search"] else f"--{now['search']}"


def as_plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values as they come back from JSON."""
    return json.loads(json.dumps(values, default=str))
