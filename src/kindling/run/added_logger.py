"""A logger that the user has added: it is sent nothing twice, and its failure does not end the training."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from kindling.core.errors import UsageError
from kindling.core.files import made_by_one
from kindling.core.tables import printable
from kindling.run.logged_before import LoggedBefore


class AddedLogger(Logger):
    """A mixin for the class of such a logger: `class (AddedLogger, WandbLogger)`."""

    key: str  # its name in `loggers.json`
    run: Path
    store: str | None = None  # where its runs are kept, if known
    before: LoggedBefore
    measures: str | None = None  # validate or test, for a run that is already trained
    last_step = 0  # of the training of that run
    has_runs = goes_on = False  # whether it has runs of its own, and whether it continues one
    has_begun = has_failed = False

    @property
    def experiment(self) -> Any:
        """The logger's own experiment; its run begins when this is first asked for.

        Raises:
            UsageError: if it can't begin.
        """
        if not self.has_begun:
            self.has_begun = True  # before asking for its run, which may ask for this
            try:
                with alone_in(self.store):
                    self._begin(super().experiment)  # type: ignore[misc]  # that of the class this is mixed into
            except Exception as error:  # of any library: no account, no network, no such run
                self.has_begun = False
                raise UsageError(f"{self.key} can't begin: {_words(error)}") from error
        return super().experiment  # type: ignore[misc]

    @rank_zero_only
    def _begin(self, _: Any) -> None:
        if self.has_runs:
            self.before.keep(self.key, str(self.version), self.store)
        self._forget_links()
        if self.goes_on and not self.measures and isinstance(self, MLFlowLogger):
            self.experiment.update_run(self.run_id, status="RUNNING")

    def _forget_links(self) -> None:
        """Remove links to files outside the run, such as W&B's to its own log: a run that has one is not resumed."""
        inside = self.run.resolve()
        for path in (self.run / "wandb").rglob("*"):
            if path.is_symlink() and inside not in path.resolve().parents:
                path.unlink()

    def attempt(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Do something with the logger; if that fails, say so, and leave the logger alone from then on."""
        if self.has_failed:
            return
        try:
            action(*args, **kwargs)
        except UsageError:  # it can't begin
            raise
        except Exception as error:  # of any library: a full disk, a server that is gone
            self.has_failed = True
            print(f"warning: {self.key} is left out from here on: {_words(error)}", file=sys.stderr, flush=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self.measures:  # Lightning logs it at the first step, in the first epoch
            named = {self._named(name): value for name, value in metrics.items() if name != "epoch"}
            metrics, step = named, self.last_step
        elif self.before.has(dict(metrics), step):
            return
        self.attempt(super().log_metrics, metrics, step)  # type: ignore[safe-super]

    def _named(self, name: str) -> str:
        """The name of a metric or a figure: a validation run by itself is kept apart from the training's curves."""
        if self.measures != "validate" or name.startswith("validate/"):  # an image may come as a metric
            return name
        return f"validate/{name.removeprefix('val/')}"

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log the settings, once: MLflow refuses other values afterwards."""
        if not self.goes_on and not self.measures:
            self.attempt(super().log_hyperparams, params, *args, **kwargs)  # type: ignore[safe-super]

    @rank_zero_only
    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        self.attempt(super().log_graph, *args, **kwargs)

    @rank_zero_only
    def save(self) -> None:
        self.attempt(super().save)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if not self.measures:  # a measurement does not change the training's status
            self.attempt(super().finalize, status)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.attempt(super().after_save_checkpoint, checkpoint_callback)

    @rank_zero_only
    def show(self, send: Callable[..., None], name: str, content: Any, step: int) -> None:
        """Show an image or a text: see `run/shown.py`."""
        if self.measures:
            name, step = self._named(name), self.last_step
        if step >= self.before.until:
            self.attempt(send, self, name, content, step)

    @rank_zero_only
    def end(self, code: int) -> None:
        """End the logger's run, where it does not end by itself; `code` is 0 if all went well."""
        if self.has_begun:
            self.attempt(_end, self.experiment, code)


@contextmanager
def alone_in(store: str | None) -> Iterator[None]:
    """Let no other training begin in the same MLflow file: two that create its tables at once break it."""
    _, _, file = (store or "").partition("sqlite:///")
    if not file:
        yield
        return
    try:
        with made_by_one(Path(file)):
            yield
    except ModuleNotFoundError:  # MLflow is not installed: there is nothing to lock
        Path(file).with_suffix(".lock").unlink(missing_ok=True)
        raise


def _end(experiment: Any, code: int) -> None:
    if hasattr(experiment, "finish"):  # W&B's
        experiment.finish(exit_code=code)
    elif hasattr(experiment, "end"):  # Comet's
        experiment.end()


def _words(error: Exception) -> str:
    return printable(without_password(" ".join(f"{type(error).__name__}: {error}".split())))[:300]


def without_password(text: str) -> str:
    """A text without the user names and passwords in its addresses, such as https://me:secret@example.org."""
    return re.sub(r"(?<=://)[^/\s@]+@", "", text)
