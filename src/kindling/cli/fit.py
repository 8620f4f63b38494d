"""`kindling fit`: train, keep the weights that are best on the validation split, and test them."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L

from kindling.cli.arguments import Arguments
from kindling.cli.build import Parts
from kindling.cli.find import find
from kindling.cli.profiling import end_profiler
from kindling.cli.run_page import write_run_page
from kindling.cli.stages import has_stage, left_out, loggers_end, make_trainer, measure, told_in_a_sentence
from kindling.cli.summary import given, notes_of, summary_of
from kindling.cli.terminal import metric_notes, print_header, print_metrics, print_next
from kindling.core.errors import UsageError
from kindling.core.files import as_json, write_json
from kindling.core.processes import EndsWithOthers, Processes
from kindling.core.settings import COMMAND_LINE
from kindling.figures.callback import checkpoint_callback
from kindling.run import folder
from kindling.run.checkpoint_names import is_checkpoint
from kindling.run.dashboard import Dashboard
from kindling.run.record import Record
from kindling.train.resume import resume_point
from kindling.train.trainer import Trainer


def main(arguments: Arguments) -> None:
    parts = Parts(arguments)
    if arguments.find:
        arguments.processes.refuse_several("fit --find")
        return find_setting(parts, arguments.find)
    # The first process finds or makes the run, and holds its lock for all.
    run, ckpt, resumed_after = arguments.processes.decide("training", lambda: start_of(parts))
    try:
        refuse_unseen(run, arguments.processes)
        Training(parts, Path(run) if run else None, resumed_after).fit(Path(ckpt) if ckpt else None)
    except (UsageError, EndsWithOthers) as error:
        is_refused = run and not arguments.run and error.code == UsageError.code
        if is_refused and arguments.processes.is_first:
            folder.discard_run(Path(run))
        raise


def start_of(parts: Parts) -> tuple[str | None, str | None, int | None]:
    """The run to train in, the checkpoint to go on from, and the step after which it was saved; None where absent."""
    arguments, settings = parts.arguments, parts.config_init["trainer"]
    tries_only = settings["fast_dev_run"]
    if arguments.run:
        folder.lock_run(arguments.run)
        ckpt, step = resume_point(arguments.run, parts.model, settings)
        return None if tries_only else str(arguments.run), str(ckpt) if ckpt else None, step
    return None if tries_only else str(new_run(arguments)), None, None


def new_run(arguments: Arguments) -> Path:
    """The folder of a new run, locked."""
    run = folder.new_run(arguments.name, arguments.run_id)
    folder.lock_run(run)
    if (run / "config.yaml").exists():
        raise UsageError(f"{run} was begun elsewhere just now: give the same command again to go on with it")
    return run


def refuse_unseen(run: str | None, processes: Processes) -> None:
    """Raise a UsageError on a machine that does not see the run, from which all processes load the best weights."""
    if run and not Path(run).is_dir():
        processes.hear_others()  # the first may have refused a setting, and removed the run
        where = f"{Path.cwd()} on {gethostname()}"
        advice = "start all processes in one folder, on a disk that their machines share"
        raise UsageError(f"{run}, which the first process has made, can't be seen from {where}: {advice}")


def find_setting(parts: Parts, setting: str) -> None:
    for_tuner = TemporaryDirectory(ignore_cleanup_errors=True)  # with a checkpoint of its own
    with for_tuner as root, told_in_a_sentence(parts, None):
        nothing_written: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "default_root_dir": root}
        trainer = make_trainer(parts, None, [], **nothing_written)
        print(find(setting, trainer, parts.model, parts.datamodule))


@contextmanager
def no_garbage_before() -> Iterator[None]:
    """Let Python look for garbage only among new objects: going through the old ones takes as long as many steps."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def parts_in_eval_mode(model: L.LightningModule) -> list[str]:
    """The outermost modules that learn although they are in eval mode, as networks from some libraries are."""
    resting: list[str] = []
    for name, part in model.named_modules():
        is_inside = any(name.startswith(f"{outer}.") for outer in resting)
        if name and not part.training and not is_inside and any(each.requires_grad for each in part.parameters()):
            resting.append(name)
    return resting


