"""What started this process, and which one of how many it is, by what the environment says."""

import os
from dataclasses import dataclass, field
from typing import Any

from kindling.core.errors import UsageError

# A launcher, or a user by hand, sets at least one of these variables in each process.
LAUNCHED = {
    "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE",
    "NODE_RANK", "GROUP_RANK", "LOCAL_RANK",
}  # fmt: skip
OF_MPI = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}  # mpirun sets these
NAMES = {"TorchElasticEnvironment": "torchrun", "SLURMEnvironment": "srun", "LightningEnvironment": "WORLD_SIZE"}


@dataclass
class Launch:
    """A process among those that were started with it.

    Args:
        name: what started them, as a user calls it: torchrun, srun …; WORLD_SIZE where it was a user by hand, or
            Lightning, which does the same.
        node_rank: which node this is.
        local_rank: which of the node's processes this is.
        number: how many processes there are in all; None if that is not known yet.
        settings: those of the trainer that follow from it.
        environment: Lightning's object for it; None for a process on its own.
    """

    name: str = "WORLD_SIZE"
    node_rank: int = 0
    local_rank: int = 0
    number: int | None = 1
    settings: dict[str, int] = field(default_factory=dict)
    environment: Any = None

    @property
    def is_first(self) -> bool:
        return self.node_rank == self.local_rank == 0


def launch_of_environment() -> Launch:
    """What the environment says.

    Raises:
        UsageError: if it lacks what the processes need to find each other.
    """
    if not LAUNCHED & os.environ.keys():
        return Launch()
    environment = _environment()
    name = NAMES.get(type(environment).__name__, type(environment).__name__)
    launch = Launch(name, environment.node_rank(), environment.local_rank(), None, environment=environment)
    if name == "WORLD_SIZE":
        return _by_hand(launch)
    launch.number = environment.world_size()
    here = os.environ.get({"torchrun": "LOCAL_WORLD_SIZE", "srun": "SLURM_NTASKS_PER_NODE"}.get(name, ""))
    if here:
        launch.settings = {"trainer.devices": int(here), "trainer.num_nodes": max(1, launch.number // int(here))}
    return launch


def _environment() -> Any:
    """Lightning's object for what started this process: the first that it would find."""
    from lightning.pytorch.plugins import environments  # slow to import

    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UsageError("srun started several processes without --ntasks-per-node: say how many run on each node")
    kinds = ("TorchElasticEnvironment", "SLURMEnvironment", "LSFEnvironment", "MPIEnvironment")
    found = [kind for name in kinds if (kind := getattr(environments, name)).detect()]
    by_mpi = [name for name in OF_MPI & os.environ.keys() if int(os.environ[name]) > 1]
    if not found and by_mpi and "SLURM_NTASKS" not in os.environ:  # Slurm's shells have such a variable too
        raise UsageError(
            f"{by_mpi[0]} says that MPI started several processes, which find each other through mpi4py, but this does "
            "not work here: pip install mpi4py, or start them with torchrun"
        )
    return (found or [environments.LightningEnvironment])[0]()


def _by_hand(launch: Launch) -> Launch:
    """A process that was started with only variables: each by itself, or one on each node, which starts the others."""
    if "MASTER_PORT" in os.environ:
        each_by_itself = {"LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()
        launch.number = int(os.environ["WORLD_SIZE"]) if each_by_itself else None
    elif launch.is_first and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        launch.number = 1  # as far as it knows
    else:
        needed = "MASTER_ADDR (the first node), MASTER_PORT (a free port there), NODE_RANK and WORLD_SIZE"
        raise UsageError(f"MASTER_PORT is not set: processes started by hand need {needed}")
    return launch
