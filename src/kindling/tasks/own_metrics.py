"""Metrics by name, of a project or of torchmetrics: `--model.task.metrics "[CohenKappa, MatthewsCorrCoef]"`.

The task tells such a metric what it has to know about the data, such as the number of classes. All else is the metric's
own, even its defaults: torchmetrics takes the mean over all samples (`average: micro`) unless another is set.
"""

import inspect
import re
import warnings
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from types import NoneType
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from kindling.core.errors import UsageError
from kindling.core.parts import class_path_of, classes_of, find_class, path_of, short_name
from kindling.tasks.measures import Kept

# CohenKappa, or {class_path: FBetaScore, init_args: {beta: 2}}. Others are refused here, in a better sentence than
# that of the parser, which would build a class itself where any value is allowed.
Spec = str | dict[str, Any] | float | list[Any]
Specs = list[Spec] | dict[str, Spec]  # in a dict by names of the user's own
SPEC_KEYS = {"class_path", "init_args"}
TAKEN = {"loss", "step", "epoch"}  # names that mean something else where metrics are logged
OPTIONAL = {"threshold"}  # what the task says, though a user may say otherwise for a metric
LIBRARY = "torchmetrics."
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class OfSplit(Kept):
    """A metric computed from all scores and targets of a split at once, in float64.

    So it depends neither on the size of the batches nor on the number of processes, and a target far from zero loses no
    digits: torchmetrics sums batch by batch in float32.

    Args:
        make: builds the metric.
        of_each: whether it gives a value for each target, to take the mean of.
    """

    def __init__(self, make: Callable[[], Metric], of_each: bool) -> None:
        super().__init__()
        self.make, self.of_each = make, of_each
        metric = built(make)
        self.more_is_better: bool | None = metric.higher_is_better
        self.title = type(metric).__name__
        self.notes: dict[str, str] = {}  # what was undefined in the last computation, by the name of the metric
        self.name = ""  # under which it is logged

    def compute(self) -> Tensor:
        self.notes = {}
        if self.is_empty or not self.kept()[0].isfinite().all():  # of a model that has diverged
            return torch.tensor(torch.nan)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                values, reason = self.values(*self.kept()), ""
            except ValueError as error:  # such as a correlation of a single sample
                values, reason = torch.tensor([torch.nan]), " ".join(str(error).split())
        remarks = [" ".join(str(each.message).split()) for each in told if issubclass(each.category, UserWarning)]
        self._note(values, reason or "; ".join(dict.fromkeys(remarks)))
        return values[~values.isnan()].mean()

    def values(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Its value, (1,), or that of each target, (T,); raises what the metric does, and a ValueError for others."""
        scores, targets = (each.double() if each.is_floating_point() else each for each in (scores, targets))
        if self.of_each and scores.dim() == 2 and scores.shape[1] == 1:  # some metrics take only a row
            scores, targets = scores[:, 0], targets[:, 0]
        metric = built(self.make)
        metric.set_dtype(torch.float64)
        metric.distributed_available_fn = lambda: False  # what all processes have given is here
        metric.update(scores, targets)
        value = metric.compute()
        if not isinstance(value, Tensor) or (value.numel() != 1 and not (self.of_each and value.dim() == 1)):
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"it gives {given}, but only one number can be logged")
        return value.detach().reshape(-1).double()

    def _note(self, values: Tensor, reason: str) -> None:
        undefined = int(values.isnan().sum())
        if undefined:
            count = len(values)
            some = f"a mean over {count - undefined} of {count} targets: it is " if undefined < count else ""
            self.notes[self.name] = f"{some}undefined: {reason or f'{self.title} gives no number'}"
        elif reason:
            self.notes[self.name] = f"doubtful: {reason}"


def built(make: Callable[[], Metric]) -> Metric:
    """A metric without its warning about memory: `Kept` keeps all samples in any case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def own_metrics(
    specs: Specs, packages: tuple[str, ...], of_data: dict[str, Any], taken: Iterable[str]
) -> dict[str, OfSplit]:
    """The metrics that a task's argument `metrics` names, by the names under which they are logged.

    Args:
        specs: names of classes, or their class_path and init_args; in a dict by names of the user's own.
        packages: those of torchmetrics whose metrics suit the task.
        of_data: what a metric takes from the task, by the names of its arguments.
        taken: names of what is measured already.

    Raises:
        ValueError: if there is no such metric, or it can't be built that way.
    """
    try:
        return _named(specs, packages, of_data, {*taken, *TAKEN})
    except (UsageError, ValueError) as error:
        raise refused(specs, error) from None


def refused(specs: Specs, error: Exception) -> ValueError:
    """The sentence that names the setting, and what is wrong with it."""
    return ValueError(f"metrics is {_written(specs)}: {' '.join(str(error).split())}")


def _named(specs: Specs, packages: tuple[str, ...], of_data: dict[str, Any], taken: set[str]) -> dict[str, OfSplit]:
    named = list(specs.items()) if isinstance(specs, dict) else [(None, spec) for spec in specs]
    found: dict[str, OfSplit] = {}
    for own_name, spec in named:
        _check_form(spec)
        cls, arguments = _class_of(spec, packages), spec.get("init_args") or {} if isinstance(spec, dict) else {}
        name = own_name or name_of(cls)
        if name in {*taken, *found}:
            other = f"{{my_{name}: {cls.__name__}}}"
            raise ValueError(f"{name} is measured already: give {cls.__name__} a name of its own, as in {other}")
        if not re.fullmatch(r"[A-Za-z]\w*", name) or hasattr(MetricCollection({}), name):
            raise ValueError(f"{name!r} can't be the name of a metric: expected another word of letters and digits")
        found[name] = _metric(cls, arguments, of_data)
        found[name].name = name
    return found


def name_of(cls: type) -> str:
    """CohenKappa is logged as cohen_kappa, F1Score as f1_score and AUROC as auroc."""
    return re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def _check_form(spec: Spec) -> None:
    """Refuse what is neither a name nor a name with its arguments."""
    if isinstance(spec, dict) and (beside := set(map(str, spec)) - SPEC_KEYS):
        raise ValueError(f"{min(beside)} is beside class_path: put it under init_args")
    is_named = isinstance(class_path_of(spec), str) and (isinstance(spec, str | dict))
    if not is_named or (isinstance(spec, dict) and not isinstance(spec.get("init_args"), dict | NoneType)):
        raise ValueError(f"{spec!r} names no metric: expected CohenKappa, or {{class_path: FBetaScore, init_args: …}}")


def _class_of(spec: Spec, packages: tuple[str, ...]) -> type[Metric]:
    """The class that is named: of a project, or of those packages of torchmetrics that suit the task."""
    name = str(class_path_of(spec))
    fitting = {path: cls for path, cls in classes_of(Metric).items() if _fits(path, packages)}
    cls: Any = find_class(Metric, name)
    if cls is not None and path_of(cls) in fitting:
        return cls
    why = f"{name} is not a metric here" if cls is None else f"{cls.__name__} is not for these outputs"
    names = sorted({short_name(path) for path in fitting})
    near = get_close_matches(short_name(name), names, n=3) if cls is None else []
    if near:
        raise ValueError(f"{why}: did you mean {' or '.join(near)}?")
    places = " or ".join(package.rstrip(".") for package in packages)
    raise ValueError(f"{why}: expected a metric of {places}, or a Metric of the project")


def _fits(path: str, packages: tuple[str, ...]) -> bool:
    return path.startswith(tuple(f"{package}." for package in packages)) or not path.startswith(LIBRARY)


def _metric(cls: type[Metric], given: dict[str, Any], of_data: dict[str, Any]) -> OfSplit:
    parameters = inspect.signature(cls).parameters
    wanted = {name: value for name, value in of_data.items() if name in parameters}
    if typed := sorted(set(given) & set(wanted) - OPTIONAL):
        raise ValueError(f"{typed[0]} of {cls.__name__} comes from the data: leave it out")
    required = [name for name, each in parameters.items() if each.default is each.empty and each.kind in BY_NAME]
    if lacking := [name for name in required if name not in {*wanted, *given}]:
        example = f"{{class_path: {cls.__name__}, init_args: {{{lacking[0]}: …}}}}"
        raise ValueError(f"{cls.__name__} needs {' and '.join(lacking)}: name it with its arguments, {example}")
    arguments = wanted | given
    for name, value in given.items():  # YAML's 2 is a whole number, which torchmetrics refuses for a float
        if type(value) is int and name in parameters and parameters[name].annotation is float:
            arguments[name] = float(value)
    try:
        return OfSplit(partial(cls, **arguments), of_each="num_outputs" in of_data)
    except Exception as error:  # a library's, which can refuse its arguments in any way
        raise ValueError(f"{cls.__name__} can't be built: {error}") from error


def try_out(specs: Specs, metrics: dict[str, OfSplit], scores: Any, targets: Any) -> None:
    """Compute a task's own metrics for an example batch; a ValueError if one is not for such outputs."""
    for metric in metrics.values():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                metric.values(scores, targets)
        except Exception as error:  # a metric for other things can fail in any way
            raise refused(specs, ValueError(f"{metric.title} is not for these outputs: {error}")) from None


def _written(specs: Specs) -> str:
    """Only names, as a user would type them."""
    if isinstance(specs, dict):
        return "{" + ", ".join(f"{name}: {short_name(str(class_path_of(spec)))}" for name, spec in specs.items()) + "}"
    return "[" + ", ".join(short_name(str(class_path_of(spec))) for spec in specs) + "]"
