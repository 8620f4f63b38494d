"""Shows how a study stands: the best trials and what mattered; and trains the best settings anew, and tests them."""

import re
import sys
from collections import Counter
from typing import Any

from rich.table import Table

from kindling.cli.arguments import read_arguments
from kindling.cli.compare import print_table
from kindling.cli.folds import fit_in_a_process
from kindling.cli.study_workers import rounded, run_id
from kindling.core.consoles import typed
from kindling.core.errors import UsageError
from kindling.core.tables import console, print_plain, printable, shown
from kindling.run.folder import ROOT
from kindling.study.space import Space
from kindling.study.storage import JOURNAL, optuna
from kindling.study.trials import Frozen, State, Trials, as_plain, cause_of, differing, is_broken

SHOWN = 10  # trials in the table
SEEDS = 3
WORDS = ("complete", "stopped early", "broken", "running", "interrupted")  # what a trial can be


def show(trials: Trials, about: dict[str, Any]) -> None:
    """Print how a study stands, and draw its figures."""
    begun = trials.all()
    at_work = trials.at_work()
    counts = Counter(_word(trial, at_work) for trial in begun)
    told = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    print(f"study  {trials.folder}: {len(begun)} trials{' (' + told + ')' if told else ''}")
    if counts["interrupted"]:
        print("the command that began the study goes on with what was interrupted")
    for cause, count in Counter(cause_of(trial) for trial in begun if is_broken(trial)).items():
        print_plain(f"broken {count} ×: {cause}")
    ended = _best_first(begun, about)
    if not ended:
        return print("no trial is complete yet")
    importances = _importances(trials)
    print(f"best first by {about['metric']} on the validation split")
    console(wide=True).print(_table(ended[:SHOWN], about))
    if importances:
        print_plain(f"what mattered: {', '.join(f'{name} {share:.0%}' for name, share in importances.items())}")
    _draw(trials, begun, about, importances)
    _print_next(trials)


def _word(trial: Frozen, at_work: set[int]) -> str:
    if is_broken(trial):
        return "broken"
    if trial.state == State.RUNNING:
        return "running" if trial.number in at_work else "interrupted"
    return "complete" if trial.state == State.COMPLETE else "stopped early"


def _best_first(begun: list[Frozen], about: dict[str, Any]) -> list[Frozen]:
    complete = [trial for trial in begun if trial.state == State.COMPLETE]
    return sorted(complete, key=lambda trial: trial.value or 0.0, reverse=about["mode"] == "max")


def _table(best: list[Frozen], about: dict[str, Any]) -> Table:
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    table = Table("run", *(re.sub(r"(?<=[./])", "\n", name) for name in (about["metric"], *names)))  # narrow columns
    for trial in best:
        values = [printable(rounded(trial.params[name])) if name in trial.params else "–" for name in names]
        table.add_row(run_id(trial.number), shown(trial.value or 0.0), *values)
    return table


def _importances(trials: Trials) -> dict[str, float]:
    """Each parameter's share of the differences between trials; empty where there are too few trials."""
    complete = [trial for trial in trials.all() if trial.state == State.COMPLETE]
    if len({trial.value for trial in complete}) < 2:
        return {}
    return optuna.importance.get_param_importances(trials.study)


def _draw(trials: Trials, begun: list[Frozen], about: dict[str, Any], importances: dict[str, float]) -> None:
    from kindling.figures import study as figures  # takes seconds

    ended = [
        figures.Trial(trial.number, trial.value, trial.params, trial.state == State.PRUNED)
        for trial in begun
        if trial.value is not None and not is_broken(trial)
    ]
    folder = trials.folder / "figures"
    folder.mkdir(exist_ok=True)
    drawn = {
        "history": figures.history(ended, about["metric"], about["mode"]),
        "importances": figures.importances(importances) if importances else None,
        "slices": figures.slices(ended, about["metric"]),
    }
    for name, figure in drawn.items():
        if figure:
            figure.savefig(folder / f"{name}.png", dpi=120)
    names = ", ".join(f"{name}.png" for name, figure in drawn.items() if figure)
    print(f"in {folder}: {names}")


def _print_next(trials: Trials) -> None:
    folder = typed(trials.folder)
    # A database's URL can have a password in it.
    record, storage = ("URL", " --storage URL") if trials.url else (typed(trials.folder / JOURNAL), "")
    print(f"next:\n  kindling compare {folder}    # all runs")
    print(f"  optuna-dashboard {record}    # pip install optuna-dashboard")
    print(f"  kindling board {folder}    # curves, and settings beside results (HParams)")
    print(f"  kindling sweep --study {folder}{storage} --finish    # train the best over {SEEDS} seeds, and test them")


def finish(trials: Trials, about: dict[str, Any]) -> None:
    """Train the best settings with seeds other than the search's, test each run once, and compare the runs.

    Raises:
        UsageError: if no trial is complete, a running one may turn out better, or a config has changed.
    """
    best = _best_first(trials.all(), about)
    if not best:
        raise UsageError(f"{trials.folder} has no complete trial yet, so there are no best settings to train")
    if at_work := trials.at_work():
        raise UsageError(f"{trials.folder} has running trials ({len(at_work)}): use --finish when they have ended")
    now = as_plain({"settings": read_arguments(["fit", *about["fit"]]).values})
    if changed := differing(about, about | now):
        raise UsageError(f"{changed} has changed since the trials of {trials.folder}: set it back in the config")
    trial, space = best[0], Space(about["space"], about["source"])
    name, first = f"{trials.folder.name}_best", about["seed"] + 1
    runs = []
    for seed in range(first, first + SEEDS):
        run = ROOT / name / f"{run_id(trial.number)}_seed_{seed}"
        runs.append(run)
        if (run / "results.json").exists():
            continue
        settings = [*about["fit"], *space.flags(space.of(trial.params)), f"--seed_everything={seed}"]
        if code := fit_in_a_process([*settings, f"--name={name}", f"--run-id={run.name}"]):
            sys.exit(code)
    print_table(runs)
    print(f"the runs are in {ROOT / name}: kindling compare {ROOT / name} shows them again")
