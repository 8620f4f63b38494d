"""Contestants in processes of their own that take turns: what disturbs the machine then disturbs all of them alike.

A worker sets up, and then waits in `Turns.take` until it is told to go; it runs one turn, such as an epoch, and waits
again. While one runs, the others sleep. Each has a terminal of its own, so that progress bars are really drawn.
"""

import ctypes
import multiprocessing
import os
import pty
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import count
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

Measured = dict[str, float]
Work = Callable[["Turns"], None]
CONTEXT = multiprocessing.get_context("forkserver")
PR_SET_PDEATHSIG = 1  # Linux's, of prctl
PATIENCE = 5  # seconds that a worker has to end


class Failure(Exception):
    """A contestant did not do its turns; the message holds what it printed."""


class Turns:
    """A worker's end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.start = pipe, perf_counter()

    def take(self, **measured: float) -> None:
        """Report the turn that is over (the first time: being ready), and wait for the next one to begin."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.pipe.send({"seconds": perf_counter() - self.start, **measured})
        if not self.pipe.recv():
            os._exit(0)  # at once: a training would go on to its end, and to its test
        self.start = perf_counter()


class Contestant:
    """The other end: one worker, from when it is ready to when the `with` block ends."""

    def __init__(self, name: str, work: Work) -> None:
        self.name, self.screen = name, deque[bytes](maxlen=100)
        self.controller, self.terminal = pty.openpty()
        self.pipe, pipe = CONTEXT.Pipe()
        arguments = work, pipe, os.ttyname(self.terminal), os.getcwd(), multiprocessing.get_start_method()
        self.process = CONTEXT.Process(target=_work, args=arguments)  # no daemon: those may not have loader workers
        self.process.start()
        pipe.close()  # so that the end of the worker is the end of the pipe
        self.reader = threading.Thread(target=self._read_screen, daemon=True)
        self.reader.start()

    def __enter__(self) -> "Contestant":
        try:
            self.ready = self._receive()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(OSError):
            self.pipe.send(False)
        self.process.join(PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)  # with its loader workers
        self.process.kill()
        self.process.join()
        os.close(self.terminal)  # which ends the reader
        self.reader.join(PATIENCE)
        os.close(self.controller)

    def turn(self) -> Measured:
        self.pipe.send(True)
        return self._receive()

    def _receive(self) -> Measured:
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join(PATIENCE)
            printed = b"".join(self.screen).decode(errors="replace")
            raise Failure(f"{self.name} ended (exit code {self.process.exitcode}):\n{printed[-4000:]}") from None

    def _read_screen(self) -> None:
        try:
            while True:
                self.screen.append(os.read(self.controller, 2**16))
        except OSError:  # nobody writes any more
            pass


def prepare(gpu: bool = False) -> None:
    """Import once what all workers import; each is then a fork that is ready in milliseconds. They see a GPU if `gpu`.

    Commands that are started from here, or by a worker, can import the benchmarks too.
    """
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    scripts = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [scripts, os.environ.get("PYTHONPATH")]))
    CONTEXT.set_forkserver_preload(["kindling.cli.fit", "kindling.cli.predict", "kindling.use.predictor"])
    forkserver.ensure_running()


def tell(progress: str) -> None:
    """Say what is being measured, beside the results."""
    print(f"  {progress}", file=sys.stderr, flush=True)


def compete(works: Mapping[str, Work], rounds: int) -> dict[str, list[Measured]]:
    """What each contestant measures in each round, after one turn to warm up; every second round goes backwards."""
    found: dict[str, list[Measured]] = {name: [] for name in works}
    with ExitStack() as stack:
        contestants = [stack.enter_context(Contestant(name, work)) for name, work in works.items()]
        for contestant in contestants:
            tell(f"{contestant.name} warms up")
            contestant.turn()
        for index in range(rounds):
            tell(f"round {index + 1} of {rounds}")
            for contestant in reversed(contestants) if index % 2 else contestants:
                found[contestant.name].append(contestant.turn())
    return found


def once(name: str, work: Work) -> Measured:
    """What a worker measures in its only turn, without a warm-up."""
    with Contestant(name, work) as contestant:
        return contestant.turn()


def afresh(works: Mapping[str, Work], rounds: int) -> dict[str, list[Measured]]:
    """What each contestant measures in each round, every time as the only turn of a new worker."""
    found: dict[str, list[Measured]] = {name: [] for name in works}
    for index in range(rounds):
        for name, work in works.items():
            tell(f"round {index + 1} of {rounds}: {name}")
            found[name].append(once(name, work))
    return found


def follow(name: str, work: Work) -> Iterator[Measured]:
    """What a worker measures in turn after turn, until it says that it is `done`."""
    with Contestant(name, work) as contestant:
        for number in count(1):
            tell(f"{name}: turn {number}")
            measured = contestant.turn()
            if measured.get("done"):
                break
            yield measured
        yield measured


def _work(work: Work, pipe: Connection, terminal: str, folder: str, start_method: str) -> None:
    os.setsid()  # so that it can be killed with all that it starts
    end_with_parent()
    multiprocessing.set_start_method(start_method, force=True)  # for loader workers, as in a command of its own
    os.environ["TERM"] = "xterm-256color"
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)  # Lightning's: it slows each step of an optimiser down
    screen = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    for stream in (1, 2):
        os.dup2(screen, stream)
    os.chdir(folder)
    work(Turns(pipe))


def end_with_parent() -> None:
    """Have the system kill this process when the one that has forked it ends, as when the benchmark is stopped."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
