"""Measures how fast Kindling is, compared with what: `python scripts/kindling/benchmark.py [PART …]`.

  steps          a training step of fit against plain loops, the guide's, and Lightning as it is usually written
  image_example  the usual Lightning image example
  loader         batches from memory, images and sequences against torch's DataLoader; how long a fit waits for data
  images         folders of images, found and read, against os.scandir and torchvision's ImageFolder
  tables         CSVs, read against pandas, encoded against scikit-learn, predicted against a bare loop; over their size
  attention      time and memory over the length, against the guide's and torch's attention
  startup        --help, and the time to the first step, against `import lightning`
  evaluation     predict, validate and test against a bare forward loop
  growth         time and memory over data size, width, batch size, loader workers and steps
  checkpoints    the share of a training that goes into saving
  accuracy       seconds to an accuracy on Fashion-MNIST, against the guide's loop; takes hours
  gpu            a training step on a GPU against plain and compiled loops; Fashion-MNIST on it

Without a part, all but the last two run. `steps:mlp64` runs one case of a part, and a wrong name lists them. Each table
is printed as soon as it is known, and everything is merged into one JSON file with all samples.

Contestants are processes that take turns, so that what disturbs the machine disturbs all of them. The tables have the
median over the rounds, the spread (least to most), and as the ratio the median of the ratios within each round. All but
those of `gpu` run on the CPU, on as many threads as torch takes. Where a sample is a whole training (growth,
checkpoints), there are fewer rounds, and accuracy has none. Progress goes to standard error. Needs Linux.
"""

import argparse
import os
import signal
import sys
import tempfile
import traceback
from datetime import datetime
from importlib import import_module
from pathlib import Path

from benchmarks import machine, turns
from benchmarks.report import Case, Report, markdown
from benchmarks.targets import judge

from kindling.core.errors import UsageError

PARTS = (
    "steps",
    "image_example",
    "loader",
    "images",
    "tables",
    "attention",
    "startup",
    "evaluation",
    "growth",
    "checkpoints",
    "accuracy",
    "gpu",
)
ONLY_IF_NAMED = ("accuracy", "gpu")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="all but the last two by default")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="by default lightning_logs/benchmark.json, or benchmark_quick.json"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs: figures mean nothing")
    options = parser.parse_args()
    for name in options.parts:
        if name.partition(":")[0] not in PARTS:
            parser.error(f"unknown part {name}: expected {', '.join(PARTS)}")
    options.gpu = any(name.startswith("gpu") for name in options.parts)
    if options.gpu and not all(name.startswith("gpu") for name in options.parts):
        parser.error("gpu runs alone: the other parts see no GPU")
    options.output = options.output or Path("lightning_logs", f"benchmark{'_quick' * options.quick}.json")
    options.parts = options.parts or [part for part in PARTS if part not in ONLY_IF_NAMED]
    return options


def cases_of(name: str) -> dict[str, Case]:
    """The cases of a part, or the one that `part:case` names."""
    part, _, case = name.partition(":")
    cases: dict[str, Case] = import_module(f"benchmarks.{part}").CASES
    if case and case not in cases:
        sys.exit(f"benchmark: unknown case {name}: expected {', '.join(f'{part}:{each}' for each in cases)}")
    return {case: cases[case]} if case else cases


def measure(part: str, name: str, case: Case, report: Report, quick: bool) -> None:
    """Measure one case in an empty folder, print it, and add it to the report."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            rows = case.measure(quick)
        finally:
            os.chdir(home)
    print(f"\n{part}:{name}  {case.title}{'  (quick: not meaningful)' * quick}\n", flush=True)
    print(markdown(("", "median", "spread", "ratio"), [row.cells for row in rows]), flush=True)
    report.add(part, name, case.title, rows, quick)


def main() -> int:
    options, code = read_arguments(), 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended
    selected = [(name.partition(":")[0], cases_of(name)) for name in options.parts]
    from kindling.run.record import git  # takes seconds

    turns.prepare(options.gpu)
    here, when = machine.describe(), {"date": f"{datetime.now():%Y-%m-%d %H:%M}", "commit": git("rev-parse", "HEAD")}
    report = Report(options.output.resolve(), here, when)
    print(machine.told(here))
    for part, cases in selected:
        for name, case in cases.items():
            try:
                measure(part, name, case, report, options.quick)
            except Exception as error:  # the other cases still count
                why = (
                    error
                    if isinstance(error, turns.Failure | UsageError)
                    else "".join(traceback.format_exception(error))
                )
                print(f"\n{part}:{name} failed: {why}", file=sys.stderr)
                code = 1
    try:
        print("\nTargets\n\n" + judge(report) + f"\n\nall samples are in {options.output}")
    except UsageError as error:  # such as a full disk
        sys.exit(f"benchmark: {error}")
    return code


if __name__ == "__main__":
    sys.exit(main())
