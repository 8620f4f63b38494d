"""What a study searches: a YAML file of settings, each with the values that it can take.

model.optimizer.lr: {log: [1e-4, 1e-1]}                # between the two, evenly on a logarithmic scale
model.dropout: {float: [0, 0.5]}                       # between the two; with step: 0.1, in such steps
data.batch_size: {int: [16, 128], step: 16}            # whole numbers, both ends included
model.hidden_sizes: {choice: [[64], [256, 128]]}       # one of these
model:                                                 # a part, with settings that hold only for one choice
  choice:
    MLP: {model.norm: {choice: [batch, layer]}}
    CNN:
"""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from kindling.core.errors import UsageError
from kindling.core.settings import Setting
from kindling.study.storage import optuna

KINDS = ("log", "float", "int", "choice")
EXAMPLE = "such as {log: [1e-4, 1e-1]} or {choice: [relu, gelu]}"
OF_THE_STUDY = ("checkpoint.monitor", "checkpoint.mode")  # what its runs are compared by


@dataclass
class Dimension:
    """A setting that is searched.

    Args:
        key: the setting's key.
        kind: log, float, int or choice.
        values: the two ends of a range, or the values of a choice as Optuna keeps them.
        step: the step of a range; None for any number in it.
        below: settings that hold only for one value of a choice, by that value.
        name: the parameter's name in Optuna: the key, with the value above it where others have this key too.
    """

    key: str
    kind: str
    values: list[Any]
    step: float | None = None
    below: dict[Any, list["Dimension"]] = field(default_factory=dict)
    name: str = ""

    def suggest(self, trial: Any) -> Any:
        """The value in a trial: the one that it already has, or a new one from the sampler."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, self.values)
        low, high = self.values
        if self.kind == "int":
            return trial.suggest_int(self.name, low, high, step=int(self.step or 1))
        return trial.suggest_float(self.name, low, high, step=self.step, log=self.kind == "log")

    def every_value(self) -> list[Any] | None:
        """All values; None if there are infinitely many."""
        if self.kind == "choice":
            return self.values
        step = self.step or (1 if self.kind == "int" else None)
        if step is None:
            return None
        low, high = self.values
        count = math.floor((high - low) / step + 1e-9) + 1
        return [low + index * step for index in range(count)]


Values = list[tuple[Dimension, Any]]  # of the settings of one trial


class Space:
    """What a study searches.

    Args:
        content: the file's YAML, parsed.
        source: the file's name, for messages.

    Raises:
        UsageError: names the key that is wrong.
    """

    def __init__(self, content: dict[str, Any], source: str) -> None:
        self.content, self.source = content, source
        self.dimensions = self._read(self.content)
        everything = list(_all(self.dimensions))
        counts = Counter(dimension.key for dimension, _ in everything)
        for dimension, value in everything:
            is_shared = counts[dimension.key] > 1
            dimension.name = f"{dimension.key} ({value})" if is_shared and value is not None else dimension.key

    @property
    def keys(self) -> set[str]:
        return {dimension.key for dimension, _ in _all(self.dimensions)}

    def suggest(self, trial: Any) -> Values:
        """The values in a trial: those that it already has, and new ones from its study's sampler for the rest."""
        return _suggest(self.dimensions, trial)

    def of(self, parameters: dict[str, Any]) -> Values:
        """The values that a trial had, from Optuna's parameters by name."""
        return self.suggest(optuna.trial.FixedTrial(parameters))

    def grid(self) -> list[Values]:
        """Every combination of values; a UsageError if a range has infinitely many."""
        for dimension, _ in _all(self.dimensions):
            if dimension.every_value() is None:
                raise self._wrong(
                    dimension.key, f": {dimension.kind} has infinitely many values: for a grid, use choice"
                )
        return list(_combinations(self.dimensions))

    def examples(self) -> list[Values]:
        """Combinations in which every choice and both ends of every range occur."""
        return list(_examples(self.dimensions))

    def settings(self, values: Values) -> list[Setting]:
        """Values as settings of this file, each part before what is below it."""
        settings = [(self.source, dimension.key, plain(value)) for dimension, value in values]
        return sorted(settings, key=lambda setting: setting[1].count("."))

    def flags(self, values: Values) -> list[str]:
        """Values as flags of the command line."""
        return [f"--{key}={as_text(value)}" for _, key, value in self.settings(values)]

    def _read(self, content: dict[Any, Any]) -> list[Dimension]:
        return [self._dimension(str(key), value) for key, value in content.items()]

    def _dimension(self, key: str, value: Any) -> Dimension:
        if key in OF_THE_STUDY:
            raise self._wrong(key, ": it says what runs are compared by: give it as a flag")
        if not isinstance(value, dict):
            raise self._wrong(key, f" is {value!r}: expected the values that it can take, {EXAMPLE}")
        kinds = [kind for kind in KINDS if kind in value]
        unknown = [str(name) for name in value if name not in (*KINDS, "step")]
        if len(kinds) != 1 or unknown:
            given = ", ".join(map(str, value)) or "nothing"
            nested = f"; a key is written in full, such as {key}.{unknown[0]}" if unknown and not kinds else ""
            raise self._wrong(key, f" has {given}: expected one of {', '.join(KINDS)}, {EXAMPLE}{nested}")
        (kind,) = kinds
        if kind == "choice":
            return self._choice(key, value)
        return self._range(key, kind, value[kind], value.get("step"))

    def _choice(self, key: str, value: dict[str, Any]) -> Dimension:
        choices = value["choice"]
        if not isinstance(choices, list | dict) or not choices:
            raise self._wrong(key, f": choice is {choices!r}: expected a list of values, such as [relu, gelu]")
        if "step" in value:
            raise self._wrong(key, ": a choice has no step")
        kept = [as_kept(choice) for choice in choices]
        if len({(type(choice), choice) for choice in kept}) < len(kept):
            raise self._wrong(key, f": choice has the same value twice: {', '.join(map(str, kept))}")
        if isinstance(choices, dict) and not all(isinstance(choice, str) for choice in choices):
            raise self._wrong(key, f": choice is {choices!r}: expected names, with settings that hold only for each")
        below = {}
        for choice, inner in choices.items() if isinstance(choices, dict) else ():
            if not isinstance(inner, dict | NoneType):
                raise self._wrong(key, f": {choice} has {inner!r} below it: expected settings that hold only for it")
            below[choice] = self._read(inner or {})
        return Dimension(key, "choice", kept, below=below)

    def _range(self, key: str, kind: str, ends: Any, step: Any) -> Dimension:
        example = "[1, 8]" if kind == "int" else "[1e-4, 1e-1]"
        is_pair = isinstance(ends, list) and len(ends) == 2
        numbers: list[Any] = [_number(end, kind) for end in ends] if is_pair else [None]
        if None in numbers:
            unit = "whole numbers" if kind == "int" else "numbers"
            raise self._wrong(key, f": {kind} is {ends!r}: expected two {unit}, such as {example}")
        low, high = numbers
        if low > high:
            raise self._wrong(key, f": {kind} is {ends!r}: the lower end comes first")
        if kind == "log" and low <= 0:
            raise self._wrong(key, f": log is {ends!r}: expected numbers above 0")
        size = _number(step, kind)
        if step is not None and (size is None or size <= 0 or kind == "log"):
            raise self._wrong(key, f": step is {step!r}: expected a number above 0 for int or float")
        return Dimension(key, kind, numbers, size)

    def _wrong(self, key: str, sentence: str) -> UsageError:
        return UsageError(f"{self.source}: {key}{sentence}")


