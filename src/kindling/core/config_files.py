"""Reads config files: YAML in which no key appears twice and nothing contains itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kindling.core.errors import UsageError

MOST_VALUES = 100_000  # in a config: aliases of aliases can turn a few lines into billions
FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
EXAMPLES = "expected keys such as model:, data: and trainer:"


class UniqueKeys(yaml.SafeLoader):
    """PyYAML's safe loader, except that it refuses a key that appears twice, where the last would win silently."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} appears twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """The values in a config file; a UsageError names the line that is not valid YAML."""
    try:
        values = yaml.load(path.read_bytes(), UniqueKeys)
        check_size(path, values)
    except OSError as error:
        beside = ", ".join(_configs_beside(path)) or f"no YAML in {path.parent}/"
        raise UsageError(f"can't read config {path} ({error.strerror}); there is: {beside}") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply to be a config: {EXAMPLES}") from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        if "escape character" in problem:  # of "C:\data", for instance
            problem += ": a path with \\ stands in single quotes, or has / in its place"
        raise UsageError(f"{path}{where}: not valid YAML: {problem}") from error
    if values in (None, {}):
        raise UsageError(f"{path} is empty: {EXAMPLES}")
    if not isinstance(values, dict):
        raise UsageError(f"{path}: {EXAMPLES}, got {str(values)[:40]!r}")
    return values


def _configs_beside(path: Path) -> list[str]:
    try:
        return sorted(map(str, path.parent.glob("*.yaml")))
    except OSError:  # a folder without permission
        return []


def check_size(path: Path, values: Any) -> None:
    """Raise a UsageError if aliases make values contain themselves, or make too many of them."""
    for count, _ in enumerate(_all_in(path, values, [])):
        if count > MOST_VALUES:
            raise UsageError(f"{path} holds over {MOST_VALUES:,} values through aliases of aliases: write them out")


def _all_in(path: Path, value: Any, above: list[Any]) -> Iterator[Any]:
    yield value
    if not isinstance(value, dict | list):
        return
    if any(value is each for each in above):
        raise UsageError(f"{path}: an alias refers to a value that contains it: write the values out")
    for inner in value.values() if isinstance(value, dict) else value:
        yield from _all_in(path, inner, [*above, value])
