"""What `fit`, `validate` and `test` do: LightningCLI with runs, sizes that flow from data to model, and results."""

from argparse import ArgumentError
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from kindling import callbacks, checkpoints, runs
from kindling.arguments import HELP, USAGE, Arguments
from kindling.config_errors import explain
from kindling.data.base import Data
from kindling.loggers import run_loggers
from kindling.models.base import Model
from kindling.progress import Progress, Summary
from kindling.record import Record
from kindling.report import print_header, print_metrics, print_next
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
            parser_kwargs=strict
            | {name: strict | {"usage": USAGE % name, "description": text} for name, text in HELP.items()},
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
        command, sources = self.arguments.command, self.arguments.sources()
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(explain(self._parser(command), sources, str(error))) from error
        config = self.config[command]
        if any(not isinstance(config[group], Namespace) for group in ("trainer", "early_stopping", "checkpoint")):
            raise UsageError(explain(self._parser(command), sources, "trainer needs keys below it"))
        for name in FROM_DATA:
            if config.model.init_args.get(name) is not None:
                raise UsageError(f"model.{name} comes from the data: leave it out")

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            self._refuse(error)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        settings, fitting = self._get(self.config_init, "trainer"), self.subcommand == "fit"
        self.ckpt, first_step = self._find_checkpoint(settings["max_epochs"])
        if settings["fast_dev_run"]:
            self.run = None
        elif fitting and not self.run:
            self.run = runs.new_run(self.arguments.experiment)

        extra: list[L.Callback] = []
        if settings["enable_progress_bar"] is not False:
            extra.append(Progress())
        if settings["enable_model_summary"] is not False:
            extra.append(Summary())
        if settings["enable_checkpointing"] is False:
            self._parser(self.subcommand).callback_keys.remove("checkpoint")
        if self.run:
            kwargs["default_root_dir"] = str(self.run)
            kwargs["logger"] = settings["logger"]
            if settings["logger"] in (None, True):
                kwargs["logger"] = run_loggers(self.run, self.subcommand or "", first_step)
        if self.run and fitting:
            config = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
            self.record = Record(self.run, config, self._get(self.config, "seed_everything"))
            extra.append(self.record)
            if kwargs["logger"] is not False:
                extra.append(LearningRateMonitor("step"))
            if settings["enable_checkpointing"] is not False:
                extra.append(ModelCheckpoint(self.run / "checkpoints", "last", enable_version_counter=False))
        self.trainer_defaults["callbacks"] = extra
        trainer = super().instantiate_trainer(**kwargs)
        if trainer.is_global_zero:
            print_header(self.model, self.datamodule, trainer, self.run, self._get(self.config, "seed_everything"))
        return trainer

    def fit(self, model: Model, datamodule: Data) -> None:
        """Train, then measure the best checkpoint on the validation and the test split."""
        try:
            self.trainer.fit(model, datamodule=datamodule, ckpt_path=self.ckpt, weights_only=True)
        except (RuntimeError, MisconfigurationException, UsageError) as error:
            if isinstance(error, RuntimeError) and "conditioned on metric" not in str(error):
                raise
            self._refuse(error)
        except SystemExit as error:  # Lightning's answer to Ctrl-C
            if self.run and (self.run / "checkpoints" / "last.ckpt").is_file():
                print(f"\nstopped; to go on: kindling fit --resume {self.run}")
            raise SystemExit(130) from error
        best = self.run / "checkpoints" / "best.ckpt" if self.run else None
        best = best if best and best.is_file() else None
        results = self.record.results(best) if self.run else {}
        loggers, self.trainer.loggers = self.trainer.loggers, []  # the curves of the validation are complete
        metrics = self._measure("validate", best)
        self.trainer.loggers = loggers
        metrics |= self._measure("test", best)
        if not self.trainer.is_global_zero:
            return
        if not self.run:
            print_metrics("debug run: nothing was written", metrics)
            return
        runs.write_json(self.run / "results.json", metrics | results)
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
                runs.write_json(self.run / command / "results.json", {"checkpoint": str(self.ckpt), **metrics})

    def _measure(self, command: str, ckpt: Path | None) -> dict[str, dict[str, float]]:
        measure = getattr(self.trainer, command)
        (metrics,) = measure(self.model, datamodule=self.datamodule, ckpt_path=ckpt, weights_only=True, verbose=False)
        split = "val" if command == "validate" else "test"
        return {split: {name.removeprefix(f"{split}/"): value for name, value in metrics.items()}}

    def _find_checkpoint(self, max_epochs: int | None) -> tuple[Path | None, int | None]:
        """The checkpoint to load, and for `--resume` the step at which it goes on."""
        run = self.arguments.run
        if not run and not self.arguments.ckpt:
            return None, None
        path = runs.find_checkpoint(run, self.arguments.ckpt or ("last" if self.arguments.resume else "best"))
        checkpoint = checkpoints.check(path, self.model)
        if not self.arguments.resume:
            return path, None
        epochs = checkpoint["epoch"] + 1
        if run and (run / "results.json").exists() and 0 <= (max_epochs or -1) <= epochs:
            raise UsageError(f"{run} has trained its {epochs} epochs: give --trainer.max_epochs for more")
        return path, checkpoint["global_step"]

    def _refuse(self, error: BaseException) -> NoReturn:
        """Turn an error into one sentence, and leave no run behind that has trained nothing."""
        if self.run and not self.arguments.run:
            runs.discard_run(self.run)
        while error.__cause__:  # the parser wraps what a constructor raised
            error = error.__cause__
        reason = " ".join(str(error).split()).partition(" HINT")[0]
        if "gpu backend" in reason or "CUDAAccelerator" in reason:
            reason = "trainer.accelerator is gpu, but torch finds no GPU: leave it out, or set it to auto or cpu"
        raise UsageError(reason) from error
