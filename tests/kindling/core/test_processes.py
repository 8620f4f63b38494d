"""The processes of a training: which numbers of them are refused, and how one ends when the first has gone."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kindling.core import meeting_place
from kindling.core.errors import UsageError
from kindling.core.launch import Launch
from kindling.core.processes import Processes


def join(launch: Launch, devices: int, nodes: int = 1) -> None:
    """Have a process of a launch join a trainer, before it has reached the others."""
    processes = Processes()
    processes.launch, processes.store = launch, object()
    processes.join(SimpleNamespace(num_devices=devices, num_nodes=nodes, world_size=1), None)


def environment(creates_processes_externally: bool) -> Any:
    return SimpleNamespace(creates_processes_externally=creates_processes_externally)


@pytest.mark.parametrize(
    ("launch", "devices", "nodes", "sentence"),
    [
        # the second of two nodes, which was told of one: it would train by itself, and write the first one's files
        (Launch(node_rank=1, number=None, environment=environment(False)), 1, 1,
         "NODE_RANK is 1, but trainer.num_nodes is 1: type the same --trainer.num_nodes for each process"),
        (Launch(local_rank=2, number=4, environment=environment(True)), 2, 2,
         "LOCAL_RANK is 2, but trainer.devices is 2: type the same --trainer.devices for each process"),
        # nobody would start the others
        (Launch("srun", number=1, environment=environment(True)), 4, 1,
         "srun says that there is 1 process, but trainer.devices is 4 and trainer.num_nodes is 1: start it with srun "
         "--ntasks-per-node=4, or type --trainer.devices 1"),
        (Launch(number=1, environment=environment(True)), 2, 1, "WORLD_SIZE says that there is 1 process"),
    ],
)  # fmt: skip
def test_a_number_that_does_not_fit_is_refused(launch: Launch, devices: int, nodes: int, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        join(launch, devices, nodes)


@pytest.mark.parametrize(
    ("launch", "devices", "nodes"),
    [
        (Launch(), 2, 1),  # a process on its own, of which Lightning starts the others
        (Launch(number=1, environment=environment(False)), 2, 1),  # likewise, in a shell of SLURM
        (Launch(node_rank=1, number=None, environment=environment(False)), 2, 2),
        (Launch("srun", number=1, environment=environment(True)), 1, 1),
    ],
)
def test_a_number_that_fits_is_not(launch: Launch, devices: int, nodes: int) -> None:
    join(launch, devices, nodes)


def test_one_that_comes_when_the_first_has_gone_waits_no_longer_than_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = meeting_place.server_at("127.0.0.1", 0)
    agents.set(meeting_place.PORT, "1")  # of a first process that has ended
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setattr(meeting_place, "CONNECTING", timedelta(seconds=1))
    at = SimpleNamespace(main_address="127.0.0.1", main_port=agents.port)
    with pytest.raises(UsageError, match="the first process can't be reached at 127.0.0.1:[0-9]+: it has ended"):
        meeting_place.reach_first(at, is_first=False)


@pytest.mark.parametrize(("name", "right"), [("srun", "with srun --ntasks=1"), ("torchrun", "without torchrun")])
def test_a_command_of_one_process_says_how_to_start_it(name: str, right: str) -> None:
    processes = Processes()
    processes.refuse_several("predict")
    processes.launch, processes.number = Launch(name), 8
    with pytest.raises(UsageError, match=f"kindling predict works in one process: start it {right}"):
        processes.refuse_several("predict")
