"""Starts a command in two processes in each way that there is, for tests that all of them come to the same."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conftest import LEFT_BY_TRAINING

Starts = list[tuple[list[str], dict[str, object]]]  # commands, and the variables of each
PATIENCE = 300  # seconds after which a command is taken to hang
KINDLING = ["-m", "kindling"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def torchrun(*options: object) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *map(str, options)]


def by_lightning(port: int) -> Starts:
    return [([sys.executable], {})]


def by_torchrun(port: int) -> Starts:
    return [(torchrun("--nproc-per-node", 2, "--master-port", port), {})]


def by_torchrun_with_restarts(port: int) -> Starts:
    return [(torchrun("--nproc-per-node", 2, "--master-port", port, "--max-restarts", 1), {})]


def by_torchrun_on_two_nodes(port: int) -> Starts:
    meeting = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"]
    meeting += ["--rdzv-id", f"job-{port}", "--local-addr", "127.0.0.1"]
    return [(torchrun(*meeting), {}) for _ in range(2)]


def by_srun(port: int) -> Starts:
    """Two nodes with a task each; the variables are those that srun sets."""
    job = {"JOB_ID": 1, "JOB_NAME": "train", "NTASKS": 2, "NTASKS_PER_NODE": 1, "NNODES": 2, "NODELIST": "127.0.0.1"}
    tasks = [{**job, "PROCID": node, "NODEID": node, "LOCALID": 0} for node in range(2)]
    starts = [{f"SLURM_{name}": value for name, value in task.items()} for task in tasks]
    return [([sys.executable], {"MASTER_PORT": port, **start}) for start in starts]


def by_hand(port: int) -> Starts:
    """Two processes of a node."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2}
    return [([sys.executable], {**meeting, "LOCAL_RANK": rank}) for rank in range(2)]


def by_hand_on_two_nodes(port: int) -> Starts:
    """Two nodes, of which each would start the other processes of its own."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [([sys.executable], {**meeting, "NODE_RANK": rank}) for rank in range(2)]


WAYS: dict[str, tuple[Callable[[int], Starts], list[str]]] = {
    "lightning": (by_lightning, ["--trainer.devices", "2"]),
    "torchrun": (by_torchrun, []),
    "torchrun, restarts": (by_torchrun_with_restarts, []),
    "torchrun, 2 nodes": (by_torchrun_on_two_nodes, []),
    "srun": (by_srun, []),
    "by hand": (by_hand, ["--trainer.devices", "2"]),
    "by hand, 2 nodes": (by_hand_on_two_nodes, ["--trainer.num_nodes", "2"]),
}


def start(
    way: str, argv: list[object], folder: Path, others: list[object] | None = None, program: list[str] = KINDLING
) -> list[subprocess.Popen[str]]:
    """Start a command of Kindling in two processes: one that starts another, or two; what they say is in `folder`.

    Args:
        way: of WAYS.
        argv: the command and its options.
        folder: to work in; `said-N.txt` there gets what the Nth says.
        others: the command for all but the first, if it is another.
        program: what Python runs.
    """
    starts, settings = WAYS[way]
    left = {name: value for name, value in os.environ.items() if name not in LEFT_BY_TRAINING}
    here = {name: value for name, value in left.items() if not name.startswith(("SLURM_", "TORCHELASTIC_"))}
    processes = []
    for number, (command, variables) in enumerate(starts(free_port())):
        environment = here | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in variables.items()}
        given = others if number and others is not None else argv
        with (folder / f"said-{number}.txt").open("a") as said:
            processes.append(
                subprocess.Popen(
                    [*command, *program, *map(str, given), *settings], cwd=folder, env=environment, stdout=said,
                    stderr=subprocess.STDOUT, start_new_session=True, text=True,
                )
            )  # fmt: skip
    return processes


def said(folder: Path) -> str:
    """All that was said."""
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("said-*.txt")))


@contextmanager
def started(way: str, argv: list[object], folder: Path, **more: list[object]) -> Iterator[list[subprocess.Popen[str]]]:
    """What `start` starts, killed in the end with all that it has started."""
    processes = start(way, argv, folder, **more)
    try:
        yield processes
    finally:
        kill(processes)


def kill(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        for each in [process.pid, *children(process.pid)]:
            with suppress(ProcessLookupError):
                os.killpg(each, signal.SIGKILL)  # torchrun's workers have a session of their own
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait()


def workers(processes: list[subprocess.Popen[str]]) -> list[int]:
    """Kindling's own processes among what was started, those of the first command before those of the second."""
    found = [each for process in processes for each in [process.pid, *children(process.pid)]]
    lines = {each: Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0") for each in found}
    modules = {b"kindling", b"kindling.__main__"}  # as it is started here, and as Lightning starts it again
    return [each for each, line in lines.items() if modules & {*line} and b"torch.distributed.run" not in line]


def children(process: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *children(child)]
    return found


def run(way: str, argv: list[object], folder: Path, **more: list[object]) -> list[int]:
    """Start a command, wait for its end, and return the exit codes."""
    with started(way, argv, folder, **more) as processes:
        return [process.wait(PATIENCE) for process in processes]


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something has come, such as a file."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.05)
