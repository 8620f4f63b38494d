"""Every private name of a library that the sources use, with its reason: the day a library moves one, it is named here.

A row is a private name, or a public one of a private object. `seen` is its signature without annotations, or what else
it is; `files` are those that use it. The sources are searched for private names, so that none is used without a row.
To bring the table up to date, follow the failures: each says what there is now.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from conftest import ROOT

SRC = ROOT / "src"
PACKAGES = ("kindling", "my_project")
# The versions of the libraries with which the rows were seen.
SEEN_WITH = {
    "argparse": "Python 3.11",
    "jsonargparse": "4.53.0",
    "lightning": "2.6.6",
    "multiprocessing": "Python 3.11",
    "tensorboard": "2.21.0",
    "torch": "2.14.1",
    "torchmetrics": "1.9.0",
}
DOCUMENTED = {"_exit"}  # of os: public, whatever its name says


class Row(NamedTuple):
    """A private name.

    Args:
        path: where it is defined; what stands after a colon is a key, a string in the source of what is before it.
        seen: signature, or one of class, property, attribute (of an instance), key, module, data and built-in.
        files: under src, that use it.
        reason: what it is for, and why no public name does.
    """

    path: str
    seen: str
    files: tuple[str, ...]
    reason: str

    @property
    def name(self) -> str:
        return re.split(r"[.:]", self.path)[-1]


TRAINER = "lightning.pytorch.trainer.trainer.Trainer"
CONNECTORS = "lightning.pytorch.trainer.connectors"
LOGGING = f"{CONNECTORS}.logger_connector.logger_connector._LoggerConnector"
RESULTS = f"{CONNECTORS}.logger_connector.result"
LOOP = "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop"
KEEPER = "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint"
# The files that use most of them.
LEAN, USUAL = "kindling/train/loop.py", "kindling/train/lean.py"
RESUME = "kindling/train/resume.py"
UNFINISHED = "kindling/train/unfinished_epoch.py"
CHECKPOINT = "kindling/train/callbacks/checkpoint.py"
DEFAULTS = "kindling/core/default_parts.py"
SHARDED = "kindling/run/sharded_checkpoint.py"

IN_A_STEP = "the lean loop does this part of Lightning's training step, whose loop has no public part"
LOGGED = "what `self.log` has gathered in a part of an epoch is in no checkpoint, and has no other name"
DESCRIBES = "torch's pickle of what is in a folder of shares names it, and may name nothing that is not listed"
SPEED = "one call for all tensors; torch has no public one of this speed"

TABLE: tuple[Row, ...] = (
    # jsonargparse
    Row("argparse.ArgumentParser._actions", "attribute", ("kindling/core/config_problems.py",),
        "the keys that a parser takes, to say which of them was meant; it lists them nowhere else"),
    Row("jsonargparse._typehints.ActionTypeHint._typehint", "attribute", ("kindling/core/config_problems.py",),
        "the type of a key, to say what was expected; argparse's `type` is None there"),
    Row("jsonargparse._typehints", "module", ("kindling/core/short_names.py",), "see get_all_subclass_paths"),
    Row("jsonargparse._typehints.get_all_subclass_paths", "(cls, include_abstract=False, closed_types=True)",
        ("kindling/core/short_names.py",), "a short name that several classes have is refused; it can't be told whose wins"),
    Row("jsonargparse._common", "module", ("kindling/core/trusted_parts.py",), "see parsing_settings"),
    Row("jsonargparse._common.parsing_settings", "data", ("kindling/core/trusted_parts.py",),
        "set_parsing_settings only adds to what may be imported, for the whole process and for good"),
    Row("jsonargparse._common:import_path_verdicts", "key", ("kindling/core/trusted_parts.py",), "see parsing_settings"),
    Row("jsonargparse._parameter_resolvers", "module", (DEFAULTS,), "see get_parameters_by_assumptions"),
    Row("jsonargparse._parameter_resolvers.get_parameters_by_assumptions", "(function_or_class, method_name, logger)",
        (DEFAULTS,), "it leaves the default optimiser of a base a function, which no flag and no config can reach into"),
    Row("jsonargparse._parameter_resolvers.get_parameters_from_ast", "(function_or_class, method_or_property, logger)",
        (DEFAULTS,), "see get_parameters_by_assumptions"),
    Row("jsonargparse._parameter_resolvers.ParametersVisitor.replace_param_default_subclass_specs", "(self, params)",
        (DEFAULTS,), "likewise"),
    # What is logged
    Row(f"{TRAINER}._logger_connector", "attribute", (LEAN, RESUME, CHECKPOINT, UNFINISHED), "the way to what is logged"),
    Row(f"{LOGGING}.on_batch_start", "(self, batch, dataloader_idx=None)", (LEAN,), IN_A_STEP),
    Row(f"{LOGGING}.on_batch_end", "(self)", (LEAN,), IN_A_STEP),
    Row(f"{LOGGING}.should_update_logs", "property", (LEAN,), IN_A_STEP),
    Row(f"{LOGGING}.update_train_step_metrics", "(self)", (LEAN,), IN_A_STEP),
    Row(f"{LOGGING}.metrics", "property", (CHECKPOINT,), "see log_metrics"),
    Row(f"{LOGGING}.log_metrics", "(self, metrics, step=None)", (CHECKPOINT,),
        "the epoch's row is logged before the checkpoint: Lightning logs it after, where a kill would lose it"),
    Row(f"{LOGGING}._first_loop_iter", "attribute", (UNFINISHED,), "or the first batch would reset what was logged"),
    Row(f"{LOGGING}._callback_metrics", "attribute", (RESUME,), "the metrics last seen; to ask for the public ones computes new ones"),
    Row(f"{LOGGING}._logged_metrics", "attribute", (RESUME,), "likewise"),
    Row(f"{LOGGING}._progress_bar_metrics", "attribute", (RESUME,), "likewise"),
    Row("lightning.pytorch.loops.evaluation_loop._EvaluationLoop._seen_batches_per_dataloader", "attribute", (RESUME,),
        "the step of what is logged for each batch of a validation; it is in no checkpoint"),
    Row(f"{RESULTS}._ResultCollection", "class(training)", ("kindling/train/logged_values.py",),
        "a value for its step alone is kept without a torchmetrics.Metric, which takes 0.3 ms"),
    Row(f"{RESULTS}._ResultCollection.log",
        "(self, fx, name, value, prog_bar=False, logger=True, on_step=False, on_epoch=True, reduce_fx=<mean>, "
        "enable_graph=False, sync_dist=False, sync_dist_fn=<no_op>, sync_dist_group=None, add_dataloader_idx=True, "
        "batch_size=None, metric_attribute=None, rank_zero_only=False)",
        ("kindling/train/logged_values.py",), "see _ResultCollection"),
    Row(f"{RESULTS}._ResultCollection.metrics", "(self, on_step)", ("kindling/train/logged_values.py",),
        "see _ResultCollection"),
    Row(f"{RESULTS}._ResultCollection.reset", "(self, metrics=None, fx=None)", ("kindling/train/logged_values.py",),
        "see _ResultCollection"),
    Row(f"{RESULTS}._ResultMetric", "class(metadata, is_tensor)", (UNFINISHED,), LOGGED),
    Row(f"{RESULTS}._Metadata",
        "class(fx, name, prog_bar=False, logger=True, on_step=False, on_epoch=True, reduce_fx=<mean>, enable_graph=False, "
        "add_dataloader_idx=True, dataloader_idx=None, metric_attribute=None, _sync=None)", (UNFINISHED,), LOGGED),
    Row(f"{RESULTS}._Sync", "class(fn=None, _should=False, rank_zero_only=False, _op=None, _group=None)", (UNFINISHED,), LOGGED),
    Row(f"{RESULTS}._Sync._should", "data", (UNFINISHED,), LOGGED),
    Row("torchmetrics.metric.Metric._forward_cache", "attribute", (UNFINISHED,), LOGGED),
    Row("torchmetrics.metric.Metric._update_count", "attribute", (UNFINISHED,), LOGGED),
    # The training loop
    Row(LOOP, "class(trainer, min_steps=None, max_steps=-1)", (LEAN,), IN_A_STEP),
    Row(f"{LOOP}._results", "attribute", (LEAN, UNFINISHED), "see _ResultCollection"),
    Row(f"{LOOP}._should_accumulate", "(self)", (LEAN,), IN_A_STEP),
    Row(f"{LOOP}._num_ready_batches_reached", "(self)", (LEAN,), IN_A_STEP),
    Row(f"{LOOP}._warning_cache", "attribute", (LEAN,), IN_A_STEP),
    Row(f"{LOOP}._build_kwargs", "(self, kwargs, batch, batch_idx)", (LEAN,),
        "what is called before a training_step, once it is known whether its batch is the last; no hook is"),
    Row(f"{LOOP}._should_check_val_epoch", "(self)", (LEAN,),
        "whether a validation follows, which is asked for at every step and decided once an epoch"),
    Row(f"{LOOP}._batches_that_stepped", "attribute",
        (LEAN, RESUME, CHECKPOINT, "kindling/train/callbacks/tensorboard_extras.py", "kindling/cli/fit.py"),
        "the step that metrics are logged at"),
    Row("lightning.pytorch.loops.fit_loop._FitLoop._iteration_based_training", "(self)", (RESUME,),
        "or an epoch that is over goes on wherever there are max_steps (Lightning's issue 19617)"),
    Row("lightning.pytorch.loops.fit_loop._FitLoop._data_fetcher", "attribute", ("kindling/train/loaders/wrap.py",),
        "to call iter() again, which Lightning does before a checkpoint is restored"),
    Row("lightning.pytorch.loops.fetchers._DataFetcher", "class()", (LEAN, USUAL), "the type of an argument"),
    Row("lightning.pytorch.loops.fetchers._DataLoaderIterDataFetcher", "class(*args, **kwargs)", (USUAL,),
        "a training_step that takes the iterator is left to Lightning's loop"),
    Row("lightning.pytorch.loops.optimization.automatic._AutomaticOptimization._skip_backward", "attribute", (USUAL,),
        "a training of the average alone is left to Lightning's loop"),
    Row("lightning.pytorch.core.module.LightningModule._current_fx_name", "attribute",
        (LEAN, "kindling/train/trainer.py"),
        "`self.log` asks it where it is called, and the trainer whether a module configures its schedules"),
    Row("lightning.pytorch.utilities.argparse._defaults_from_env_vars", "(fn)", ("kindling/train/trainer.py",),
        "PL_TRAINER_… variables, which Lightning reads for arguments that its own Trainer is not given"),
    Row("torch._foreach_add", "built-in", ("kindling/models/muon.py",), SPEED),
    Row("torch._foreach_add_", "built-in", ("kindling/models/muon.py",), SPEED),
    Row("torch._foreach_mul_", "built-in",
        ("kindling/train/gradients.py", "kindling/train/accumulation.py", "kindling/models/muon.py"), SPEED),
    Row("torch._foreach_norm", "built-in", ("kindling/train/gradients.py",), SPEED),
    # Callbacks
    Row(f"{KEEPER}._monitor_candidates", "(self, trainer)", (CHECKPOINT,), "it copies every metric, which takes 0.5 ms"),
    Row(f"{KEEPER}._save_topk_checkpoint", "(self, trainer, monitor_candidates)", (CHECKPOINT,),
        "what was best is remembered before a save that may fail"),
    Row(f"{KEEPER}._save_checkpoint", "(self, trainer, filepath)", (CHECKPOINT,),
        "the best checkpoint, which can be the last as well, says itself at which step it was saved"),
    Row(f"{KEEPER}._should_save_on_train_epoch_end", "(self, trainer)", (CHECKPOINT,),
        "without a validation the end of an epoch saves; the public argument would switch the validation's off"),
    Row(f"{KEEPER}._last_global_step_saved", "attribute", (CHECKPOINT,),
        "of two validations at a step one counts, also after a resume; it is not in the state"),
    Row("lightning.pytorch.callbacks.early_stopping.EarlyStopping._run_early_stopping_check", "(self, trainer)",
        ("kindling/train/callbacks/early_stopping.py",), "the one place where it decides, after a validation or an epoch"),
    Row("lightning.pytorch.callbacks.weight_averaging.WeightAveraging._average_model", "attribute",
        ("kindling/train/callbacks/weight_averaging.py",), "to start the average anew; it has no other name"),
    Row("lightning.pytorch.callbacks.progress.rich_progress.RichProgressBar._get_train_description",
        "(self, current_epoch)", ("kindling/cli/terminal.py",), "epochs are counted from 1"),
    # Checkpoints
    Row("lightning.pytorch.cli:_class_path", "key",
        ("kindling/models/base.py", "kindling/models/hyperparameters.py", "kindling/run/checkpoint_content.py",
         "kindling/use/rebuild.py"),
        "by which load_from_checkpoint knows the class"),
    Row("lightning.pytorch.core.saving:_instantiator", "key",
        ("kindling/models/hyperparameters.py", "kindling/run/checkpoint_content.py", "kindling/use/rebuild.py"),
        "the function that load_from_checkpoint builds with; any other is refused"),
    Row("torch.optim.lr_scheduler.LRScheduler._last_lr", "attribute", ("kindling/train/learning_rates.py",),
        "a key of a schedule's state, which a change of the learning rate scales"),
    Row("torch.distributed.checkpoint.filesystem._StorageInfo",
        "class(relative_path, offset, length, transform_descriptors=None)", (SHARDED,), DESCRIBES),
    Row("torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING", "class", (SHARDED,), DESCRIBES),
    Row("torch.serialization._get_layout", "(name)", (SHARDED,), DESCRIBES),
    # The rest
    Row("lightning.pytorch.strategies.model_parallel.ModelParallelStrategy._data_parallel_size", "attribute",
        ("kindling/train/model_parallel.py",), "auto means all processes, rather than one a node; its mesh is made of it"),
    Row("multiprocessing.queues.Queue._on_queue_feeder_error", "(e, obj)", ("kindling/data/batches.py",),
        "a batch that a worker can't hand over is lost, and the training would wait for it for ever"),
    Row("lightning.fabric.strategies.launchers.subprocess_script._ChildProcessObserver._terminate_all", "(self)",
        ("kindling/core/processes.py",), "it kills this process without a word when one that it started has ended"),
    Row("lightning.fabric.strategies.launchers.subprocess_script._ChildProcessObserver:child-process-observer", "key",
        ("kindling/core/processes.py",), "the name of the thread that watches what was started"),
    Row("torch.utils.tensorboard.writer.SummaryWriter._get_file_writer", "(self)",
        ("kindling/run/dashboard.py", "kindling/run/loggers.py"),
        "where events are written: into a file without a thread, which a full disk would end"),
    Row("tensorboard.plugins.hparams.hparams_plugin.HParamsPlugin._context", "attribute", ("kindling/cli/board_look.py",),
        "what the HParams tab knows of the runs: it sorts columns by name, and has no setting for their order"),
)  # fmt: skip


def is_private(name: str) -> bool:
    return bool(re.fullmatch(r"_[A-Za-z]\w*", name))


# What a row says is compared with what is installed.


def described(path: str) -> str:
    """What a path is in the installed libraries; LookupError if there is no such thing."""
    path, _, key = path.partition(":")
    if key:
        return "key" if key in strings_in(resolve(path)) else missing(f"the key {key} in {path}")
    owner_path, _, name = path.rpartition(".")
    try:
        owner: Any = resolve(owner_path)
    except LookupError:
        return missing(owner_path)
    try:
        value = inspect.getattr_static(owner, name)
    except AttributeError:
        if isinstance(owner, type) and name in attributes_of(owner):
            return "attribute"
        return missing(path)
    if isinstance(value, ModuleType):
        return "module"
    if isinstance(value, property):
        return "property"
    if isinstance(value, type):
        return "class" + ("" if issubclass(value, Enum) else signature(value))  # Python's own, another in each version
    if inspect.isroutine(value) or isinstance(value, staticmethod | classmethod):
        return signature(value)
    return "data"


def missing(path: str) -> str:
    raise LookupError(path)


def resolve(path: str) -> Any:
    """A module, or what is found in one by its attributes."""
    words = path.split(".")
    for count in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:count]))
        except ImportError:
            continue
        for word in words[count:]:
            found = getattr(found, word, None)
            if found is None:
                break
        else:
            return found
    return missing(path)


def signature(value: Any) -> str:
    try:
        found = inspect.signature(value)
    except (ValueError, TypeError):  # it is written in C
        return "built-in"
    plain = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    text = str(found.replace(parameters=plain, return_annotation=found.empty))
    return re.sub(r"<(?:built-in method|function) (?:\w+\.)*(\w+)[^>]*>", r"<\1>", text)


@cache
def source_of(value: Any) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError):
        return ast.parse("")


def strings_in(value: Any) -> set[str]:
    nodes = ast.walk(source_of(value))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def attributes_of(cls: type) -> set[str]:
    """The attributes that a class and its parents give to their instances."""
    return {name for each in cls.__mro__ for name in assigned_in(source_of(each))}


# The sources are searched for private names that are not our own.


@cache
def trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(SRC)): ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}


def uses_in(tree: ast.AST) -> Iterator[str]:
    """Private names in a source: of what it imports, or looks up in any object but `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [word for alias in node.names for word in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")
            names = [] if module[0] in PACKAGES else [*module, *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = [] if is_of_self(node) else [node.attr]
        else:
            continue
        yield from filter(is_private, names)


def strings_of(tree: ast.AST) -> set[str]:
    """Strings in a source that can be private names: keys, and what getattr looks up."""
    parts_of_longer = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {node.value for node in strings if id(node) not in parts_of_longer and is_private(node.value)}


def is_of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


@cache
def assigned_in(tree: ast.AST) -> set[str]:
    """Names that are assigned to `self`, or declared with a type in the body of a class."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_of_self(node)]
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    declared = [line.target for body in bodies for line in body if isinstance(line, ast.AnnAssign)]
    assigned = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    return assigned | {target.id for target in declared if isinstance(target, ast.Name)}


def uses_of(cls: type) -> Iterator[str]:
    """Private names of libraries' classes that our class uses by `self`, or defines too, on purpose or by accident."""
    own = names_of(each for each in cls.__mro__ if is_ours(each))
    foreign = names_of(each for each in cls.__mro__ if not is_ours(each) and each is not object)
    looked_up = {node.attr for node in ast.walk(source_of(cls)) if isinstance(node, ast.Attribute) and is_of_self(node)}
    defined = names_of([cls])
    yield from filter(is_private, (looked_up - own) | (defined & foreign))


def names_of(classes: Iterable[type]) -> set[str]:
    """What classes define and what they give to their instances, but for what Python does."""
    by_python = {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}
    return {name for cls in classes for name in {*vars(cls), *assigned_in(source_of(cls))}} - by_python


def is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in PACKAGES


@cache
def our_classes() -> set[type]:
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES]
    return {cls for module in modules for cls in vars(module).values() if isinstance(cls, type) and is_ours(cls)}


@cache
def uses() -> dict[str, set[str]]:
    """The files that use each private name."""
    files: dict[str, set[str]] = defaultdict(set)
    for file, tree in trees().items():
        for name in uses_in(tree):
            files[name].add(file)
        for name in strings_of(tree) - names_of(our_classes()):
            files[name].add(file)
    for cls in our_classes():
        file = Path(sys.modules[cls.__module__].__file__ or "").relative_to(SRC)
        for name in uses_of(cls):
            files[name].add(str(file))
    return {name: found for name, found in files.items() if name not in DOCUMENTED}


@cache
def words_in(file: str) -> set[str]:
    """All names of attributes and functions, and all strings in a source."""
    words = set()
    for node in ast.walk(trees()[file]):
        words |= {node.attr} if isinstance(node, ast.Attribute) else set()
        words |= {node.name} if isinstance(node, ast.FunctionDef) else set()
        words |= {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
    return words


def installed(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # Python's own
        return f"of Python {sys.version.split()[0]}"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.path)
def test_it_is_still_there(row: Row) -> None:
    library = row.path.partition(".")[0]
    here = f"{library} {installed(library)} (it was seen with {SEEN_WITH[library]})"
    try:
        found = described(row.path)
    except LookupError as error:
        pytest.fail(f"{here} has no {error.args[0]}, which is used in {', '.join(row.files)}: {row.reason}")
    assert found == row.seen, f"{here} has changed {row.path}, which is used in {', '.join(row.files)}: {row.reason}"


@pytest.mark.slow
def test_no_private_name_is_used_without_a_row() -> None:
    listed: dict[str, set[str]] = defaultdict(set)
    for row in TABLE:
        listed[row.name] |= set(row.files)
    unlisted = {name: sorted(files - listed[name]) for name, files in sorted(uses().items()) if files - listed[name]}
    assert not unlisted, "find a public way, or add rows (or files to their rows) for these"


@pytest.mark.slow
def test_no_row_is_unused() -> None:
    for row in TABLE:
        for file in row.files:
            is_used = file in uses().get(row.name, ()) if is_private(row.name) else row.name in words_in(file)
            assert is_used, f"{row.path} is not used in {file}: take the file, or the row, out of the table"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from torch import _x", {"_x"}),
        ("from torch._y import x", {"_y"}),
        ("import torch._y.x", {"_y"}),
        ("from kindling.core.files import _x", set()),
        ("trainer._x.y.z", {"_x"}),
        ("super()._x()", {"_x"}),
        ("self.trainer._x", {"_x"}),
        ("loop._x -= 1", {"_x"}),
        ("self._x = torch.__version__", set()),
        ("getattr(loop, '_x')", {"_x"}),
        ("hparams['_x'] = f'{name}_y'", {"_x"}),
    ],
)
def test_private_names_are_found_in_a_source(source: str, names: set[str]) -> None:
    tree = ast.parse(source)
    assert {*uses_in(tree), *strings_of(tree)} == names


def test_private_names_are_found_in_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Base:
        def _own(self) -> None: ...

        def __init__(self) -> None:
            self._kept = 1

    class Ours(Base):
        def _own(self) -> None:
            self._mine = self._kept, self._given, self._method()

        def _method(self) -> None: ...

    monkeypatch.setitem(globals(), "is_ours", lambda cls: cls is Ours)
    assert sorted(uses_of(Ours)) == ["_given", "_kept", "_own"]


def test_what_is_gone_or_changed_is_found() -> None:
    for path in ("lightning._nothing", "lightning.Trainer._nothing", "no_library._x", "lightning.pytorch.cli:_nothing"):
        with pytest.raises(LookupError):
            described(path)
    assert described("textwrap.indent") == "(text, prefix, predicate=None)"


def test_each_name_has_one_row_and_a_reason() -> None:
    paths = [row.path for row in TABLE]
    assert len(set(paths)) == len(paths)
    assert all(row.reason and row.files for row in TABLE)
    assert {row.path.partition(".")[0] for row in TABLE} == set(SEEN_WITH)
