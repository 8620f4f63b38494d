"""Where a study keeps its trials: Optuna's journal in the study's folder, or a database."""

import os
from pathlib import Path
from typing import IO

from kindling.core.errors import UsageError
from kindling.study.locks import wait_for_lock

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage
except ImportError as error:
    raise UsageError("kindling sweep needs the library optuna: pip install -e '.[sweep]'") from error

JOURNAL = "journal.log"


class JournalLock:
    """A lock for Optuna's journal, held while a line is written. Unlike Optuna's own, it ends with its holder.

    A line that a kill has cut off is removed: the next would be appended to it, and neither could be read again.

    Args:
        journal: the file.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.file: IO[str] | None = None

    def acquire(self) -> bool:
        self.file = wait_for_lock(self.journal.with_name("locks") / "journal")
        with self.journal.open("rb+") as journal:
            content_ends = journal.seek(0, os.SEEK_END)
            journal.seek(max(0, content_ends - 1))
            if journal.read() not in (b"", b"\n"):
                journal.seek(0)
                journal.truncate(journal.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        if self.file:
            self.file.close()


def open_storage(folder: Path, url: str | None) -> optuna.storages.BaseStorage:
    """The storage of the study in a folder; a UsageError if the database can't be opened.

    Args:
        folder: the study's folder.
        url: the address of a database; None for the journal in the folder.
    """
    if url is None:
        lock = JournalLock(folder / JOURNAL)
        backend = JournalFileBackend(str(folder / JOURNAL), lock)  # type: ignore[arg-type]
        return JournalStorage(backend)
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # from SQLAlchemy or the database's driver
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"can't open --storage: {reason}") from error
