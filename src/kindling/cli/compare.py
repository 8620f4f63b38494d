"""`kindling compare DIR …`: runs in one table, the best first. Runs that differ only in seed or fold are one row."""

import argparse
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.table import Table

from kindling.cli.arguments import parse_options
from kindling.core.config_files import FAST_LOADER, check_size
from kindling.core.errors import UsageError
from kindling.core.metric_names import LOWER_IS_BETTER
from kindling.core.settings import flatten
from kindling.core.tables import console, plain_cell, printable, shown, shown_mean
from kindling.run.folder import ENDED_EARLY, ROOT

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd

LESS_IS_BETTER = (*LOWER_IS_BETTER, "seconds", "parameters")
# Settings that a row averages over, and settings that no result depends on.
SHOWN = r"figures|gradient_norm|tensorboard_extras|trainer\.(default_root|enable|log)"
IGNORED = rf"seed_everything$|data\.(fold|workers|cache|download)$|{SHOWN}"
# What reading a damaged file raises.
DAMAGED = (UsageError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError)
NO_METRICS = dict.fromkeys(("val/loss", "seconds"), float("nan"))  # for a run that is not finished


def option_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kindling compare", description=__doc__)
    parser.add_argument("folders", metavar="DIR", nargs="*", type=Path, help=f"runs, or folders of runs ({ROOT})")
    parser.add_argument("--sort", metavar="METRIC", help="val/accuracy, seconds … (what chose the best checkpoints)")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write the table, with every setting and metric")
    return parser


def main(argv: list[str]) -> None:
    arguments = parse_options(option_parser(), argv)
    print_table(find_runs(arguments.folders or [ROOT]), arguments.sort, arguments.csv)


def find_runs(folders: list[Path]) -> list[Path]:
    """The runs at any depth in the folders, each once; a UsageError if a folder has none."""
    if empty := [folder for folder in folders if not any(folder.rglob("config.yaml"))]:
        raise UsageError(f"there is no run in {empty[0]}: expected runs, or folders of runs, as fit makes in {ROOT}/")
    configs = [path for folder in folders for path in folder.rglob("config.yaml")]
    runs = [path.parent for path in configs if not ("wandb" in path.parts and path.parent.name == "files")]  # W&B's own
    # By the length of their names first: version_9 comes before version_10.
    return list({run.resolve(): run for run in sorted(runs, key=lambda run: (len(run.name), run))}.values())


def read_runs(runs: list[Path]) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Settings (`model`, `model.optimizer.lr`, …) and metrics (`val/loss`, …, `seconds`), a row a run.

    A run that is not finished has no metrics. A damaged one is left out, in a line that names the file.
    """
    import pandas as pd

    settings, metrics = {}, {}
    for run in runs:
        path = run / "results.json"
        try:
            results = dict(flatten(json.loads(path.read_text(encoding="utf-8")))) if path.exists() else {}
            numbers = {
                key: math.nan if value is None else float(value)  # an undefined metric is null in JSON
                for key, value in results.items()
                if not key.startswith(("class_counts", "notes"))
            }
            path = run / "config.yaml"
            values = yaml.load(path.read_text(encoding="utf-8"), FAST_LOADER)
            check_size(path, values)
            config = dict(flatten(values))
            if values["data"] is None:
                config["data"] = "of the model"  # the model has loaders of its own
            ordered = ["model", "data", *config]
            settings[run] = {key: config[key] for key in ordered if not re.match(IGNORED, key)}
            metrics[run] = NO_METRICS | {key.replace(".", "/", 1): number for key, number in numbers.items()}
        except DAMAGED:
            print(f"damaged, so its run is left out: {path}")
    if not settings:
        raise UsageError("there are no runs to compare: all are damaged")
    return pd.DataFrame(settings, dtype=object).T, pd.DataFrame(metrics).T


def print_table(runs: list[Path], sort: str | None = None, file: Path | None = None) -> None:
    """Print a table of runs, best first by the metric `sort`, and write all there is to `file` as CSV."""
    settings, metrics = read_runs(runs)
    best, lower = _sorted_by(settings, metrics, sort)
    rows = _averaged(settings, metrics).sort_values([best, "seconds"], ascending=[lower, True])
    differing = _differing(settings)
    if file:
        _write_csv(rows.drop(columns=set(settings) - set(differing)), file)

    metrics_shown = _shown_metrics(metrics, best)
    terminal = console(wide=True)
    settings_shown = differing[: max(0, min(6, terminal.width // 11 - len(metrics_shown) - 1))]  # more are hard to read
    counts = ["runs"] if rows["runs"].max() > 1 else []
    print(f"best first by {best}, where {'less' if lower else 'more'} is better")
    terminal.print(_table(rows, ["run", *counts, *settings_shown], metrics_shown))
    if len(differing) > len(settings_shown):
        print(f"{len(settings_shown)} of {len(differing)} settings that differ are shown: --csv FILE has them all")
    unfinished = [(run / ENDED_EARLY).exists() for run in metrics.index[metrics["seconds"].isna()]]
    if ended := unfinished.count(True):
        print(f"{ended} ended early in a study, shown last")
    if left := unfinished.count(False):
        print(f"{left} unfinished, shown last: kindling fit --resume RUN goes on with a run")


def _sorted_by(settings: "pd.DataFrame", metrics: "pd.DataFrame", sort: str | None) -> tuple[str, bool]:
    """The metric to sort by, and whether less of it is better: what chose the best checkpoints, if the runs agree."""
    if sort is not None and sort not in metrics:
        raise UsageError(f"no run has {sort!r} to sort by: expected one of {', '.join(metrics)}")
    choices = settings.reindex(columns=["checkpoint.monitor", "checkpoint.mode"]).drop_duplicates()
    monitor, mode = choices.iloc[0] if len(choices) == 1 else ("val/loss", "min")
    best = sort or (monitor if monitor in metrics else _main_loss(metrics))
    if best == monitor and mode in ("min", "max"):
        return best, mode == "min"
    return best, best.endswith(LESS_IS_BETTER)


def _main_loss(metrics: "pd.DataFrame") -> str:
    """The validation's loss; if no run has one by this name, the first metric of the validation."""
    logged = [name for name in metrics if name.startswith("val/") and metrics[name].notna().any()]
    return logged[0] if logged else "val/loss"  # it comes first: see NO_METRICS


