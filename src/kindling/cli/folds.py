"""`kindling folds --config FILE --data.folds K`: train once for each of K folds, and report means and deviations.

Each training is like one by fit, with another fold as the validation split; the test split is the same for all.
If it was stopped, the same command goes on with it.
Takes what fit takes (see kindling fit --help), apart from --resume and --find.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from rich.table import Column, Table

from kindling.cli.arguments import read_arguments
from kindling.cli.compare import read_runs
from kindling.cli.dispatch import ENDS_WITH_PARENT
from kindling.core.errors import UsageError
from kindling.core.files import write_json
from kindling.core.tables import console, printable, shown, shown_mean
from kindling.run.folder import ROOT

SAFE_PATH = ["-P"] if sys.version_info >= (3, 11) else []  # no module in the working folder takes kindling's place


def main(argv: list[str]) -> None:
    if {"-h", "--help"} & {*argv}:
        print(__doc__, end="")
        return
    arguments = read_arguments(["fit", *argv])
    folds = str(arguments.values.get("data.folds", "not set"))
    if not folds.isdecimal() or int(folds) < 2:
        raise UsageError(f"data.folds is {folds}: expected a number of folds, such as --data.folds 5")
    if arguments.run or arguments.run_id or arguments.find:
        raise UsageError("folds is for new trainings: leave out --resume, --run-id and --find")
    folder = ROOT / f"{arguments.name}_folds"
    study = Study(folder, argv)
    print_folds([study.run_of(fold) for fold in range(int(folds))])
    study.file.unlink()
    print(f"the runs are in {folder}: kindling compare {folder} shows them again")


class Study:
    """The runs of the folds, kept in a file until all are finished, so that they can go on after a stop.

    Args:
        folder: the runs' folder.
        argv: the arguments of fit for each of them.
    """

    def __init__(self, folder: Path, argv: list[str]) -> None:
        self.folder, self.argv, self.file = folder, argv, folder / "folds.json"
        self.runs: list[str] = []  # of the first folds
        with suppress(OSError, ValueError, LookupError, TypeError):  # there is none, or it is damaged
            stopped = json.loads(self.file.read_text(encoding="utf-8"))
            started = [*stopped["runs"], *sorted(self._there() - {*stopped["there"]})]
            if stopped["argv"] == argv and all((folder / run / "config.yaml").exists() for run in started):
                self.runs = started
                print(f"going on with what was stopped: {', '.join(started) or 'no run yet'} in {folder}")

    def run_of(self, fold: int) -> Path:
        """The run of a fold: the one that is there, which goes on if it is not finished, or a new one."""
        print(f"fold {fold}", flush=True)
        fit = [*self.argv, f"--data.fold={fold}", f"--name={self.folder.name}"]
        if fold < len(self.runs):
            run = self.folder / self.runs[fold]
            is_finished = (run / "results.json").exists()
            if not is_finished and (code := fit_in_a_process([*fit, f"--run-id={run.name}"])):  # goes on
                sys.exit(code)
            return run
        there = self._there()
        write_json(self.file, {"argv": self.argv, "runs": self.runs, "there": sorted(there)})
        code = fit_in_a_process(fit)
        new_runs = sorted(self._there() - there)
        if not self.runs and not new_runs:  # nothing to go on with
            self.file.unlink()
            with suppress(OSError):  # not empty
                os.removedirs(self.folder)
        if code:
            sys.exit(code)
        if len(new_runs) != 1:
            wanted = "expected one (and no fast_dev_run)"
            raise UsageError(f"fold {fold} made {len(new_runs)} runs in {self.folder}: {wanted}")
        self.runs += new_runs
        return self.folder / new_runs[0]

    def _there(self) -> set[str]:
        return {run.name for run in self.folder.glob("version_*")}


def fit_in_a_process(argv: list[str]) -> int:
    """Train in a process of its own, since a training can start others; return its exit code.

    It stops in order when this process is killed, and at Ctrl-C, which reaches both.
    """
    os.environ[ENDS_WITH_PARENT] = str(os.getpid())
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run([sys.executable, *SAFE_PATH, "-m", "kindling", "fit", *argv]).returncode
    finally:
        signal.signal(signal.SIGINT, before)
        del os.environ[ENDS_WITH_PARENT]


def print_folds(runs: list[Path]) -> None:
    """Print a table with a row per metric and a column per fold, then the mean and the sample standard deviation."""
    table = Table("metric", *(Column(f"fold {fold}", justify="right") for fold in range(len(runs))), "mean ± std")
    _, metrics = read_runs(runs)
    for name, values in metrics.filter(like="/").items():
        mean, std = values.mean(skipna=False), values.std(skipna=False)
        table.add_row(printable(name), *map(shown, values), shown_mean(mean, std))
    console(wide=True).print(table)
