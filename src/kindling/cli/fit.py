"""What `fit`, `validate` and `test` do: LightningCLI with runs, sizes that flow from data to model, and results."""

import re
from argparse import ArgumentError
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from kindling.cli.arguments import HELP, USAGE, Arguments
from kindling.cli.find import find
from kindling.cli.refusals import check_config, is_setting, sentence
from kindling.cli.terminal import print_header, print_metrics, print_next, terminal_callbacks
from kindling.core import short_names
from kindling.core.config_problems import explain
from kindling.core.errors import Stopped, UsageError, origin
from kindling.core.files import write_json
from kindling.core.parts import load_projects
from kindling.data.base import Data
from kindling.figures.callback import Figures
from kindling.models.base import FROM_DATA, Model
from kindling.run import folder as runs
from kindling.run.dashboard import Dashboard
from kindling.run.loggers import run_loggers
from kindling.run.record import Record
from kindling.train import resume
from kindling.train.callbacks import CALLBACKS
from kindling.train.faults import explain_fault
from kindling.train.trainer import Trainer

FILLED_IN = {"datamodule", "train_dataloaders", "val_dataloaders", "dataloaders", "ckpt_path", "weights_only"}
FILLED_IN |= {"model", "verbose"}
SUBCOMMANDS = ("fit", "validate", "test")
STRICT = {"allow_abbrev": False, "exit_on_error": False}