def _averaged(settings: "pd.DataFrame", metrics: "pd.DataFrame") -> "pd.DataFrame":
    """A row for all runs of the same settings: the first `run`, how many `runs`, settings, means, and `… std`."""
    is_unfinished = metrics["seconds"].isna()  # unfinished runs have rows of their own
    row_of = settings.groupby([*settings, is_unfinished], sort=False, dropna=False).ngroup()  # the number of its row
    groups = metrics.groupby(row_of)
    is_complete = metrics.notna().groupby(row_of).all()
    means = groups.mean().where(is_complete)  # with one value missing there is no mean
    deviations = groups.std().where(is_complete).add_suffix(" std")
    counts = row_of.value_counts().rename("runs")
    first_runs = settings[~row_of.duplicated()].reset_index(names="run")
    return first_runs.join([counts, means, deviations])


def _differing(settings: "pd.DataFrame") -> list[str]:
    """The settings that differ, those first that the most runs have."""
    differs = settings.nunique(dropna=False) > 1
    return list(settings.count()[differs].sort_values(ascending=False, kind="stable").index)


def _write_csv(rows: "pd.DataFrame", file: Path) -> None:
    import pandas as pd

    try:
        with_values = rows.dropna(axis=1, how="all")
        plain = {
            name: [plain_cell(each) if isinstance(each, str) else each for each in column]
            for name, column in with_values.items()
        }
        pd.DataFrame(plain, dtype=object).to_csv(file, index=False)
    except OSError as error:
        raise UsageError(f"can't write --csv {file}: {error.strerror or error}") from error


def _shown_metrics(metrics: "pd.DataFrame", best: str) -> list[str]:
    """The loss, the first metric of each task (which is its main one) on either split, and what is sorted by."""
    main = []
    for split in ("val", "test"):
        of_split = metrics.filter(regex=f"^{split}/(?!loss$)")
        main += [of_run.first_valid_index() for _, of_run in of_split.iterrows()]
    wanted = dict.fromkeys([_main_loss(metrics), *main, best, "parameters", "seconds"])
    return [name for name in wanted if name in metrics]


def _table(rows: "pd.DataFrame", names: list[str], metrics: list[str]) -> Table:
    """Settings, left-aligned, and metrics, right-aligned."""
    table = Table()
    for name in [*names, *metrics]:
        header = re.sub(r"(?<=[./])", "\n", name)  # a long name breaks, so that the column is narrow
        table.add_column(header, justify="right" if name in metrics else "left", overflow="fold")
    for _, row in rows.iterrows():
        table.add_row(*(_cell(row, name) for name in [*names, *metrics]))
    return table


def _cell(row: "pd.Series", name: str) -> str:
    import pandas as pd

    value, deviation = row[name], row.get(f"{name} std")
    if pd.isna(value):
        return "–"
    if "/" in name:
        return shown(value) if pd.isna(deviation) else shown_mean(value, deviation)
    is_setting = deviation is None
    return printable(str(value)) if is_setting else f"{value:,.1f}".removesuffix(".0")
