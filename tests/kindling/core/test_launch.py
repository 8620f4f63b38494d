"""Which one of how many processes a process is, as its environment says."""

import pytest

from kindling.core.errors import UsageError
from kindling.core.launch import LAUNCHED, Launch, launch_of_environment

SLURM = {"SLURM_NTASKS": 4, "SLURM_NTASKS_PER_NODE": 2, "SLURM_NNODES": 2, "SLURM_JOB_ID": 7, "SLURM_JOB_NAME": "train"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2}
BY_HAND = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": 29500}
TWO_OF_TWO = {"trainer.devices": 2, "trainer.num_nodes": 2}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*LAUNCHED, *SLURM, *TORCHRUN, *BY_HAND}:
        monkeypatch.delenv(name, raising=False)


def launch_in(monkeypatch: pytest.MonkeyPatch, **variables: object) -> Launch:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    return launch_of_environment()


def test_a_process_on_its_own_is_the_first_of_one() -> None:
    launch = launch_of_environment()
    assert (launch.is_first, launch.number, launch.settings, launch.environment) == (True, 1, {}, None)


@pytest.mark.parametrize(
    ("variables", "name", "place", "number", "settings"),
    [
        ({**TORCHRUN, "RANK": 3, "LOCAL_RANK": 1, "GROUP_RANK": 1}, "torchrun", (1, 1), 4, TWO_OF_TWO),
        ({**TORCHRUN, "RANK": 2, "LOCAL_RANK": 0, "GROUP_RANK": 1}, "torchrun", (1, 0), 4, TWO_OF_TWO),
        ({**TORCHRUN, "RANK": 0, "LOCAL_RANK": 0, "GROUP_RANK": 0}, "torchrun", (0, 0), 4, TWO_OF_TWO),
        ({**SLURM, "SLURM_PROCID": 2, "SLURM_LOCALID": 0, "SLURM_NODEID": 1}, "srun", (1, 0), 4, TWO_OF_TWO),
        ({**SLURM, "SLURM_PROCID": 0, "SLURM_LOCALID": 0, "SLURM_NODEID": 0}, "srun", (0, 0), 4, TWO_OF_TWO),
        ({**BY_HAND, "NODE_RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 4}, "WORLD_SIZE", (1, 1), 4, {}),
        ({**BY_HAND, "NODE_RANK": 1}, "WORLD_SIZE", (1, 0), None, {}),
        ({"NODE_RANK": 0}, "WORLD_SIZE", (0, 0), 1, {}),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, "WORLD_SIZE", (0, 0), 1, {}),  # a shell in which nothing was started yet
        ({**SLURM, "SLURM_JOB_NAME": "interactive", "PMI_SIZE": 4}, "WORLD_SIZE", (0, 0), 1, {}),
        ({"PMI_SIZE": 1}, "WORLD_SIZE", (0, 0), 1, {}),
        # torchrun within a job of SLURM is what started it
        ({**SLURM, **TORCHRUN, "RANK": 1, "LOCAL_RANK": 1, "GROUP_RANK": 0}, "torchrun", (0, 1), 4, TWO_OF_TWO),
    ],
)  # fmt: skip
def test_the_launcher_says_which_process_it_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, object], name: str, place: tuple[int, int],
    number: int | None, settings: dict[str, int],
) -> None:  # fmt: skip
    launch = launch_in(monkeypatch, **variables)
    assert (launch.name, (launch.node_rank, launch.local_rank), launch.number) == (name, place, number)
    assert launch.is_first == (place == (0, 0))
    assert launch.settings == settings


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"NODE_RANK": 1}, "MASTER_PORT is not set: processes started by hand need MASTER_ADDR"),
        ({"LOCAL_RANK": 0, "WORLD_SIZE": 2}, "MASTER_PORT is not set"),
        ({"OMPI_COMM_WORLD_SIZE": 2}, "OMPI_COMM_WORLD_SIZE says that MPI started several processes"),
        ({**SLURM, "SLURM_NTASKS_PER_NODE": None}, "srun started several processes without --ntasks-per-node"),
    ],
)
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, variables: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        launch_in(monkeypatch, **{name: value for name, value in variables.items() if value is not None})
