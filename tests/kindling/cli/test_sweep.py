import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from conftest import QUICK, Result, assert_refused

from kindling.cli import study_report, study_workers, sweep
from kindling.study.locks import wait_for_lock
from kindling.study.trials import State, Trials, cause_of, is_broken

STUDY = Path("lightning_logs/digits_mlp_study")
SPACE = Path("space.yaml")
SWEEP = ("sweep", "--config", "configs/digits_mlp.yaml", "--space", SPACE)
# In the place of `kindling fit`: what becomes of a trial is what the space says.
FIT = """
import json, os, pathlib, signal, sys, time

flags = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:])
run = pathlib.Path("lightning_logs", flags["name"], flags["run-id"])
fate = flags["fate"]
if run.exists():
    fate = "crashes" if fate == "interrupted, crashes" else "fine"
run.mkdir(parents=True, exist_ok=True)
(run / "config.yaml").write_text("seed_everything: 0\\n")
with (run / "commands.txt").open("a") as commands:
    commands.write(" ".join(sys.argv[1:]) + "\\n")
    commands.write(f"{os.environ.get('OMP_NUM_THREADS')} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
if fate.startswith("broken"):
    print("epoch 1")
    sys.exit("kindling: the loss is NaN at step 3")
if fate == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if fate == "crashes":
    raise ValueError("no such file")
if fate.startswith("interrupted"):
    print("kindling: stopped", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
if fate == "bad":
    (run / "metrics.csv").write_text("epoch,step,val/loss\\n0,9,2.0\\n")
if fate in ("bad", "waits"):
    time.sleep(600)
value = {"undefined": None, "better": 0.25}.get(fate, 0.5)
(run / "metrics.csv").write_text(f"epoch,step,train/loss,val/loss\\n0,9,0.7,\\n0,9,,0.75\\n1,19,0.6,\\n1,19,,{value or ''}\\n")
(run / "results.json").write_text(json.dumps({"val": {"loss": value}, "seconds": 1.0}))
"""


