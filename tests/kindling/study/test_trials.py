"""Two workers are two `Trials` of one folder: a lock is of an open file, so one keeps out the other in this process."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from kindling.core.errors import UsageError
from kindling.study.space import Space, parameters
from kindling.study.storage import JournalLock
from kindling.study.trials import State, Trials, differing, is_broken

SPACE = Space({"a": {"float": [0, 1]}, "b": {"choice": ["x", "y", "z"]}}, "space.yaml")
ABOUT = {"metric": "val/loss", "mode": "min", "search": "tpe", "seed": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a_study"


def worker(folder: Path, url: str | None = None, **about: Any) -> Trials:
    trials = Trials(folder, url)
    if not trials.exist():
        trials.make(ABOUT | about, [])
    trials.open()
    return trials


def gone(claim) -> None:
    """What a kill does with the lock of a worker."""
    claim.lock.close()


@pytest.mark.parametrize("url", [None, pytest.param("sqlite:///{}/study.db", marks=pytest.mark.slow)])
def test_no_trial_is_claimed_twice_and_there_are_as_many_as_asked_for(folder: Path, url: str | None) -> None:
    url = url and url.format(folder.parent)
    first, second = worker(folder, url), worker(folder, url)
    claims = [each.claim(SPACE, 3) for each in (first, second, first)]
    assert [claim.trial.number for claim in claims] == [0, 1, 2]
    assert [each.claim(SPACE, 3) for each in (first, second)] == [None, None]
    for claim in claims[:2]:
        second.tell(claim, State.COMPLETE, 0.5)
    assert second.claim(SPACE, 3) is None
    assert second.claim(SPACE, 4).trial.number == 3
    assert [trial.state for trial in first.all()] == [State.COMPLETE, State.COMPLETE, State.RUNNING, State.RUNNING]


def test_a_trial_whose_worker_has_gone_is_taken_over_with_its_values(folder: Path) -> None:
    first, second = worker(folder), worker(folder)
    claim = first.claim(SPACE, 9)
    assert claim.trial.number == 0
    values = parameters(SPACE.suggest(claim.trial))
    others = second.claim(SPACE, 9)
    assert others.trial.number == 1
    gone(claim)
    taken = second.claim(SPACE, 9)
    assert taken.trial.number == 0
    assert parameters(SPACE.suggest(taken.trial)) == values
    second.tell(taken, State.COMPLETE, 0.5)
    assert first.claim(SPACE, 9).trial.number == 2


def test_a_trial_is_at_work_as_long_as_a_process_has_its_lock(folder: Path) -> None:
    first, second = worker(folder), worker(folder)
    claims = [first.claim(SPACE, 9) for _ in range(3)]
    first.tell(claims[0], State.COMPLETE, 0.5)
    gone(claims[1])
    assert first.at_work() == second.at_work() == {2}
    assert second.claim(SPACE, 9).trial.number == 1  # which the look has left free


def test_trials_of_other_machines_are_not_at_work_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = worker(folder), worker(folder)
    claims = [first.claim(SPACE, 9)]
    with monkeypatch.context() as patch:
        patch.setattr("kindling.study.trials.gethostname", lambda: "elsewhere")
        claims.append(second.claim(SPACE, 9))
    claims.append(second.claim(SPACE, 9))
    assert first.at_work() == {0, 1, 2}
    assert first.at_work_here() == second.at_work_here() == {0, 2}


@pytest.mark.parametrize("search", ["tpe", "random"])
def test_what_is_drawn_follows_from_the_seed_and_the_trials_before(folder: Path, search: str) -> None:
    drawn = []
    for number, seed in enumerate((3, 3, 4)):
        trials = worker(folder.with_name(f"study_{number}"), seed=seed, search=search)
        for _ in range(12):  # TPE draws the first 10 at random
            claim = trials.claim(SPACE, 99)
            trials.tell(claim, State.COMPLETE, claim.trial.params["a"])
        drawn.append([trial.params for trial in trials.all()])
    assert drawn[0] == drawn[1]
    assert not any(trial in drawn[0] for trial in drawn[2])
    assert len({trial["a"] for trial in drawn[0]}) == 12


def test_a_study_of_a_database_with_its_locks_in_another_folder_is_not_joined(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    worker(tmp_path / "here" / "a_study", url)
    for _ in range(2):  # the first time the folder is not there yet
        with pytest.raises(
            UsageError, match=r"^the study a_study in --storage has its runs and locks in another .* than this"
        ):
            worker(tmp_path / "there" / "a_study", url)


def test_a_trial_that_was_begun_without_its_values_gets_them(folder: Path) -> None:
    first = worker(folder)
    first.study.ask()  # and here the worker is killed
    claim = worker(folder).claim(SPACE, 9)
    assert claim.trial.number == 0
    assert set(first.all()[0].params) == {"a", "b"}


def test_a_grid_is_run_once_and_is_over_with_its_last_combination(folder: Path) -> None:
    space = Space({"a": {"int": [1, 2]}, "b": {"choice": ["x", "y"]}}, "space.yaml")
    trials = Trials(folder)
    trials.make(ABOUT | {"search": "grid"}, [parameters(values) for values in space.grid()])
    second = Trials(folder)
    assert second.exist()
    for each in (trials, second):
        each.open()
    claims = [each.claim(space, None) for each in (trials, second, trials, second)]
    values = [tuple(parameters(space.suggest(claim.trial)).values()) for claim in claims]
    assert sorted(values) == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert trials.claim(space, None) is None
    gone(claims[0])
    taken = second.claim(space, None)
    assert tuple(parameters(space.suggest(taken.trial)).values()) == values[0]


def test_a_study_that_was_killed_while_it_was_made_is_made_to_its_end(folder: Path) -> None:
    trials = worker(folder)
    journal = folder / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]))  # without what it is about
    again = Trials(folder)
    assert not again.exist()
    again.make(ABOUT, [])
    assert again.open().items() > ABOUT.items()
    assert trials.folder == again.folder


def test_a_line_that_a_kill_cut_off_is_removed_from_the_journal(folder: Path) -> None:
    trials = worker(folder)
    with (folder / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "worker_id": "a')
    claim = trials.claim(SPACE, 1)
    trials.tell(claim, State.COMPLETE, 0.5)
    assert [trial.value for trial in worker(folder).all()] == [0.5]


def test_the_journal_of_an_empty_study_can_be_locked(tmp_path: Path) -> None:
    (tmp_path / "journal.log").touch()
    lock = JournalLock(tmp_path / "journal.log")
    for _ in range(2):
        assert lock.acquire()
        lock.release()


def test_ten_broken_trials_in_a_row_end_the_study_with_the_cause_and_a_later_start_counts_anew(folder: Path) -> None:
    trials = worker(folder)
    for number in range(12):
        state = State.COMPLETE if number == 1 else State.FAIL
        trials.refuse_if_all_break()
        claim = trials.claim(SPACE, 99)
        if state == State.FAIL:
            trials.tell(claim, state, cause="the loss is NaN")
        else:
            trials.tell(claim, state, 0.5)
    with pytest.raises(UsageError, match="10 trials in a row have broken, the last with: the loss is NaN"):
        trials.refuse_if_all_break()
    worker(folder).refuse_if_all_break()


def test_the_sampler_learns_where_trials_break(folder: Path) -> None:
    trials = worker(folder)
    for _ in range(40):
        claim = trials.claim(SPACE, 99)
        if claim.trial.params["a"] > 0.3:
            claim.trial.report(0.1, 1)  # it looked good before
            trials.tell(claim, State.FAIL, cause="the loss is NaN")
        else:
            trials.tell(claim, State.COMPLETE, 0.5)
    broken = [is_broken(trial) for trial in trials.all()]
    assert sum(broken[:10]) > 5  # drawn at random
    assert sum(broken[-20:]) < 8


def test_a_trial_is_stopped_as_worse_than_the_median_but_not_in_its_first_quarter(folder: Path) -> None:
    trials = worker(folder)
    for _ in range(5):
        claim = trials.claim(SPACE, 99)
        for step in range(1, 9):
            claim.trial.report(1 / step, step)
        assert not claim.trial.should_prune()
        trials.tell(claim, State.COMPLETE, 1 / 8)
    claim = trials.claim(SPACE, 99)
    pruned = []
    for step in range(1, 5):
        claim.trial.report(2.0, step)
        pruned.append(claim.trial.should_prune())
    assert pruned == [False, False, True, True]
    trials.tell(claim, State.PRUNED)
    assert trials.all()[-1].state == State.PRUNED
    assert trials.all()[-1].value == 2.0


def test_a_folder_that_can_not_be_locked_is_said(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    with pytest.raises(UsageError, match="^can't write to .*locks/study: (File exists|Not a directory)$"):
        Trials(tmp_path).make(ABOUT, [])


def test_runs_without_a_record_are_no_study_to_join(folder: Path) -> None:
    (folder / "trial_0").mkdir(parents=True)
    trials = Trials(folder)
    assert not trials.exist()
    with pytest.raises(UsageError, match="has runs of a study whose record is elsewhere or gone: give --name NAME"):
        trials.make(ABOUT, [])


def test_the_record_is_one_that_optuna_reads(folder: Path) -> None:
    trials = worker(folder, mode="max")
    trials.tell(trials.claim(SPACE, 1), State.COMPLETE, 0.5)
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    study = optuna.load_study(study_name="a_study", storage=optuna.storages.JournalStorage(backend))
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_value == 0.5


def test_what_differs_between_two_studies() -> None:
    study = {"space": {"a": 1}, "settings": {"model": {"class_path": "MLP"}, "model.dropout": 0.1}, "search": "tpe"}
    assert differing(study, study) is None
    assert differing(study, study | {"search": "grid"}) == "--grid"
    assert differing(study, study | {"space": {"a": 1, "b": 2}}) == "b"
    other = {"model": {"class_path": "CNN"}, "model.dropout": 0.2}
    assert differing(study, study | {"settings": other}) == "model.dropout"
