"""Signals that ask a training to stop: Ctrl-C, and what a cluster sends before it takes the machine."""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Remembers a signal, so that the training stops after its step; a second Ctrl-C stops it at once."""

    received = 0  # 0 for none

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}
        self.speaks = True

    def watch(self, speaks: bool = True) -> None:
        """Take the signals over where Python allows it, in the main thread; of several processes, one `speaks`."""
        self.speaks = speaks
        if threading.current_thread() is threading.main_thread():
            watched = [signal.SIGINT, signal.SIGTERM]
            if "SLURM_JOB_ID" in os.environ and hasattr(signal, "SIGUSR1"):  # which Windows lacks
                watched.append(signal.SIGUSR1)
            self.before = {number: signal.signal(number, self._receive) for number in watched}

    def release(self) -> None:
        """Give the signals back to their previous handlers."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == self.received == signal.SIGINT:
            self.release()
            raise KeyboardInterrupt
        self.received = number
        name = "Ctrl-C (again: at once)" if number == signal.SIGINT else signal.Signals(number).name
        if self.speaks:
            print(f"\n{name}: stopping after this step", file=sys.stderr, flush=True)


def requeue() -> None:
    """Ask SLURM to start this job again, to go on with its run. Lightning would ask in the middle of a step."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    try:
        subprocess.run(["scontrol", "requeue", job], check=False)
    except OSError:
        print(f"warning: there is no scontrol to start job {job} again", file=sys.stderr, flush=True)
