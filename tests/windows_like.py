"""Makes this Python behave as on Windows where that can be done on Linux: for a process of its own, before all imports.

    python -c "import windows_like; windows_like.begin(); …"

What is taken away: `fcntl`, `resource` and their like, signals, `os.fork` and its like, links, folders that can be
opened. A file that is open or mapped can't be removed or replaced, a file that is open to be read can't be flushed, and
processes are spawned. Start Python with ENVIRONMENT besides: the console then knows cp1252 alone, and a text file
without an encoding ASCII alone.
"""

import errno
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
# They ask for the system when they are imported, and are right on Windows.
LIBRARIES = ("asyncio", "filelock", "lightning.pytorch", "pandas", "rich", "sklearn.datasets", "torchvision")
LIBRARIES += ("concurrent.futures.process", "matplotlib.figure", "seaborn", "tempfile", "torch.utils.tensorboard")
MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
SIGNALS = ("SIGALRM", "SIGBUS", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2")
OF_SIGNAL = ("alarm", "pthread_kill", "pthread_sigmask", "sigtimedwait", "sigwait", "sigwaitinfo")
OF_OS = ("fork", "forkpty", "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "nice")
OF_OS += ("register_at_fork", "sched_getaffinity", "setsid", "sysconf", "uname", "O_DIRECTORY", "O_NOFOLLOW")


def begin() -> None:
    """Take away from this process what Windows lacks."""
    for library in LIBRARIES:
        import_module(library)
    resource_tracker.ensure_running()  # which Linux needs for processes that are spawned
    system: Any = import_module("kindling.core.system")
    system.WINDOWS = True
    connector: Any = import_module("lightning.pytorch.trainer.connectors.signal_connector")
    connector._IS_WINDOWS = True
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for place, names in ((signal, (*SIGNALS, *OF_SIGNAL)), (os, OF_OS)):
        for name in names:
            if hasattr(place, name):
                delattr(place, name)
    there = {signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV, signal.SIGTERM}
    signal.valid_signals = lambda: set(there)
    os.symlink = _refuses_links
    os.open, os.fsync, os.kill = _open(os.open), _fsync(os.fsync), _ends(os.kill)
    for name in ("replace", "rename"):
        setattr(os, name, _moves(getattr(os, name), replaces=name == "replace"))
    for name in ("unlink", "remove"):
        setattr(os, name, _removes(getattr(os, name)))
    multiprocessing.set_start_method("spawn", force=True)
    torch_multiprocessing: Any = import_module("torch.multiprocessing")
    torch_multiprocessing.set_sharing_strategy("file_system")  # memory has a name, rather than a file descriptor


def _denied(path: Any) -> PermissionError:
    return PermissionError(errno.EACCES, "The process cannot access the file because it is used", str(path))


def _in_use(path: Any) -> bool:
    """Whether this process has a file open or mapped, or one in a folder."""
    whole = os.path.abspath(path)
    if os.path.islink(whole):
        return False
    ours = [os.readlink(each) for each in Path("/proc/self/fd").iterdir() if os.path.islink(each)]
    ours += [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()]
    return any(each == whole or each.startswith(f"{whole}/") for each in ours)


def _moves(move: Callable[..., None], replaces: bool) -> Callable[..., None]:
    def moved(source: Any, target: Any, **options: Any) -> None:
        if os.path.lexists(target) and not replaces:
            raise FileExistsError(errno.EEXIST, "it is there already", str(target))
        for path in (source, target):
            if _in_use(path):
                raise _denied(path)
        if os.path.isdir(target):
            raise _denied(target)
        move(source, target, **options)

    return moved


def _removes(remove: Callable[..., None]) -> Callable[..., None]:
    def removed(path: Any, **options: Any) -> None:
        if "dir_fd" not in options and ".filelock-" not in str(path) and _in_use(path):  # its way on Linux
            raise _denied(path)
        remove(path, **options)

    return removed


def _open(opens: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, *options: Any, **more: Any) -> int:
        if os.path.isdir(path):
            raise _denied(path)
        return opens(path, *options, **more)

    return opened


def _fsync(flush: Callable[[int], None]) -> Callable[[int], None]:
    def flushed(file: int) -> None:
        flags = Path(f"/proc/self/fdinfo/{file}").read_text(encoding="utf-8").split("flags:")[1].split()[0]
        if int(flags, 8) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flush(file)

    return flushed


def _ends(kill: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def killed(process: int, number: int) -> None:
        assert number, "os.kill(process, 0) ends a process on Windows"
        kill(process, number)

    return killed


def _refuses_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "A required privilege is not held by the client")
