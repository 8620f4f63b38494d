"""What Kindling raises when a command can't go on, and what other errors say."""

from pathlib import Path

from kindling.core.consoles import typed


class UsageError(Exception):
    """What the user typed can't be done. The message is one sentence: what is wrong and what would be right."""

    code = 2  # the exit code


class Stopped(Exception):
    """A training ended before its time. The message says why and how to go on with its run; `code` is the exit code.

    Where all processes of a training stop for the same reason, the code is 0 for all but the first, which says so.
    """

    def __init__(self, reason: str, code: int = 1, run: Path | str | None = None) -> None:
        can_go_on = run and Path(run, "config.yaml").is_file()
        how = f"; to go on: kindling fit --resume {typed(run)}" if can_go_on else ""
        super().__init__(reason + how)
        self.code = code


class Terminated(SystemExit):
    """SIGTERM has come, and its handler ends the command.

    It is no Exception, or what it interrupts could take it for a fault of its own: a damaged file, say.
    """

    code: int  # the exit code


class UnreadableSample(Exception):
    """A sample can't be read, and the training has begun. The message says which, why, and what to do."""


class NothingToDo(Exception):
    """The command has no work left. The message says why, and how to go on anyway."""


def origin(error: BaseException) -> BaseException:
    """The error that was raised first (the parser wraps a constructor's), or the outermost one meant for the user."""
    if isinstance(error, UsageError) or not error.__cause__:
        return error
    return origin(error.__cause__)


def reason_of(error: BaseException) -> str:
    """Why something could not be written, such as `No space left on device`, even if `whole_file` has wrapped it."""
    return getattr(error.__cause__ or error, "strerror", None) or str(error)
