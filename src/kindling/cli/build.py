"""Builds what the command line describes: the data, then the model, whose sizes come from the data."""

import re
import sys
from argparse import SUPPRESS, ArgumentError
from contextlib import nullcontext
from copy import deepcopy
from functools import cached_property, partial
from typing import Any, NoReturn

import lightning as L
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import kindling.core.default_parts
import kindling.core.parser_types
import kindling.data  # the engine's data by name
import kindling.train.model_parallel  # noqa: F401 (its strategy by name)
from kindling.cli.arguments import Arguments
from kindling.cli.check_config import check_config
from kindling.cli.config_of_run import ConfigOfRun
from kindling.cli.full_help import InWords
from kindling.cli.library_errors import is_setting, sentence, too_large
from kindling.core import short_names
from kindling.core.class_paths import IN_A_LIST, foreign_parts, import_part, is_foreign, shortened, with_class_paths
from kindling.core.config_files import FAST_LOADER
from kindling.core.config_problems import explain
from kindling.core.errors import Stopped, UsageError, origin
from kindling.core.parts import class_path_of, find_class, load_projects, parameter_of
from kindling.core.settings import COMMAND_LINE, settings_in
from kindling.core.trusted_parts import imported_parts
from kindling.data.base import Data
from kindling.data.preprocessing import learnt
from kindling.figures.callback import Figures
from kindling.models.base import Model
from kindling.models.hyperparameters import weights_follow
from kindling.run.logger_recipes import Recipe, without_defaults
from kindling.run.saved_split import compare_with_run, unchanged_split_of
from kindling.tasks import Task
from kindling.train.callbacks import CALLBACKS
from kindling.train.faults import explain_fault
from kindling.train.trainer import Trainer

DEFAULTS = {"trainer.max_epochs": 20, "trainer.gradient_clip_val": 1.0}


