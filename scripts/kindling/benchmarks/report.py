"""What has been found: rows, tables in Markdown, and one JSON file that single cases are merged into."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.turns import Measured
from kindling.core.files import write_json


@dataclass
class Row:
    """One contestant: its samples, one a round, and its ratio to the first row of its unit.

    Of times in a race the ratio says how many times as fast; of everything else, how many times as much.
    """

    name: str
    samples: list[float]
    unit: str
    ratio: float | None = None
    note: str = ""
    raw: Any = None  # what the samples come from, for the file alone

    @property
    def cells(self) -> tuple[str, ...]:
        low, high = figure(min(self.samples)), figure(max(self.samples))
        spread = f"{low} to {high}" if len(self.samples) > 1 else ""
        said = f"{figure(median(self.samples))} {self.unit}".strip() + f" ({self.note})" * bool(self.note)
        return self.name, said, spread, "" if self.ratio is None else figure(self.ratio)

    @property
    def plain(self) -> dict[str, Any]:
        return asdict(self) | {"median": median(self.samples), "least": min(self.samples), "most": max(self.samples)}


@dataclass
class Case:
    """One table of a part: `measure` takes whether to be quick, and runs in an empty folder."""

    title: str
    measure: Callable[[bool], list[Row]]


def times(samples: dict[str, list[float]], unit: str) -> list[Row]:
    """Rows of times: less is better."""
    first = next(iter(samples.values()))
    return [Row(name, found, unit, paired(first, found)) for name, found in samples.items()]


def amounts(samples: dict[str, list[float]], unit: str) -> list[Row]:
    """Rows of anything else, such as memory or samples a second."""
    first = next(iter(samples.values()))
    return [Row(name, found, unit, paired(found, first)) for name, found in samples.items()]


def each(found: dict[str, list[Measured]], value: Callable[[Measured], float]) -> dict[str, list[float]]:
    """The samples of each contestant: a value of what it measured in each round."""
    return {name: [value(measured) for measured in rounds] for name, rounds in found.items()}


def paired(above: list[float], below: list[float]) -> float:
    """Median of the ratios within each round: what slows a whole round down is in neither."""
    return median(a / b for a, b in zip(above, below, strict=True))


def figure(value: float) -> str:
    """Four digits that count; a thousand and more as a whole number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def markdown(head: Sequence[str], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Unjudged(Exception):
    """A case that counts for no target; the message is why."""


class Report:
    """The JSON file: for each part and case when, where and how quickly it was taken, and the rows with all samples.

    Args:
        path: the file; what it holds is kept.
        machine: this one, see machine.describe.
        when: date and commit of what is measured now.
    """

    def __init__(self, path: Path, machine: dict[str, Any], when: dict[str, Any]) -> None:
        self.path, self.machine, self.when = path, machine, when
        self.content: dict[str, Any] = {"parts": {}}
        if path.exists():
            try:
                self.content |= json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, TypeError):
                sys.exit(f"benchmark: {path} is not a file of this program: choose another --output")

    def add(self, part: str, name: str, title: str, rows: list[Row], quick: bool) -> None:
        """Put a case in the place of an older one, and write the file."""
        found = {"title": title, "quick": quick, "machine": self.machine, **self.when}
        self.content["parts"].setdefault(part, {})[name] = found | {"rows": [row.plain for row in rows]}
        self.save()

    def save(self) -> None:
        write_json(self.path, self.content)

    def samples(self, part: str, case: str, row: str) -> list[float]:
        """Samples of a row; a KeyError if it has not been measured, and Unjudged if not here or not for long enough."""
        found = self.content["parts"][part][case]
        if found["quick"] or found["machine"] != self.machine:
            raise Unjudged("quick" if found["quick"] else "on another machine")
        return {each["name"]: each["samples"] for each in found["rows"]}[row]