def parameters(values: Values) -> dict[str, Any]:
    """Values by the names of Optuna's parameters."""
    return {dimension.name: value for dimension, value in values}


def as_kept(value: Any) -> Any:
    """A value of a choice as Optuna keeps it: Optuna takes no lists or dicts."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def plain(value: Any) -> Any:
    """What `as_kept` was given."""
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:  # a text that begins like that
        return value


def as_text(value: Any) -> str:
    """A value as it is typed after a flag."""
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: Any, kind: str) -> Any:
    """A number of a range, or None: also 1e-4, which YAML reads as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number) or (kind == "int" and number != int(number)):
        return None
    return int(number) if kind == "int" else number


def _all(dimensions: list[Dimension], above: Any = None) -> Iterator[tuple[Dimension, Any]]:
    """Every dimension, with the value that it holds for."""
    for dimension in dimensions:
        yield dimension, above
        for value, below in dimension.below.items():
            yield from _all(below, value)


def _suggest(dimensions: list[Dimension], trial: Any) -> Values:
    values: Values = []
    for dimension in dimensions:
        value = dimension.suggest(trial)
        values += [(dimension, value), *_suggest(dimension.below.get(value, []), trial)]
    return values


def _combinations(dimensions: list[Dimension]) -> Iterator[Values]:
    of_each = []
    for dimension in dimensions:
        values = dimension.every_value() or []
        below = [(value, inner) for value in values for inner in _combinations(dimension.below.get(value, []))]
        of_each.append([[(dimension, value), *inner] for value, inner in below])
    for combination in itertools.product(*of_each):
        yield list(itertools.chain.from_iterable(combination))


def _examples(dimensions: list[Dimension]) -> Iterator[Values]:
    if not dimensions:
        yield []
    for place, dimension in enumerate(dimensions):
        others = [_first(other) for other in dimensions[:place] + dimensions[place + 1 :]]
        for value in dimension.values:
            for inner in _examples(dimension.below.get(value, [])):
                yield [(dimension, value), *inner, *itertools.chain.from_iterable(others)]


def _first(dimension: Dimension) -> Values:
    value = dimension.values[0]
    below = [_first(other) for other in dimension.below.get(value, [])]
    return [(dimension, value), *itertools.chain.from_iterable(below)]
