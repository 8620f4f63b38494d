"""Writes `report.html`: what was trained on what, how it went, what came out, and how to go on.

All of it is read from the run's folder, which can be anyone's: every text is escaped, and the page may load nothing.
"""

import math
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from kindling.core.files import read_json, whole_file
from kindling.core.tables import shown
from kindling.report.curves import HEIGHT, WIDTH, charts
from kindling.report.secrets import setting_without_secrets, without_secrets
from kindling.run.metrics_table import whole_rows

FILE = "report.html"
IN_SIGHT = 2  # charts; the others are folded away
LARGEST = 2_000_000  # bytes of a picture that is kept in the page
LARGEST_TEXT = 200_000  # characters of a file that are shown
PNG = b"\x89PNG\r\n\x1a\n"
CLASSES = 200  # of which the counts are shown
SPLITS = {"val": "validation"}  # by the name that people read

Values = dict[str, Any]


def write_page(run: Path, commands: list[tuple[str, str]], results: Values | None = None) -> None:
    """Write the page of a run, as its files say it now.

    Args:
        run: the run's folder.
        commands: how to go on: each with what it does.
        results: what its `results.json` is going to say; None for what it says.

    Raises:
        UsageError: if it can't be written, as on a full disk.
    """
    results = read_json(run / "results.json") if results is None else results
    html = _template().render(**_content(run, results), commands=commands, width=WIDTH, height=HEIGHT)
    with whole_file(run / FILE) as part:
        part.write_text(html, encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("kindling.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": _shown, "environment": _environment}
    environment.filters |= {"without_secrets": without_secrets, "setting": setting_without_secrets}
    return environment.get_template("page.html")


def _content(run: Path, results: Values) -> Values:
    """What the template shows."""
    summary = read_json(run / "summary.json")
    name = run.resolve()
    measured = _measured(run, results)
    order = list(next(iter(measured.values()), {}))
    chosen_by = (str(summary.get("monitor")), str(summary.get("mode")))
    found = charts(whole_rows(run / "metrics.csv"), order, *chosen_by)
    return {
        "name": f"{name.parent.name}/{name.name}",
        "summary": summary,
        "results": results,
        "tiles": _tiles(summary, results, measured),
        "facts": _facts(summary, results),
        "class_counts": _class_counts(results),
        "charts": found[:IN_SIGHT],
        "more_charts": found[IN_SIGHT:],
        "measured": measured,
        "metrics": list(dict.fromkeys(metric for values in measured.values() for metric in values)),
        "metric_notes": _dictionary(results.get("notes")),
        "pictures": [_picture(run, path) for path in _pictures(run)],
        "texts": [(_title(path), _text(path)) for path in sorted(run.glob("figures/*.txt")) if path.is_file()],
        "notes": _list(summary.get("notes")),
        "settings": _dictionary(summary.get("settings")),
        "config": without_secrets(_text(run / "config.yaml")),
        "starts": _starts(run),
    }


def _text(path: Path) -> str:
    """The beginning of a file; nothing if there is none."""
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(LARGEST_TEXT)


def _dictionary(value: Any) -> Values:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _shown(value: Any) -> str:
    """A number as tables have it; what is undefined is null in JSON."""
    if value is None:
        return "undefined"
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else shown(value)


def _measured(run: Path, results: Values) -> dict[str, Values]:
    """The metrics of each split, by the heading of their column; behind them those that were measured later."""
    measured = {SPLITS.get(split, split): _dictionary(results.get(split)) for split in ("val", "test")}
    for command, split in (("validate", "val"), ("test", "test")):
        later = read_json(run / command / "results.json")
        if later and later.get(split) != results.get(split):
            file = Path(str(later.get("checkpoint"))).name
            measured[f"{SPLITS.get(split, split)}, kindling {command} of {file}"] = _dictionary(later.get(split))
    return {heading: values for heading, values in measured.items() if values}


def _tiles(summary: Values, results: Values, measured: dict[str, Values]) -> list[tuple[str, str]]:
    """What one wants to know first: the main metric on each split, and what it took."""
    first = next(iter(measured.values()), {})
    metric = next((name for name in first if name != "loss"), "loss")  # a task's main one comes first
    having = {heading: values for heading, values in measured.items() if metric in values}
    tiles = [(f"{heading} {metric}", _shown(values[metric])) for heading, values in having.items()]
    if "best_epoch" in results and first:
        tiles.append(("best epoch", f"{_shown(results['best_epoch'])} of {_shown(results.get('epochs'))}"))
    elif "epochs" in results:  # with nothing to choose by
        tiles.append(("epochs", _shown(results["epochs"])))
    if "seconds" in results:
        tiles.append(("training time", _duration(results["seconds"])))
    parameters = results.get("parameters", summary.get("parameters"))
    return [*tiles, ("parameters", _shown(parameters))] if parameters is not None else tiles


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return str(seconds)
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _facts(summary: Values, results: Values) -> list[tuple[str, str]]:
    splits = _dictionary(summary.get("splits"))
    speed = results.get("samples_per_second")
    ends = {"min": "the lowest", "max": "the highest"}
    facts = {
        "model": summary.get("model"),
        "parameters": results.get("parameters", summary.get("parameters")),
        "task": summary.get("task"),
        "data": summary.get("data"),
        "inputs": summary.get("inputs"),
        "targets": summary.get("targets"),
        "samples": ", ".join(f"{_shown(count)} {SPLITS.get(split, split)}" for split, count in splits.items()) or None,
        "batch size": summary.get("batch_size"),
        "device": summary.get("device"),
        "precision": summary.get("precision"),
        "samples per second": f"{speed:,.1f}" if isinstance(speed, float) else speed,
        "chosen by": summary.get("monitor") and f"{ends.get(str(summary.get('mode')))} {summary['monitor']}",
    }
    return [(name, _shown(value)) for name, value in facts.items() if value is not None]


def _class_counts(results: Values) -> Values:
    """Of each class the number of samples in each split, and the splits."""
    of_splits = _dictionary(results.get("class_counts"))
    counts = {SPLITS.get(split, split): _dictionary(of_split) for split, of_split in of_splits.items()}
    classes = list(next(iter(counts.values()), {}))
    rows = [(name, [of_split.get(name, 0) for of_split in counts.values()]) for name in classes[:CLASSES]]
    return {"splits": list(counts), "rows": rows, "classes": len(classes)}


def _pictures(run: Path) -> list[Path]:
    """Those of the training; those that `kindling test` or `validate` drew later where the training drew none."""
    found: dict[str, Path] = {}
    for folder in ("test/figures", "validate/figures", "figures"):
        found |= {path.name: path for path in run.glob(f"{folder}/*.png") if path.is_file()}
    return sorted(found.values(), key=_place)


def _picture(run: Path, path: Path) -> Values:
    """A PNG of the run: in the page, or only by its name if it is too large, or none."""
    content = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    data = f"data:image/png;base64,{b64encode(content).decode()}" if content.startswith(PNG) else None
    return {"title": _title(path), "data": data, "file": path.relative_to(run).as_posix()}


def _place(path: Path) -> tuple[str, bool]:
    """In the order of the figures' names, that of the validation first."""
    split, _, name = path.stem.partition("_")
    return name, split != "val"


def _title(path: Path) -> str:
    """`val_confusion_matrix.png` is the confusion matrix of the validation."""
    split, _, name = path.stem.partition("_")
    return f"{name.replace('_', ' ')}, {SPLITS.get(split, split)}"


def _starts(run: Path) -> list[Values]:
    """Where each start of the training came from, the first one first."""
    earlier = sorted(run.glob("environment.*.json"), key=lambda path: (len(path.name), path.name))
    return [found for path in (*earlier, run / "environment.json") if (found := read_json(path))]


def _environment(start: Values) -> list[tuple[str, str]]:
    """What a start ran on and with, without its command."""
    packages = _dictionary(start.get("packages"))
    commit = start.get("git_commit")
    gpus = _list(start.get("gpus"))
    facts = {
        "started": start.get("started"),
        "git commit": f"{commit}{', with uncommitted changes' if start.get('git_dirty') else ''}" if commit else None,
        "seed": start.get("seed"),
        "machine": start.get("platform"),
        "CPU cores": f"{start['cpus']}, threads: {start.get('threads')}" if start.get("cpus") else None,
        "GPUs": ", ".join(map(str, gpus)) or "none",
        "SLURM job": start.get("slurm_job"),
        "Python": start.get("python"),
        **packages,
    }
    return [(name, str(value)) for name, value in facts.items() if value is not None]
