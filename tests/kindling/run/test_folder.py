"""A run's folder belongs to one training at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from kindling.core.errors import UsageError
from kindling.run.folder import lock_run

fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
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
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"{tmp_path} is in use by process {holder.pid}: wait for its end"):
            lock_run(tmp_path)
        holder.communicate()  # closes what it reads, and so ends it
    lock_run(tmp_path)