class Training:
    """A training in a run's folder, or in none.

    Args:
        parts: what is trained on what, with every setting.
        run: the run's folder; None to write nothing.
        resumed_after: the step that a resumed training goes on from, 0 if it had saved nothing; None for a new one.
    """

    def __init__(self, parts: Parts, run: Path | None, resumed_after: int | None) -> None:
        self.parts, self.run, self.resumed_after = parts, run, resumed_after
        self.record: Record | None = None
        watchers: list[Any] = []
        if run:
            config = self._config()
            self.record = Record(run, config, parts.seed)
            typed = [key for source, key, _ in parts.settings if source == COMMAND_LINE]
            given = [key for key in typed if key not in parts.arguments.of_launch]
            watchers = [self.record, Dashboard(config, given)]
        self.trainer = make_trainer(parts, run, watchers, resumed_after)
        parts.arguments.processes.join(self.trainer, run)

    def _config(self) -> dict[str, Any]:
        """Every setting except `split_file`, which the run holds, and what belongs only to this start."""
        config = self.parts.dump()
        for key, without in self.parts.arguments.of_launch.items():
            group, _, name = key.partition(".")
            config[group][name] = self.parts.parser.get_default(key) if without in (None, "null") else without
        if self.parts.saved_split:
            config["data"]["init_args"]["split_file"] = None
            self.parts.datamodule.hparams["split_file"] = None  # type: ignore[union-attr]
        return config

    def fit(self, ckpt: Path | None) -> None:
        """Train, then measure the best checkpoint on the validation and the test split."""
        parts, trainer = self.parts, self.trainer
        with self._page_if_it_breaks(), told_in_a_sentence(parts, self.run), loggers_end(trainer.loggers):
            self._print_header()
            with no_garbage_before():
                trainer.fit(parts.model, datamodule=parts.datamodule, ckpt_path=ckpt, weights_only=True)
            self._finish(trainer)

    def _print_header(self) -> None:
        if not self.trainer.is_global_zero:
            return
        summary, notes = summary_of(self.parts, self.trainer), [*notes_of(self.parts), *self._further_notes()]
        print_header(self.parts, summary, self.run, notes)
        if self.record:
            self.record.summary = summary | {"notes": notes, "settings": self._given()}
        if self.record and self.resumed_after is not None:
            print(f"resume after step {self.resumed_after}; changed: {'; '.join(self.record.changes) or 'nothing'}")

    def _further_notes(self) -> list[str]:
        """What is left out, and what is not as one might expect."""
        notes = []
        if missing := left_out(self.parts):
            notes.append(f"left out, with what would switch it on: {'; '.join(missing)}")
        if resting := parts_in_eval_mode(self.parts.model):
            how = "trained in eval mode as built, without dropout; .train() changes that"
            notes.append(f"{', '.join(resting)}: {how}")
        if unread := sorted(name for name in os.environ if name.startswith("PL_TRAINER_")):
            flag = unread[0].removeprefix("PL_TRAINER_").lower()
            notes.append(f"{', '.join(unread)}: ignored, since only flags and YAML count: use --trainer.{flag}")
        return notes

    def _given(self) -> dict[str, Any]:
        """What files and flags have set, over all resumes."""
        assert self.record
        arguments = self.parts.arguments
        now = [each for each in arguments.changes if each[1] not in arguments.of_launch]
        settings = self.record.summary_before.get("settings")
        before = settings.items() if isinstance(settings, dict) else []
        return given(self.record.config, [*(("", key, value) for key, value in before), *now])

    @contextmanager
    def _page_if_it_breaks(self) -> Iterator[None]:
        """Write the run's page with what there is if the training ends early, unless its settings are refused."""
        try:
            yield
        except UsageError:
            raise
        except BaseException as error:
            self._write_page(str(error) or type(error).__name__)
            raise

    def _write_page(self, ended: str | None, results: dict[str, Any] | None = None) -> None:
        """Write the run's page.

        Args:
            ended: why the training has ended before its time, if it has.
            results: what it has come to; None for what the run's folder says.
        """
        is_begun = self.run and (self.run / "config.yaml").exists()
        if not (self.run and self.record and is_begun and self.trainer.is_global_zero):
            return
        checkpoint = checkpoint_callback(self.trainer)
        self.record.end(ended, getattr(checkpoint, "monitor", None), getattr(checkpoint, "mode", None))
        write_run_page(self.parts, self.run, results)

    def _finish(self, trainer: Trainer) -> None:
        end_profiler(trainer)
        reasons = [getattr(each, "stopping_reason_message", None) for each in trainer.early_stopping_callbacks]
        best = self._best_checkpoint()
        results = self.record.results(trainer, best) if self.record else {}
        loggers, trainer.loggers = trainer.loggers, []  # the curves of the validation are complete
        metrics = measure(self.parts, trainer, "validate", best) if has_stage(self.parts, "validate") else {}
        trainer.loggers = loggers
        if self.parts.arguments.test and has_stage(self.parts, "test"):
            metrics |= measure(self.parts, trainer, "test", best)
        if not trainer.is_global_zero:
            return
        notes = metric_notes(self.parts.model)
        if not self.run:
            return print_metrics("debug run: nothing was written", metrics, notes)
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # as loggers count, also with several optimisers
        Dashboard.finish(loggers, metrics.get("val", {}), results, step)
        early = "; ".join(filter(None, reasons))
        if early:
            print(f"stopped early: {early}")
        print_metrics("best epoch {best_epoch} of {epochs}, trained in {seconds} s".format(**results), metrics, notes)
        results = as_json(metrics | ({"notes": notes} if notes else {}) | results)
        self._write_page(early or None, results)
        write_json(self.run / "results.json", results)  # the last, since by it a run is known to be finished
        print_next(self.parts, self.run, metrics)

    def _best_checkpoint(self) -> Path | None:
        path = self.run / "checkpoints" / "best.ckpt" if self.run else None
        return path if path and is_checkpoint(path) else None