@pytest.fixture
def search(kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a sweep over these values of a setting `fate`, with trainings that are none."""
    Path("fit.py").write_text(FIT, encoding="utf-8")
    monkeypatch.setattr(study_workers, "FIT", [sys.executable, "-I", "fit.py"])
    monkeypatch.setattr(study_workers, "LOOK", 0.01)
    monkeypatch.setattr(study_workers, "CLAIM", 0.01)
    monkeypatch.setattr(study_report, "_draw", lambda *_: None)
    monkeypatch.setattr(sweep, "checked", lambda *_: {"metric": "val/loss", "mode": "min", "seed": 0})

    def run(fates: list[str], *argv: object) -> Result:
        SPACE.write_text(yaml.safe_dump({"fate": {"choice": fates}}), encoding="utf-8")
        return kindling(*SWEEP, "--grid", *argv)

    return run


def trials() -> list[Any]:
    study = Trials(STUDY)
    assert study.exist()
    study.open()
    return study.all()


def outcomes() -> dict[str, Any]:
    """What became of each fate: the cause if it is broken, else the value, or the state."""
    return {
        trial.params["fate"]: cause_of(trial) if is_broken(trial) else trial.value or trial.state for trial in trials()
    }


def test_every_trial_is_told_what_became_of_it(search: Callable[..., Result]) -> None:
    told = search(["fine", "better", "undefined", "broken", "killed"], "--workers", 2)
    assert (told.code, told.err) == (0, "")
    assert outcomes() == {
        "fine": 0.5,
        "better": 0.25,
        "undefined": "val/loss is undefined",
        "broken": "the loss is NaN at step 3",
        "killed": "it was killed, as the system does when memory runs out",
    }
    for trial in trials():
        if trial.state == State.COMPLETE:
            assert trial.intermediate_values == {1: 0.75, 2: trial.value}
        word = f"broken: {cause_of(trial)}" if is_broken(trial) else f"val/loss {trial.value:.4f}"
        assert f"trial {trial.number}  {word}\n" in told.out
    assert f"study  {STUDY}: 5 trials (2 complete, 3 broken)" in told.out
    assert "broken 1 ×: the loss is NaN at step 3" in told.out
    rows = [line for line in told.out.splitlines() if line.startswith("│ trial_")]
    assert [row.split("│")[3].strip() for row in rows] == ["better", "fine"]
    assert told.out.splitlines()[-1].startswith(f"  kindling sweep --study {STUDY} --finish    # ")

    again = search(["fine", "better", "undefined", "broken", "killed"])
    assert len(trials()) == 5
    assert f"study  {STUDY}: 5 trials (2 complete, 3 broken)" in again.out


def test_a_trial_is_a_fit_without_test_and_figures(
    search: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("kindling.study.trial_process.cores", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert search(["fine", "better"], "--workers", 2, "--trainer.max_epochs", 5).code == 0
    cards = set()
    for trial in trials():
        command, environment = (
            Path(STUDY, f"trial_{trial.number}", "commands.txt").read_text(encoding="utf-8").splitlines()
        )
        threads, card = environment.split()
        cards.add(card)
        assert threads == "3"
        assert command == (
            f"--config configs/digits_mlp.yaml --trainer.max_epochs 5 --fate={trial.params['fate']} "
            f"--name=digits_mlp_study --run-id=trial_{trial.number} --test=false --figures.enabled=false"
        )
    assert cards == {"3", "5"}


@pytest.mark.parametrize(("others", "threads"), [(set(), "None"), ({98, 99}, "2")])
def test_trials_of_several_shells_share_the_cores(
    others: set[int], threads: str, search: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("kindling.study.trial_process.cores", lambda: 6)
    monkeypatch.setattr(Trials, "at_work_here", lambda _: {0, *others})
    assert search(["fine"]).code == 0
    _, environment = Path(STUDY, "trial_0/commands.txt").read_text(encoding="utf-8").splitlines()
    assert environment.split()[0] == threads


def test_an_interrupted_trial_goes_on_and_counts_once(search: Callable[..., Result]) -> None:
    told = search(["interrupted"])
    assert told.code == 0
    assert outcomes() == {"interrupted": 0.5}
    first, _, second, _ = Path(STUDY, "trial_0/commands.txt").read_text(encoding="utf-8").splitlines()
    assert first == second
    assert first.endswith(
        "--fate=interrupted --name=digits_mlp_study --run-id=trial_0 --test=false --figures.enabled=false"
    )
    assert told.out.count("trial 0  fate interrupted\n") == told.out.count("trial 0  goes on: fate interrupted\n") == 1


def test_the_cause_is_what_a_trial_said_last(search: Callable[..., Result]) -> None:
    assert search(["interrupted, crashes"]).code == 0
    assert outcomes() == {"interrupted, crashes": "ValueError: no such file"}
    assert Path(STUDY, "trial_0/ended_early.txt").read_text(encoding="utf-8") == "broken: ValueError: no such file\n"


def test_a_trial_that_is_worse_than_others_is_stopped_and_its_run_says_so(
    search: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kindling.study.trials._pruner", lambda _: optuna.pruners.ThresholdPruner(upper=1.0))
    told = search(["fine", "bad"])
    assert told.code == 0
    assert outcomes() == {"fine": 0.5, "bad": 2.0}
    (stopped,) = [trial for trial in trials() if trial.state == State.PRUNED]
    word = "stopped as worse than the median, after validation 1\n"
    assert f"trial {stopped.number}  {word}" in told.out
    assert Path(STUDY, f"trial_{stopped.number}/ended_early.txt").read_text(encoding="utf-8") == word
    assert f"study  {STUDY}: 2 trials (1 complete, 1 stopped early)" in told.out


def test_what_finished_before_its_worker_could_tell_is_told_by_another(search: Callable[..., Result]) -> None:
    search(["fine", "waits"], "--trials", 1)
    lines = Path(STUDY, "journal.log").read_text(encoding="utf-8").splitlines(keepends=True)
    number = trials()[0].number
    (ended,) = [index for index, line in enumerate(lines) if json.loads(line).get("values") == [0.5]]
    Path(STUDY, "journal.log").write_text("".join(lines[:ended]), encoding="utf-8")
    assert trials()[0].state == State.RUNNING
    search(["fine", "waits"], "--trials", 1)
    assert [(trial.number, trial.value) for trial in trials()] == [(number, 0.5)]
    assert len(Path(STUDY, f"trial_{number}/commands.txt").read_text(encoding="utf-8").splitlines()) == 2  # it ran once


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_trials_which_the_same_command_goes_on_with(
    search: Callable[..., Result], number: signal.Signals
) -> None:
    def interrupt() -> None:
        while not Path(STUDY, "trial_0/commands.txt").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.getsignal(number)
    told = search(["waits"])
    thread.join()
    assert told.code == 128 + number
    assert told.err == "kindling: stopped, with all trials saved: the same command goes on with them\n"
    assert signal.getsignal(number) is before
    assert [trial.state for trial in trials()] == [State.RUNNING]
    assert search(["waits"]).code == 0
    assert outcomes() == {"waits": 0.5}


def test_a_study_whose_record_can_not_be_written_stops_in_a_sentence(
    search: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Trials, "tell", fails)
    told = search(["fine"])
    stops = (
        "kindling: the study has stopped, and the same command goes on with it: [Errno 28] No space left on device\n"
    )
    assert (told.code, told.err) == (2, stops)


def test_a_study_in_which_all_trials_break_stops(
    search: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kindling.study.trials.IN_A_ROW", 3)
    told = search([f"broken{number}" for number in range(5)])
    assert told.code == 2
    assert told.err == "kindling: 3 trials in a row have broken, the last with: the loss is NaN at step 3\n"
    assert [is_broken(trial) for trial in trials()] == [True] * 3


@pytest.fixture
def refusals(kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Runs a sweep over a space that is refused before a trial."""
    monkeypatch.setattr(sweep, "checked", sweep.check)
    monkeypatch.setattr(study_workers.Workers, "run", lambda _: pytest.fail("a trial was begun"))

    def run(space: str, *argv: object) -> Result:
        SPACE.write_text(space, encoding="utf-8")
        return kindling(*SWEEP, *QUICK, *argv)

    return run


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("model.optimizer.lrr: {log: [1e-4, 1e-1]}", "space.yaml: unknown key model.optimizer.lrr: did you mean model.optimizer.lr?"),
        ("model.dropout: {choice: [0.1, much]}", "space.yaml: model.dropout is 'much': expected float"),
        ("model.hidden_sizes: {choice: [[64], 64]}", "space.yaml: model.hidden_sizes is 64: expected list[int]"),
        ("model: {choice: [MLP, CNM]}", "space.yaml: model is 'CNM', which names no LightningModule here: did you mean CNN"),
        ("{model: {choice: [MLP, CNN]}, model.hidden_sizes: {choice: [[8]]}}", "; a setting that only one choice takes goes below it, as in choice: {MLP: {model.dropout: …}, CNN: }"),
        ("trainer.max_epoch: {int: [1, 2]}", "space.yaml: unknown key trainer.max_epoch: did you mean trainer.max_epochs or"),
        ("model.dropout: {float: [1.5, 2]}", "dropout is 1.5: expected a fraction in [0, 1)"),
        ("model.dropout: {choice: []}", "space.yaml: model.dropout: choice is []: expected a list of values"),
        ("", "space.yaml is empty: expected keys such as model:, data: and trainer:"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_refused_as_a_config_is(space: str, message: str, refusals: Callable[..., Result]) -> None:
    assert_refused(refusals(space), message)


FINE = "model.dropout: {float: [0, 0.5]}"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model.dropout", "0.1"], "--model.dropout is also in space.yaml: leave out one of them"),
        (["--test", "true"], "sweep takes no --test: it begins a run for each trial"),
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run makes no runs, but a study consists of runs: leave it out"),
        (["--resume=x"], "sweep takes no --resume: it begins a run for each trial"),
        (["--trials", "0"], "--trials: 0 is not a whole number above 0"),
        (["--name", "../x"], "--name is '../x': expected the name of one folder"),
        (["--grid", "--random"], "--random: not allowed with argument --grid"),
        (["--grid"], "space.yaml: model.dropout: float has infinitely many values: for a grid, use choice"),
        (["--model.widht", "3"], "command line: unknown key model.widht"),
        (["--checkpoint.monitor", "val/typo"], "no validation logs val/typo to compare trials by: set checkpoint.monitor to one of val/"),
        (["--storage", "nonsense"], "can't open --storage: Could not parse"),
        (["--study", "lightning_logs/x"], "--study only shows a study and takes no --config: to go on with it"),
    ],
)  # fmt: skip
def test_what_is_refused(argv: list[str], message: str, refusals: Callable[..., Result]) -> None:
    finished = refusals(FINE, *argv)
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.count("\n") == 1
    assert not list(Path().glob("lightning_logs/*/trial_*"))


