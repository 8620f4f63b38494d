"""The command line. This file starts fast, and imports the command's module: fit.py, predict.py …"""

import logging
import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from kindling import __version__
from kindling.cli.arguments import PLAIN, read_arguments
from kindling.cli.help_texts import ABOUT, COMMANDS
from kindling.core.consoles import print_anything
from kindling.core.errors import NothingToDo, Stopped, Terminated, UsageError
from kindling.core.launch import launch_of_environment
from kindling.core.processes import Processes
from kindling.core.tables import print_plain

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's mallopt
ENDS_WITH_PARENT = "KINDLING_ENDS_WITH_PARENT"  # the process that a training belongs to, such as that of folds
IN_SEVERAL_PROCESSES = ("fit", "validate", "test")  # commands that can share their work
PR_SET_PDEATHSIG = 1  # of Linux's prctl
MODULES = {"validate": "evaluate", "test": "evaluate"}  # for commands without a module of the same name


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0, 2 for bad input, or that of a training that was stopped."""
    try:
        code = run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 141  # the shell's code for a command whose reader is gone: kindling predict … | head
    return code


def run(argv: list[str] | None) -> int:
    """Do what `main` does, as long as somebody reads what it prints."""
    argv = sys.argv[1:] if argv is None else argv
    print_anything()
    if argv[:1] == ["help"] and len(argv) > 1:
        argv = [argv[1], "--help", *argv[2:]]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(COMMANDS, end="")
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"kindling {__version__}")
        return 0
    if argv[0] in ABOUT and {"-h", "--help"} & {*argv}:
        from kindling.cli.help import first_screen, without_all

        print(first_screen(argv[0]), end="")
        if (argv := without_all(argv)) is None:
            return 0
    return run_command(argv)


def run_command(argv: list[str]) -> int:
    """Run a command in this process, which may be one of several, and return its exit code."""
    if "PYTHONWARNINGS" not in os.environ:  # noise to a newcomer; PYTHONWARNINGS=default shows them
        warnings.simplefilter("ignore")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # or the end of a process makes others print C++ frames
    keep_memory()
    processes = Processes()
    try:
        processes = Processes(launch_of_environment())
        if argv[0] not in IN_SEVERAL_PROCESSES:
            processes.refuse_several(argv[0])
        arguments: Any = argv[1:] if argv[0] in PLAIN else read_arguments(argv, processes)
        if parent := os.environ.pop(ENDS_WITH_PARENT, None):
            end_with(int(parent))
        command = import_module(f"kindling.cli.{MODULES.get(argv[0], argv[0])}")  # takes seconds
        tame_lightning()
        command.main(arguments)
    except (Exception, KeyboardInterrupt, Terminated) as error:
        code, line, file = outcome(error, processes.run)
        code, says = processes.end(code)
        if says and code and (not line or "KINDLING_TRACEBACK" in os.environ):
            if processes.number == 1 or isinstance(error, BrokenPipeError):  # which main answers
                raise
            traceback.print_exc()  # now: the launcher of several processes may kill this one in a moment
        elif says and line:
            print_plain(line, file)
        return code
    finally:
        processes.finish()
    return 0


def outcome(error: BaseException, run: Path | None) -> tuple[int, str, TextIO]:
    """An error's exit code, the line that reports it, and where to print that; no line for a mistake in code."""
    if isinstance(error, Terminated):
        error = Stopped("stopped", error.code, run)
    if isinstance(error, NothingToDo):
        return 0, f"nothing to do: {error}", sys.stdout
    if isinstance(error, UsageError | Stopped):
        return error.code, f"kindling: {error}" if error.code else "", sys.stderr
    if isinstance(error, KeyboardInterrupt):
        return 130, "kindling: stopped", sys.stderr
    return 1, "", sys.stderr


def _nobody_reads() -> bool:
    """Whether this process prints to a closed pipe; if so, its output goes nowhere from then on."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def tame_lightning() -> None:
    """Undo what Lightning sets when it is imported: call this afterwards."""
    for library in ("lightning.pytorch", "lightning.fabric"):  # tips and adverts
        logging.getLogger(library).setLevel(logging.ERROR)
    # Where there is no GPU, torch would open the driver's library at every optimiser step.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def end_with(parent: int) -> None:
    """Make Linux send SIGTERM when the parent ends, however it ends, so that a training saves and stops."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended before this
            os.kill(os.getpid(), signal.SIGTERM)


def keep_memory() -> None:
    """Make glibc keep freed memory, rather than return large tensors to the system and fault them in anew.

    On 2 cores the step of a ResNet of width 16 takes 15 % less time, and another 5 % with huge pages for large tensors,
    if torch is not loaded yet. On systems other than Linux nothing changes.
    """
    import ctypes  # --help does not need it

    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's variable, for huge pages
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(MMAP_THRESHOLD, 2**25)  # the largest value that it takes
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
