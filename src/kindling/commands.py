"""What `fit`, `validate` and `test` do: LightningCLI with runs, sizes that flow from data to model, and results."""

import shutil
from argparse import ArgumentError
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from kindling import callbacks, checkpoints, runs
from kindling.arguments import HELP, Arguments
from kindling.config_errors import explain
from kindling.data.base import Data
from kindling.loggers import MetricsTable, TensorBoard
from kindling.models.base import Model
from kindling.progress import Progress, Summary
from kindling.record import Record
from kindling.report import count_parameters, print_header, print_next, print_results
from kindling.runs import UsageError

FROM_DATA = ("input_shape", "classes", "targets")  # what a model learns from the data
FILLED_IN = {"model", "datamodule", "train_dataloaders", "val_dataloaders", "dataloaders"}
FILLED_IN |= {"ckpt_path", "weights_only", "verbose"}


class KindlingCLI(LightningCLI):
    """Parses the arguments, builds data, model and trainer, and runs the command.

    Raises:
        UsageError: if what the user asked for can't be done; a run folder made for it is removed.
    """

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.run: Path | None = arguments.run
        strict = {"allow_abbrev": False, "exit_on_error": False}
        super().__init__(
            model_class=Model,
            datamodule_class=Data,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults={"max_epochs": 20, "gradient_clip_val": 1.0},
            parser_kwargs=strict | {command: strict | {"description": text} for command, text in HELP.items()},
            auto_configure_optimizers=False,
            args=arguments.parser_args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return dict.fromkeys(HELP, FILLED_IN)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name in FROM_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.set_defaults({"early_stopping.monitor": "val/loss", "early_stopping.patience": 10})
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        best = {"monitor": "val/loss", "filename": "best", "enable_version_counter": False}
        parser.set_defaults({f"checkpoint.{key}": value for key, value in best.items()})
        for name, callback in callbacks.default().items():
            parser.add_lightning_class_args(callback, name)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            options = self._parser(self.arguments.command)
            raise UsageError(explain(options, self.arguments.sources(), str(error))) from error
        for name in FROM_DATA:
            if self.config[self.arguments.command].model.init_args.get(name) is not None:
                raise UsageError(f"model.{name} comes from the data: leave it out")

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            self._refuse(error)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        settings, seed = self._get(self.config_init, "trainer"), self._get(self.config, "seed_everything")
        command, arguments = self.subcommand, self.arguments
        self.ckpt: Path | None = None
        step = None  # where a resumed run goes on
        if arguments.run or arguments.ckpt:
            self.ckpt = runs.find_checkpoint(arguments.run, arguments.ckpt or ("last" if command == "fit" else "best"))
            checkpoint = checkpoints.check(self.ckpt, self.model)
            step = checkpoint["global_step"] if command == "fit" else None
            self._check_unfinished(checkpoint["epoch"] + 1, settings["max_epochs"])
        if settings["fast_dev_run"]:
            self.run = None
        elif command == "fit" and not self.run:
            self.run = runs.new_run(arguments.experiment)

        extra: list[L.Callback] = []
        if settings["enable_progress_bar"] is not False:
            extra.append(Progress())
        if settings["enable_model_summary"] is not False:
            extra.append(Summary())
        if settings["enable_checkpointing"] is False:
            self._parser(command).callback_keys.remove("checkpoint")
        if self.run:
            kwargs["default_root_dir"] = str(self.run)
            kwargs["logger"] = self._loggers(settings["logger"], step)
        if self.run and command == "fit":
            config = self._parser(command).dump(self.config[command], skip_none=False)
            self.record = Record(self.run, config, seed)
            extra.append(self.record)
            if kwargs["logger"]:
                extra.append(LearningRateMonitor("step"))
            if settings["enable_checkpointing"] is not False:
                folder = self.run / "checkpoints"
                extra.append(ModelCheckpoint(folder, "last", enable_version_counter=False))
        self.trainer_defaults["callbacks"] = extra
        trainer = super().instantiate_trainer(**kwargs)
        if trainer.is_global_zero:
            print_header(self.model, self.datamodule, trainer, self.run, seed)
        return trainer

    def fit(self, model: Model, datamodule: Data) -> None:
        """Train, then measure the best checkpoint on the validation and the test split."""
        try:
            self.trainer.fit(model, datamodule=datamodule, ckpt_path=self.ckpt, weights_only=True)
        except (RuntimeError, MisconfigurationException, UsageError) as error:
            if isinstance(error, RuntimeError) and "conditioned on metric" not in str(error):
                raise
            self._refuse(error)
        results: dict[str, Any] = {}
        best = None
        if self.run:
            best = self._best()
            results = self._figures(best)
        loggers, self.trainer.loggers = self.trainer.loggers, []  # the curves of the validation are complete
        metrics = self._measure("validate", best)
        self.trainer.loggers = loggers
        metrics |= self._measure("test", best)
        if self.trainer.is_global_zero:
            self._report_fit(metrics, results)

    def validate(self, model: Model, datamodule: Data) -> None:
        self._report("validate", self._measure("validate", self.ckpt))

    def test(self, model: Model, datamodule: Data) -> None:
        self._report("test", self._measure("test", self.ckpt))

    def _measure(self, command: str, ckpt: Path | None) -> dict[str, dict[str, float]]:
        measure = getattr(self.trainer, command)
        (metrics,) = measure(self.model, datamodule=self.datamodule, ckpt_path=ckpt, weights_only=True, verbose=False)
        split = "val" if command == "validate" else "test"
        return {split: {name.removeprefix(f"{split}/"): value for name, value in metrics.items()}}

    def _report(self, command: str, results: dict[str, dict[str, float]]) -> None:
        if self.trainer.is_global_zero:
            print_results(f"{command} of {self.ckpt}", results)
            if self.run:
                runs.write_json(self.run / command / "results.json", {"checkpoint": str(self.ckpt), **results})

    def _best(self) -> Path | None:
        path = self.run / "checkpoints" / "best.ckpt" if self.run else None
        return path if path and path.is_file() else None

    def _figures(self, best: Path | None) -> dict[str, Any]:
        """What is known of the training at its end; loading a checkpoint would reset the record."""
        epochs = self.trainer.current_epoch
        return {
            "best_epoch": checkpoints.check(best, self.model)["epoch"] + 1 if best else epochs,
            "epochs": epochs,
            "parameters": count_parameters(self.model),
            "seconds": round(self.record.seconds, 1),
            "samples_per_second": round(self.record.samples / self.record.seconds, 1),
        }

    def _report_fit(self, metrics: dict[str, dict[str, float]], figures: dict[str, Any]) -> None:
        if not self.run:
            print_results("debug run: nothing was written", metrics)
            return
        runs.write_json(self.run / "results.json", metrics | figures)
        title = "best epoch {best_epoch} of {epochs}, trained in {seconds} s".format(**figures)
        print_results(title, metrics)
        print_next(self.run)

    def _loggers(self, chosen: Any, step: int | None) -> list[Any]:
        """TensorBoard and `metrics.csv` in the run, and what the config adds."""
        if chosen is False:
            return []
        assert self.run
        where: dict[str, Any] = {
            "save_dir": self.run.parent.parent,
            "name": self.run.parent.name,
            "version": self.run.name,
        }
        added = [] if chosen in (None, True) else chosen if isinstance(chosen, list) else [chosen]
        if self.subcommand != "fit":  # in a folder of its own, or it would end the curves of the training at step 0
            return [TensorBoard(**where, sub_dir=self.subcommand, default_hp_metric=False)]
        return [
            TensorBoard(**where, default_hp_metric=False, purge_step=step),
            MetricsTable(**where, flush_logs_every_n_steps=1, purge_step=step),
            *added,
        ]

    def _check_unfinished(self, epochs: int, max_epochs: int | None) -> None:
        finished = self.arguments.resume and max_epochs is not None and 0 <= max_epochs <= epochs
        if finished and self.run and (self.run / "results.json").exists():
            raise UsageError(f"{self.run} has trained its {epochs} epochs: give --trainer.max_epochs for more")

    def _refuse(self, error: BaseException) -> NoReturn:
        """Turn an error into one sentence, and leave no run behind that has trained nothing."""
        if self.run and not self.arguments.run and not list(self.run.glob("checkpoints/*")):
            shutil.rmtree(self.run, ignore_errors=True)
            for folder in self.run.parents[:2]:
                with suppress(OSError):  # not empty
                    folder.rmdir()
        while error.__cause__:  # the parser wraps what a constructor raised
            error = error.__cause__
        reason = " ".join(str(error).split()).partition(" HINT")[0]
        if "gpu backend" in reason:
            reason = "trainer.accelerator is gpu, but torch finds no GPU: leave it out, or set it to auto or cpu"
        raise UsageError(reason) from error