def test_a_sweep_needs_a_space_or_a_study(kindling: Callable[..., Result]) -> None:
    assert_refused(
        kindling("sweep", "--config", "configs/digits_mlp.yaml"), "nothing says what to search: give --space FILE"
    )
    assert_refused(
        kindling("sweep", "--space", "nothere.yaml", "--config", "configs/digits_mlp.yaml"),
        "can't read config nothere.yaml",
    )
    assert_refused(
        kindling("sweep", "--study", "lightning_logs/a"), "no study in lightning_logs/a: expected its folder"
    )


@pytest.mark.parametrize(
    ("argv", "metric", "mode"),
    [
        ([], "val/loss", "min"),
        (["--checkpoint.monitor", "val/accuracy"], "val/accuracy", "max"),
        (["--checkpoint.monitor", "val/loss", "--checkpoint.mode", "max"], "val/loss", "max"),
    ],
)
def test_a_study_goes_by_what_its_runs_go_by(
    argv: list[str], metric: str, mode: str, search: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "checked", sweep.check)
    monkeypatch.setattr(study_workers.Workers, "run", lambda _: None)
    SPACE.write_text(FINE, encoding="utf-8")
    main = ["--config", "configs/digits_mlp.yaml", "--space", str(SPACE), *QUICK, *argv]
    sweep.main(main)
    study = Trials(STUDY)
    assert study.exist()
    about = study.open()
    assert (about["metric"], about["mode"]) == (metric, mode)
    assert study.study.direction.name == {"min": "MINIMIZE", "max": "MAXIMIZE"}[mode]