def default_callbacks() -> dict[str, type[L.Callback]]:
    """The engine's callbacks by their names as flags: EarlyStopping is early_stopping."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower(): cls for cls in (*CALLBACKS, Figures)}


class KindlingCLI(LightningCLI):
    """Parses the arguments, builds data, model and trainer, and runs the command.

    Raises:
        UsageError: if what the user asked for can't be done; a run folder made for it is removed.
    """

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.run: Path | None = arguments.run
        own = {**STRICT, "usage": USAGE % arguments.command, "description": HELP[arguments.command]}
        load_projects()
        short_names.install()
        super().__init__(
            model_class=Model,
            datamodule_class=Data,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_class=Trainer,
            trainer_defaults={"max_epochs": 20, "gradient_clip_val": 1.0},
            parser_kwargs={**STRICT, **dict.fromkeys(SUBCOMMANDS, own)},
            auto_configure_optimizers=False,
            args=arguments.parser_args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return dict.fromkeys(SUBCOMMANDS, FILLED_IN)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name in FROM_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        for name, callback in default_callbacks().items():
            parser.add_lightning_class_args(callback, name)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        command, settings = args[0], self.arguments.settings
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(explain(self._parser(command), settings, str(error))) from error
        config = self.config[command]
        scalar = any(not isinstance(config[group], Namespace) for group in ("trainer", *default_callbacks()))
        null = any(value in (None, "null") for _, _, value in settings)
        if (scalar or null) and (problem := explain(self._parser(command), settings)):
            raise UsageError(problem)  # which the parser lets pass
        check_config(config)

    def instantiate_classes(self) -> None:
        try:
            self.build()
        except (ValueError, MisconfigurationException) as error:
            if not isinstance(origin(error), ValueError | MisconfigurationException):
                raise  # a mistake in code, which the parser wraps
            self._refuse(error)
        except Exception as error:
            if fault := explain_fault(error):
                raise Stopped(fault) from error
            raise

    def build(self) -> None:
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        settings, fitting = self._get(self.config_init, "trainer"), self.subcommand == "fit"
        if fitting and self.run:
            runs.lock_run(self.run)
        self.ckpt, first_step = resume.starting_point(self.run, self.arguments.ckpt, fitting, self.model, settings)
        if settings["fast_dev_run"] or self.arguments.find:
            self.run = None
        elif fitting and not self.run:
            self.run = runs.new_run(self.arguments.name)
            runs.lock_run(self.run)

        extra = terminal_callbacks(settings)
        if self.arguments.find:
            kwargs |= {"logger": False, "enable_checkpointing": False}
        off = {"checkpoint"} if settings["enable_checkpointing"] is False or self.arguments.find else set()
        keys = self._parser(self.subcommand).callback_keys
        keys[:] = [key for key in keys if key not in off and self._get(self.config, key).get("enabled") is not False]
        if self.run:
            kwargs["default_root_dir"] = str(self.run)
            kwargs["logger"] = settings["logger"]
            if settings["logger"] in (None, True):
                kwargs["logger"] = run_loggers(self.run, self.subcommand or "", first_step)
            self._get(self.config_init, "checkpoint").dirpath = str(self.run.resolve() / "checkpoints")
        if self.run and fitting:
            if self.arguments.saved_split:
                self.config[self.subcommand].data.init_args.split_file = None  # it is in the run
                self.datamodule.hparams["split_file"] = None
            config = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
            self.record = Record(self.run, config, self._get(self.config, "seed_everything"))
            extra += [self.record, Dashboard(yaml.safe_load(config))]
        self.trainer_defaults["callbacks"] = extra
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except Exception as error:  # the Trainer refuses settings in many ways
            self._refuse(error)
        if trainer.is_global_zero:
            print_header(self.model, self.datamodule, trainer, self.run, self._get(self.config, "seed_everything"))
            if self.run and first_step is not None:
                print(f"resume after step {first_step}; changed: {'; '.join(self.record.changes) or 'nothing'}")
        return trainer

    def fit(self, model: Model, datamodule: Data) -> None:
        """Train, then measure the best checkpoint on the validation and the test split."""
        try:
            if self.arguments.find:
                print(find(self.arguments.find, self.trainer, model, datamodule))
            else:
                self._fit(model, datamodule)
        except SystemExit as error:  # Lightning's answer to Ctrl-C and SIGTERM
            raise Stopped("stopped", 143 if isinstance(error, SIGTERMException) else 130, self.run) from error
        except Exception as error:
            if isinstance(error, MisconfigurationException | UsageError) or is_setting(error):
                self._refuse(error)
            fault = None if isinstance(error, Stopped) else explain_fault(error)
            if not fault:
                raise
            raise Stopped(fault, 1, self.run) from error

    def _fit(self, model: Model, datamodule: Data) -> None:
        self.trainer.fit(model, datamodule=datamodule, ckpt_path=self.ckpt, weights_only=True)
        stopped = getattr(self.trainer.early_stopping_callback, "stopping_reason_message", None)
        best = self.run / "checkpoints" / "best.ckpt" if self.run else None
        best = best if best and best.is_file() else None
        results = self.record.results(self.trainer, best) if self.run else {}
        loggers, self.trainer.loggers = self.trainer.loggers, []  # the curves of the validation are complete
        metrics = self._measure("validate", best)
        self.trainer.loggers = loggers
        metrics |= self._measure("test", best)
        if not self.trainer.is_global_zero:
            return
        if not self.run:
            return print_metrics("debug run: nothing was written", metrics)
        Dashboard.finish(loggers, metrics["val"], self.trainer.global_step)
        write_json(self.run / "results.json", metrics | results)  # by which a run is known to be finished
        if stopped:
            print(f"stopped early: {stopped}")
        print_metrics("best epoch {best_epoch} of {epochs}, trained in {seconds} s".format(**results), metrics)
        print_next(self.run)

    def validate(self, model: Model, datamodule: Data) -> None:
        self._report("validate")

    def test(self, model: Model, datamodule: Data) -> None:
        self._report("test")

    def _report(self, command: str) -> None:
        metrics = self._measure(command, self.ckpt)
        if self.trainer.is_global_zero:
            print_metrics(f"{command} of {self.ckpt}", metrics)
            if self.run:
                write_json(self.run / command / "results.json", {"checkpoint": str(self.ckpt), **metrics})

    def _measure(self, command: str, ckpt: Path | None) -> dict[str, dict[str, float]]:
        measure = getattr(self.trainer, command)
        found = measure(self.model, datamodule=self.datamodule, ckpt_path=ckpt, weights_only=True, verbose=False)
        split = "val" if command == "validate" else "test"
        return {split: {name.removeprefix(f"{split}/"): value for metrics in found for name, value in metrics.items()}}

    def _refuse(self, error: BaseException) -> NoReturn:
        """Turn an error into one sentence, and leave no run behind that has trained nothing."""
        if self.run and not self.arguments.run:
            runs.discard_run(self.run)
        raise UsageError(sentence(error, self.arguments.settings)) from error