def default_callbacks() -> dict[str, type[L.Callback]]:
    """The engine's callbacks by their names as flags: EarlyStopping is early_stopping."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower(): cls for cls in (*CALLBACKS, Figures)}


def add_keys(parser: LightningArgumentParser, command: str) -> None:
    """The keys of configs: the trainer's, a model, data, and the engine's callbacks."""
    looks_at_data = command == "data"
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults(DEFAULTS)
    model, data = L.LightningModule, L.LightningDataModule
    parser.add_lightning_class_args(model, "model", subclass_mode=True, required=not looks_at_data)
    parser.add_lightning_class_args(data, "data", subclass_mode=True, required=looks_at_data)
    groups = parser.groups or {}
    groups["model"].title, groups["data"].title = "The model", "The data"
    for name, callback in default_callbacks().items():
        parser.add_lightning_class_args(callback, name)


class Parts(LightningCLI):
    """The data and the model that the arguments name, and all that is needed to build a trainer for them.

    It has `model`, `datamodule` (None if the model has loaders of its own), `config` with every setting, and
    `settings`, which say where each was made.

    Args:
        arguments: those of the command line.
        checkpoint: the one that is measured, if any: its preprocessing says how the data are prepared.

    Raises:
        UsageError: if what the user asked for can't be built.
        Stopped: if memory, a disk or the like failed.
    """

    config: Namespace
    config_init: Namespace
    model: L.LightningModule
    datamodule: L.LightningDataModule | None
    model_type: type = L.LightningModule
    data_type: type | None = None

    def __init__(self, arguments: Arguments, checkpoint: dict[str, Any] | None = None) -> None:
        self.arguments, self.settings, self.checkpoint = arguments, arguments.settings, checkpoint or {}
        self.of_run = ConfigOfRun(arguments) if arguments.run else None
        load_projects()
        short_names.install()
        configs = self._read_configs()
        split = unchanged_split_of(arguments.run, self.settings, arguments.changes)
        self.saved_split = [f"--data.split_file={split}"] if split else []
        with imported_parts(self.of_run.may_name) if self.of_run else nullcontext():
            self._build_parts([*configs, *self.saved_split, *self._flags()])

    def _build_parts(self, args: list[str]) -> None:
        # Lightning's constructor calls add_core_arguments_to_parser, add_arguments_to_parser and parse_arguments, sets
        # the seed, and calls instantiate_classes, which calls build.
        super().__init__(
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={
                "allow_abbrev": False,
                "exit_on_error": False,
                "formatter_class": InWords,
                "usage": SUPPRESS,  # it and the description are on the first screen of --help
                "description": None,
            },
            auto_configure_optimizers=False,
            args=args,
            run=False,
        )

    def _read_configs(self) -> list[str]:
        """The configs as the parser takes them; in a run's own config, class paths follow what is installed."""
        configs = []
        for path in self.arguments.configs:
            config = f"--config={path}"
            if self.of_run and path == self.of_run.file:
                values = self.of_run.values()
                others = self.arguments.changes
                own = [(str(path), key, value) for key, value in settings_in(values)]
                self.settings = [*own, *others] if path == self.arguments.configs[0] else [*others, *own]
                config = f"--config={yaml.safe_dump(values, sort_keys=False)}"  # the order of patterns counts
                for moved in self.of_run.moved if self.arguments.processes.is_first else ():
                    print(f"note: {moved}", file=sys.stderr)
            configs.append(config)
        self._import_foreign()
        return configs

    def _flags(self) -> list[str]:
        """The flags, with DefaultTask named if the task is left open but what all default tasks have is set for it."""
        flags = self.arguments.flags
        below = [place for place, flag in enumerate(flags) if flag.startswith("--model.task.")]
        is_shared = all(re.match(r"--model\.task\.(loss|metrics)\b", flags[place]) for place in below)
        if not below or not is_shared or self._named(Task, "model.task") or self._has_task_of_its_own():
            return flags
        place = next(place for place, (_, key, _) in enumerate(self.settings) if key.startswith("model.task."))
        named = (COMMAND_LINE, "model.task", "DefaultTask")
        self.settings = [*self.settings[:place], named, *self.settings[place:]]
        return [*flags[: below[0]], "--model.task=DefaultTask", *flags[below[0] :]]

    def _has_task_of_its_own(self) -> bool:
        """Whether the named model takes no task, or has a default task of its own instead of the data's."""
        model = self._named(L.LightningModule, "model") or L.LightningModule
        task = parameter_of(model, "task")
        return task is None or task.default is not None

    def _import_foreign(self) -> None:
        """Import the modules that the user has named by path for the model and the data."""
        for setting in self.settings:
            path = class_path_of(setting[2]) if setting[1] in ("model", "data") else None
            is_own = not self.of_run or not self.arguments.is_of_run(setting) or self.of_run.is_typed(str(path))
            if path and is_foreign(path) and is_own:
                import_part(path)

    def _named(self, base: type, key: str) -> type | None:
        """The class that the settings name for a key, if any."""
        paths = [class_path_of(value) for _, other, value in self.settings if other == key]
        last = next((path for path in reversed(paths) if path and path != "null"), None)
        return find_class(base, last) if last else None

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_keys(parser, self.arguments.command)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        self.model_type = self._named(L.LightningModule, "model") or L.LightningModule
        self.data_type = self._named(L.LightningDataModule, "data")
        self.from_data: tuple[str, ...] = getattr(self.model_type, "from_data", ())
        if self.data_type is None and not self.arguments.asks_for_help and self.arguments.command != "data":
            values = [value for _, key, value in self.settings if key == "data"]
            if self.from_data and (not values or values[-1] in (None, "null")):
                names = ", ".join(self.from_data)
                raise UsageError(f"{self.model_type.__name__} takes {names} from the data: name one with --data")
            return
        for name in self.from_data:
            ask = partial(self._ask_data, name)
            parser.link_arguments("data", f"model.init_args.{name}", compute_fn=ask, apply_on="instantiate")

    def _ask_data(self, name: str, data: L.LightningDataModule) -> Any:
        """The data's value for an argument of the model."""
        if not hasattr(type(data), name) and name not in vars(data):
            parameter = parameter_of(self.model_type, name)
            if parameter and parameter.default is not parameter.empty:
                return parameter.default
            model, owner = self.model_type.__name__, type(data).__name__
            raise ValueError(f"{owner} has no {name}, which {model} takes from the data: give it that attribute")
        return getattr(data, name)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            self.config = parser.parse_args(args)
        except UsageError:
            raise
        except Exception as error:  # many kinds are raised where a value is not what the parser expects
            sentence = explain(parser, self.settings, str(error))
            if not isinstance(error, ArgumentError) and sentence == " ".join(str(error).split()):
                raise  # a mistake in code that was imported
            raise UsageError(self.of_run.explained(sentence) if self.of_run else sentence) from error
        groups = ("trainer", *default_callbacks())
        scalar = any(not isinstance(value, dict) for _, key, value in self.settings if key in groups)
        null = any(value in (None, "null") for _, _, value in self.settings)
        if (scalar or null) and (problem := explain(parser, self.settings)):
            raise UsageError(problem)  # the parser lets it pass
        check_config(self.config, self.settings, self.from_data)

    def instantiate_classes(self) -> None:
        try:
            self.build()
        except (ValueError, MisconfigurationException) as error:
            first = origin(error)
            if isinstance(first, UsageError):
                raise first from error
            if isinstance(first, ValueError | MisconfigurationException) or is_setting(first):
                self.refuse(error)
            self.refuse_fault(first)
            raise  # a mistake in code, wrapped by the parser
        except Exception as error:
            if is_setting(error):
                self.refuse(error)
            self.refuse_fault(error)
            raise

    def refuse_fault(self, error: BaseException) -> None:
        """Raise a UsageError or Stopped if an error is a fault, and nothing if it is a mistake in code."""
        fault = explain_fault(error)
        if fault and "out of memory" in fault and (sentence := too_large(self.settings)):
            raise UsageError(sentence) from error
        if fault:
            raise Stopped(fault) from error

    def build(self) -> None:
        """Build data and model; the model's arguments that come from the data are filled in on the way."""
        foreign = [cls for cls in (self.model_type, self.data_type) if cls and not issubclass(cls, Model | Data)]
        run = self.arguments.run
        self.config_dump = self._written(skip_link_targets=False)  # what modules save as hyper-parameters
        is_trained = bool(self.checkpoint) or (run is not None and any((run / "checkpoints").glob("*.ckpt")))
        with learnt(self.checkpoint.get("preprocessing")), weights_follow(is_trained):
            own = [(_as_its_author_does, cls, False) for cls in foreign]
            self.config_init = self.parser.instantiate(self.config, instantiators=[*own, (Recipe, Logger, True)])
        self.model, self.datamodule = self.config_init["model"], self.config_init.get("data")
        if isinstance(self.datamodule, Data):
            self.datamodule.splits  # noqa: B018 (drawn here, so that a fault in the data is reported)
            if run := self.arguments.run:
                compare_with_run(run, self.datamodule, self.arguments.changes, self.arguments.command == "fit")
            if self.config["trainer"].overfit_batches:
                better = "use trainer.limit_train_batches"
                raise UsageError(f"trainer.overfit_batches needs a loader that gives single samples: {better}")
        clips = isinstance(self.model, Model) and self.model.automatic_optimization
        if not clips and not self.arguments.sets("trainer.gradient_clip_val"):
            # A foreign module trains as its author wrote it, and Lightning can't clip with manual optimisation.
            self.config["trainer"]["gradient_clip_val"] = self.config_init["trainer"]["gradient_clip_val"] = None

    def refuse(self, error: BaseException) -> NoReturn:
        raise UsageError(sentence(error, self.settings)) from error

    @property
    def seed(self) -> Any:
        return self.config["seed_everything"]

    @cached_property
    def foreign(self) -> dict[str, str]:
        """The import paths of parts that belong to no installed project: a resume has to name them again."""
        return {key: path for key, path in foreign_parts(self._plain).items() if key != IN_A_LIST}

    def callbacks(self) -> list[L.Callback]:
        """The engine's callbacks, as their flags say."""
        return [self.config_init[name] for name in default_callbacks()]

    def dump(self) -> dict[str, Any]:
        """Every setting, as a run keeps it: classes by their short names where those mean one class."""
        return deepcopy(self._plain)

    def _written(self, **options: Any) -> dict[str, Any]:
        """The settings as YAML has them; they were checked when they were read, which takes twice as long as this."""
        dumped = self.parser.dump(self.config, skip_none=False, skip_validation=True, **options)
        return yaml.load(dumped, FAST_LOADER)

    @cached_property
    def _plain(self) -> dict[str, Any]:
        plain = self._written()
        plain["trainer"]["logger"] = without_defaults(plain["trainer"]["logger"])
        return with_class_paths(plain, shortened)


def _as_its_author_does(cls: type, *args: Any, **kwargs: Any) -> Any:
    """Build a module that is not Kindling's.

    Lightning's command line would give `save_hyperparameters` only the settings of this class, so that a parent class
    would find none of its own, and would give the description of an object instead of the object.
    """
    return cls(*args, **kwargs)
