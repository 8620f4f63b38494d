"""The run: one folder under `lightning_logs/` that holds everything one training produced."""

import json
import os
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from kindling.core.errors import UsageError
from kindling.core.files import is_file, is_left_over, remove, this_process
from kindling.run.checkpoint_names import is_checkpoint

ROOT = Path("lightning_logs")
ENDED_EARLY = "ended_early.txt"  # of a run that its study has stopped, or counted as broken: why
LOCKS: dict[Path, ExitStack] = {}  # of the runs that this process trains; to close one would give it up


def new_run(experiment: str, run_id: str | None = None) -> Path:
    """Make the folder `lightning_logs/<experiment>/<run_id>`, or `version_N` with the next free number."""
    folder = ROOT / experiment
    try:
        taken = [int(path.name[8:]) for path in folder.glob("version_*") if path.name[8:].isdecimal()]
        run = folder / (run_id or f"version_{max(taken, default=-1) + 1}")
        run.mkdir(parents=True, exist_ok=run_id is not None)
    except FileExistsError:  # a run that started at the same time won the race for the number
        return new_run(experiment)
    except OSError as error:
        raise UsageError(f"can't make the run's folder in {folder}: {error.strerror}") from error
    return run


def begun_run(experiment: str, run_id: str) -> Path | None:
    """The run with this id, if it has begun, that is, if it has a config.

    Raises:
        UsageError: if there is something else in its place.
    """
    run = ROOT / experiment / run_id
    if is_file(run / "config.yaml"):
        return find_run(str(run))
    is_empty = run.is_dir() and not any(run.iterdir())  # as a kill can leave it
    if run.exists() and not is_empty and not is_file(run / "lock"):  # the first thing that a training makes
        raise UsageError(f"{run} exists and is not a run: choose another --run-id, or remove it")
    return None


def requeued_run(experiment: str) -> Path | None:
    """The run that this SLURM job began before it was requeued, if it was."""
    if not int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        return None
    for path in sorted((ROOT / experiment).glob("*/environment.json"), key=os.path.getmtime, reverse=True):
        if json.loads(path.read_text(encoding="utf-8")).get("slurm_job") == os.environ.get("SLURM_JOB_ID"):
            return path.parent
    return None


def lock_run(run: Path) -> None:
    """Keep other trainings out of a run's folder, until this process ends, however it ends.

    Raises:
        UsageError: if another process holds it, nothing can be written there, or a link in it leads elsewhere.
    """
    refuse_links(run)
    try:
        file = (run / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"can't write to {run}: {error.strerror}") from error
    held = LOCKS.get(run.absolute()) or ExitStack()
    if not _lock(file, held):
        holder = f"process {_holder(file).replace('@', ' on ')}"
        raise UsageError(f"{run} is in use by {holder}: wait until it ends, or stop it")
    gone = _holder(file)
    file.truncate(0)
    file.write(this_process())
    file.flush()
    LOCKS[run.absolute()] = held
    for part in run.rglob("part-*"):  # what a kill has left of files that were being written
        if is_left_over(part, gone):
            remove(part)


def _lock(file: IO[str], held: ExitStack) -> bool:
    """Lock a file for this process alone until `held` is closed; whether no other has it.

    On a file system without locks none has.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where nobody could read who has a file that is itself locked
        from filelock import FileLock, Timeout

        lock = FileLock(f"{file.name}.windows", is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        held.callback(lock.release, force=True)
    else:
        try:  # of the kind that belongs to the process: loader workers, which outlive a kill, have no share in it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            pass
    held.enter_context(file)
    return True


def _holder(file: IO[str]) -> str:
    """The process that holds a lock, or held it last."""
    file.seek(0)
    return file.read()


def discard_run(run: Path) -> None:
    """Remove a run that has no checkpoint yet, and the folders that it leaves empty."""
    if not any(run.glob("checkpoints/*")):
        LOCKS.pop(run.absolute(), ExitStack()).close()  # Windows removes no file that is open
        shutil.rmtree(run, ignore_errors=True)
        with suppress(OSError):  # not empty
            os.removedirs(run.parent)


def find_run(name: str) -> Path:
    """The run at a path, or the newest one for `latest`; a UsageError if there is none."""
    runs = [path.parent for path in sorted(ROOT.glob("*/*/config.yaml"), key=os.path.getmtime)]
    if name == "latest" and not runs:
        raise UsageError(f"no run in {ROOT}/ yet: train one first, with kindling fit --config configs/…")
    run = runs[-1] if name == "latest" else Path(name)
    if not is_file(run / "config.yaml"):
        known = f"the newest are {', '.join(map(str, runs[-5:]))}" if runs else f"there are no runs in {ROOT}/ yet"
        raise UsageError(f"{name} is not a run (it has no config.yaml): {known}")
    refuse_links(run, but="checkpoints")
    return run


def refuse_links(run: Path, but: str = "") -> None:
    """Refuse a run, which can come from anyone, if a link in it leads elsewhere: what is written would follow it.

    Args:
        run: the run's folder.
        but: a folder in it that may be a link if the run is not trained further: its checkpoints on another disk.
    """
    inside = run.resolve()
    for folder, folders, files in os.walk(run):
        for path in (Path(folder, name) for name in (*folders, *files)):
            goes_to = Path(os.path.realpath(path))  # where Path.resolve stops at links in a circle, before Python 3.13
            if path.is_symlink() and inside not in goes_to.parents and path != run / but:
                target = os.readlink(path)
                raise UsageError(f"{path} is a link to {target}, outside the run: replace it by what it points to")


def find_checkpoint(run: Path | None, name: str) -> Path:
    """A checkpoint by its path, or the run's `best` or `last`; a UsageError if it does not exist."""
    path = run / "checkpoints" / f"{name}.ckpt" if run and name in ("best", "last") else Path(name)
    if not is_checkpoint(path):
        folder = run / "checkpoints" if run else path.parent
        there = ", ".join(sorted(map(str, folder.glob("*.ckpt")))) or "none"
        raise UsageError(f"there is no checkpoint {path}; in {folder} there is: {there}")
    return path
