"""A run's folder belongs to one training at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from kindling.core.errors import UsageError
from kindling.run import folder
from kindling.run.folder import discard_run, lock_run, new_run, refuse_links

HOLD = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
file.write(str(os.getpid()))
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_has_is_refused_until_that_ends(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="Windows has no such locks")
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"{tmp_path} is in use by process {holder.pid}: wait until it ends"):
            lock_run(tmp_path)
        holder.communicate()  # closes what it reads, and so ends it
    lock_run(tmp_path)


def test_where_there_is_no_fcntl_a_run_is_locked_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / "lock").write_text("7@elsewhere", encoding="utf-8")
    other = FileLock(tmp_path / "lock.windows")
    with other, pytest.raises(UsageError, match="is in use by process 7 on elsewhere: wait until it ends, or stop it"):
        lock_run(tmp_path)
    lock_run(tmp_path)
    lock_run(tmp_path)  # of the same process
    assert (tmp_path / "lock").read_text(encoding="utf-8").startswith(f"{os.getpid()}@")
    folder.LOCKS.pop(tmp_path).close()
    with other.acquire(timeout=0):
        pass


def test_a_run_that_is_discarded_is_given_up_first(tmp_path: Path) -> None:
    run = tmp_path / "experiment" / "version_0"
    run.mkdir(parents=True)
    lock_run(run)
    closed: list[bool] = []
    folder.LOCKS[run].callback(lambda: closed.append(run.exists()))
    discard_run(run)
    assert closed == [True]
    assert run not in folder.LOCKS
    assert not run.parent.exists()


def test_a_name_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="^can't make the run's folder in lightning_logs/x+: "):
        new_run("x" * 300)


def test_links_in_a_circle_lead_nowhere_and_those_out_of_a_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    refuse_links(tmp_path)
    (tmp_path / "c").symlink_to("../elsewhere")
    with pytest.raises(UsageError, match="c is a link to ../elsewhere, outside the run"):
        refuse_links(tmp_path)