def test_another_study_is_not_joined(search: Callable[..., Result]) -> None:
    assert search(["fine"]).code == 0
    refused = search(["fine", "better"])
    assert refused.code == 2
    assert refused.err == (
        f"kindling: {STUDY} is a study of something else, in which fate differs: give --name NAME for a study of its own\n"
    )
    assert "in which trainer.max_epochs differs" in search(["fine"], "--trainer.max_epochs", 3).err
    assert search(["fine", "better"], "--name", "other").code == 0
    assert Path("lightning_logs/other_study/trial_1/results.json").exists()


def test_how_a_study_stands(search: Callable[..., Result], kindling: Callable[..., Result]) -> None:
    search(["fine", "better"])
    told = kindling("sweep", "--study", STUDY)
    assert (told.code, told.err) == (0, "")
    assert f"study  {STUDY}: 2 trials (2 complete)" in told.out
    assert "what mattered: fate 100%" in told.out
    assert f"optuna-dashboard {STUDY}/journal.log" in told.out


def test_the_best_settings_are_trained_with_other_seeds_and_tested(
    search: Callable[..., Result], kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    search(["fine", "better"], "--trainer.max_epochs", 5)
    commands = []

    def fit(argv: list[str]) -> int:
        commands.append(argv)
        run = Path("lightning_logs", argv[-2].partition("=")[2], argv[-1].partition("=")[2])
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("{model: MLP, data: Digits}")
        (run / "results.json").write_text(
            '{"val": {"loss": 0.2}, "test": {"loss": 0.3, "accuracy": 0.9}, "seconds": 1.0}'
        )
        return 0

    monkeypatch.setattr(study_report, "fit_in_a_process", fit)
    (best,) = [trial.number for trial in trials() if trial.value == 0.25]
    for _ in range(2):
        told = kindling("sweep", "--study", STUDY, "--finish")
        assert (told.code, told.err) == (0, "")
        assert "0.9000 ±0.0000" in told.out
    given = ["--config", "configs/digits_mlp.yaml", "--trainer.max_epochs", "5", "--fate=better"]
    assert commands == [
        [*given, f"--seed_everything={seed}", "--name=digits_mlp_study_best", f"--run-id=trial_{best}_seed_{seed}"]
        for seed in (1, 2, 3)
    ]


def test_the_best_settings_are_not_trained_while_a_better_trial_may_come_or_with_other_configs(
    search: Callable[..., Result], kindling: Callable[..., Result]
) -> None:
    finish = ("sweep", "--study", STUDY, "--finish")
    own = Path("own.yaml")
    own.write_text("trainer: {max_epochs: 3}", encoding="utf-8")
    assert search(["fine"], "--config", own).code == 0
    study = Trials(STUDY)
    assert study.exist()
    study.open()
    study.study.ask()
    with wait_for_lock(STUDY / "locks" / "trial_1"):
        told = kindling(*finish)
        assert f"study  {STUDY}: 2 trials (1 complete, 1 running)\n" in told.out
        refusal = f"{STUDY} has running trials (1): use --finish when they have ended"
        assert (told.code, told.err) == (2, f"kindling: {refusal}\n")
        told = search(["fine"], "--config", own, "--trials", 1, "--finish")
        assert told.code == 0
        assert told.out.endswith("other workers have running trials: --finish is left to the last of them\n")

    own.write_text("trainer: {max_epochs: 4}", encoding="utf-8")
    told = kindling(*finish)
    assert (
        f"study  {STUDY}: 2 trials (1 complete, 1 interrupted)\nthe command that began the study goes on with"
        in told.out
    )
    refusal = f"trainer.max_epochs has changed since the trials of {STUDY}: set it back in the config"
    assert (told.code, told.err) == (2, f"kindling: {refusal}\n")


def test_a_study_without_a_complete_trial_can_not_be_finished(
    search: Callable[..., Result], kindling: Callable[..., Result]
) -> None:
    search(["broken"])
    told = kindling("sweep", "--study", STUDY, "--finish")
    assert told.code == 2
    assert told.err == f"kindling: {STUDY} has no complete trial yet, so there are no best settings to train\n"
    assert "no trial is complete yet" in told.out


def test_help(kindling: Callable[..., Result], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        kindling("sweep", "--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "kindling sweep --config configs/digits_mlp.yaml --space configs/spaces/mlp.yaml --trials 40" in told
    assert all(len(line) <= 120 for line in told.splitlines())
