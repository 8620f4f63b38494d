"""`kindling folds --config FILE --data.folds K`: train once for each of K folds, and report means and deviations.

Each training is as fit does it, with another fold as the validation split; the test split is the same for all.
Takes what fit takes (see kindling fit --help), apart from --resume and --find.
"""

import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from kindling.cli.arguments import read_arguments
from kindling.cli.compare import read_runs
from kindling.core.errors import UsageError
from kindling.run.folder import ROOT


def main(argv: list[str]) -> None:
    if {"-h", "--help"} & {*argv}:
        print(__doc__, end="")
        return
    arguments = read_arguments(["fit", *argv])
    settings = {key: value for _, key, value in arguments.settings}
    folds = str(settings.get("data.folds", "not set"))
    if not folds.isdecimal() or int(folds) < 2:
        raise UsageError(f"data.folds is {folds}: expected a number of folds, such as --data.folds 5")
    if arguments.run or arguments.find:
        raise UsageError("folds is for new trainings: leave out --resume and --find")
    folder = ROOT / f"{arguments.name}_folds"
    print_folds([_train(argv, fold, folder) for fold in range(int(folds))])
    print(f"the runs are in {folder}: kindling compare {folder} shows them again")


def _train(argv: list[str], fold: int, folder: Path) -> Path:
    """Train in a process of its own, since a training can start others; return its run."""
    print(f"fold {fold}", flush=True)
    old_runs = {*folder.glob("version_*")}
    command = [sys.executable, "-m", "kindling", "fit", *argv, f"--data.fold={fold}", f"--name={folder.name}"]
    if code := subprocess.run(command).returncode:
        sys.exit(code)
    new_runs = {*folder.glob("version_*")} - old_runs
    if len(new_runs) != 1:
        raise UsageError(f"fold {fold} made {len(new_runs)} runs in {folder}: expected one (and no fast_dev_run)")
    return new_runs.pop()


def print_folds(runs: list[Path]) -> None:
    """A table with a row a metric and a column a fold, then their mean and the sample's standard deviation."""
    table = Table("metric", *(Column(f"fold {fold}", justify="right") for fold in range(len(runs))), "mean ± std")
    _, metrics = read_runs(runs)
    for name, values in metrics.filter(like="/").items():
        mean, std = values.mean(skipna=False), values.std(skipna=False)
        table.add_row(name, *(f"{value:.4f}" for value in values), f"{mean:.4f} ±{std:.4f}")
    Console(width=None if sys.stdout.isatty() else 1000).print(table)
