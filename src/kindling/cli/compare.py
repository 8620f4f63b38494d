"""`kindling compare DIR …`: runs in one table, the best first. Runs that differ only in seed or fold are one row."""

import argparse
import json
import re
import sys
from pathlib import Path

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from kindling.cli.arguments import parse_options
from kindling.core.errors import UsageError
from kindling.core.settings import flatten
from kindling.run.folder import ROOT

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
LOWER_IS_BETTER = ("loss", "mae", "mse", "error", "seconds", "parameters")  # how the names of such metrics end
# What a row averages over, and what no result depends on.
SHOWN = r"figures|gradient_norm|tensorboard_extras|trainer\.(default_root|enable|log)"
IGNORED = rf"seed_everything$|data\.(fold|workers|cache|download)$|{SHOWN}"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("kindling compare", description=__doc__)
    parser.add_argument("folders", metavar="DIR", nargs="*", type=Path, help=f"runs, or folders of runs ({ROOT})")
    parser.add_argument("--sort", metavar="METRIC", help="val/accuracy, seconds … (what chose the best checkpoints)")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="gets the table too, with every setting and metric")
    arguments = parse_options(parser, argv)
    print_table(find_runs(arguments.folders or [ROOT]), arguments.sort, arguments.csv)


def find_runs(folders: list[Path]) -> list[Path]:
    """The runs at any depth in the folders, each once; a UsageError if a folder has none."""
    if empty := [folder for folder in folders if not any(folder.rglob("config.yaml"))]:
        raise UsageError(f"there is no run in {empty[0]}: expected runs, or folders of runs, as fit makes in {ROOT}/")
    runs = [path.parent for folder in folders for path in folder.rglob("config.yaml")]
    # By the length of their names first: version_9 comes before version_10.
    return list({run.resolve(): run for run in sorted(runs, key=lambda run: (len(run.name), run))}.values())


def read_runs(runs: list[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Settings (`model`, `model.optimizer.lr`, …) and metrics (`val/loss`, …, `seconds`), a row a run.

    A run that is not finished has no metrics. A damaged one is left out, in a line that names the file.
    """
    settings, metrics = {}, {}
    for run in runs:
        path = run / "results.json"
        try:
            results = flatten(json.loads(path.read_text())) if path.exists() else ()
            found = {key.replace(".", "/", 1): float(x) for key, x in results if not key.startswith("class_counts")}
            path = run / "config.yaml"
            config = dict(flatten(yaml.load(path.read_text(), LOADER)))
            settings[run] = {key: config[key] for key in ("model", "data", *config) if not re.match(IGNORED, key)}
            metrics[run] = dict.fromkeys(("val/loss", "seconds"), float("nan")) | found
        except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
            print(f"damaged, and its run left out: {path}")
    if not settings:
        raise UsageError("there is no run to compare: all are damaged")
    return pd.DataFrame(settings, dtype=object).T, pd.DataFrame(metrics).T


def print_table(runs: list[Path], sort: str | None = None, file: Path | None = None) -> None:
    """Print a table of runs, best first by the metric `sort`, and write all there is to `file` as CSV."""
    settings, metrics = read_runs(runs)
    rows, best, lower = _rank(settings, metrics, sort)
    # The settings that differ, those first that the most runs have.
    differing = settings.count()[settings.nunique(dropna=False) > 1].sort_values(ascending=False, kind="stable").index
    if file:
        try:
            rows.drop(columns=set(settings) - {*differing}).dropna(axis=1, how="all").to_csv(file, index=False)
        except OSError as error:
            raise UsageError(f"can't write --csv {file}: {error.strerror or error}") from error

    splits = [metrics.filter(regex=f"^{split}/(?!loss$)") for split in ("val", "test")]
    firsts = [row.first_valid_index() for split in splits for _, row in split.iterrows()]  # each task's main metric
    numbers = [name for name in dict.fromkeys(["val/loss", *firsts, best, "parameters", "seconds"]) if name in metrics]
    console = Console(width=None if sys.stdout.isatty() else 1000, markup=False, emoji=False)
    count = max(0, min(6, console.width // 11 - len(numbers) - 1))  # of settings: more would be hard to read
    shown = ["run", *["runs"] * bool(rows["runs"].max() > 1), *differing[:count], *numbers]
    table = Table()
    for key in shown:  # a long name breaks, so that the column is narrow
        header = re.sub(r"(?<=[./])", "\n", key)
        table.add_column(header, justify="right" if key in metrics else "left", overflow="fold")
    for _, row in rows.iterrows():
        table.add_row(*(_cell(row, key) for key in shown))
    print(f"best first by {best}, where {'less' if lower else 'more'} is better")
    console.print(table)
    if len(differing) > count:
        print(f"shown are {count} of {len(differing)} settings that differ: --csv FILE has them all")
    if unfinished := metrics["seconds"].isna().sum():
        print(f"{unfinished} unfinished, shown last: kindling fit --resume RUN goes on with a run")


def _rank(settings: pd.DataFrame, metrics: pd.DataFrame, sort: str | None) -> tuple[pd.DataFrame, str, bool]:
    """A row for all runs of the same settings, best first; by which metric, and whether less of it is better.

    In a row are the first `run`, how many `runs` there are, settings, the metrics' means, and `… std`.
    """
    if sort is not None and sort not in metrics:
        raise UsageError(f"no run has {sort!r} to sort by: there is {', '.join(metrics)}")
    chosen = settings.reindex(columns=["checkpoint.monitor", "checkpoint.mode"]).drop_duplicates()
    monitor, mode = chosen.iloc[0] if len(chosen) == 1 else ("val/loss", "min")
    best = sort or (monitor if monitor in metrics else "val/loss")
    lower = mode == "min" if best == monitor else best.endswith(LOWER_IS_BETTER)

    same = settings.groupby([*settings, metrics["seconds"].isna()], sort=False, dropna=False).ngroup()  # a number a row
    groups, known = metrics.groupby(same), metrics.notna().groupby(same).all()  # with one NaN, the mean is NaN
    means, stds = groups.mean().where(known), groups.std().where(known).add_suffix(" std")
    rows = settings[~same.duplicated()].reset_index(names="run").join([same.value_counts().rename("runs"), means, stds])
    return rows.sort_values([best, "seconds"], ascending=[lower, True]), best, lower


def _cell(row: pd.Series, name: str) -> str:
    value, spread = row[name], row.get(f"{name} std")
    if pd.isna(value):
        return "–"
    if "/" in name:
        return f"{value:.4f}" + ("" if pd.isna(spread) else f" ±{spread:.4f}")
    return str(value) if spread is None else f"{value:,.1f}".removesuffix(".0")
