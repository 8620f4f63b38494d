"""Lightning's ModelParallelStrategy, which shards a model over several processes, with Kindling's checkpoints."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch import strategies
from lightning.pytorch.plugins import AsyncCheckpointIO, MixedPrecision, Precision
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim import LBFGS, Optimizer

from kindling.core import system
from kindling.core.files import unfinished
from kindling.data.base import Data
from kindling.models.muon import Muon
from kindling.run.checkpoint_files import load_checkpoint, load_rest

NAME = "ModelParallelStrategy"
NEED_WHOLE = (LBFGS, Muon)  # optimisers that need whole weights


class ModelParallelStrategy(strategies.ModelParallelStrategy):
    """Share weights, gradients and the optimiser's state out over the processes (FSDP2), on GPUs and on a CPU.

    The module's `configure_model` decides what is shared out; every Model has one. This is Lightning's strategy with
    other default sizes, and with checkpoints that are written whole, have checksums, and are read without running code.

    Args:
        data_parallel_size: number of processes that share the weights out, each with its own batches; auto for all.
        tensor_parallel_size: number of processes that compute a layer together, if `configure_model` splits layers.
        save_distributed_checkpoint: whether a checkpoint is a folder, to which each process writes its share; if not,
            the first process writes one file, and the whole model has to fit into its memory.
        process_group_backend: nccl or gloo; null to choose by the device.
        timeout: the longest that an exchange between processes may take.
    """

    def __init__(
        self,
        data_parallel_size: Literal["auto"] | int = "auto",
        tensor_parallel_size: int = 1,
        save_distributed_checkpoint: bool = False,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),
    ) -> None:
        super().__init__(
            data_parallel_size, tensor_parallel_size, save_distributed_checkpoint, process_group_backend, timeout
        )
        self.tensor_parallel_size, self.writes_folders = tensor_parallel_size, save_distributed_checkpoint

    def setup_environment(self) -> None:
        if self.writes_folders and system.WINDOWS:  # which can't put a link to a folder in another's place
            raise MisconfigurationException("save_distributed_checkpoint is true, which Windows can't: use WSL")
        processes, size = self.num_nodes * self.num_processes, self.tensor_parallel_size
        of_data = max(1, processes // size) if self._data_parallel_size == "auto" else self._data_parallel_size
        if of_data * size != processes:
            sizes = f"data_parallel_size {of_data} times tensor_parallel_size {size}"
            raise MisconfigurationException(f"{sizes} is not the number of processes, {processes}")
        self._data_parallel_size = of_data
        super().setup_environment()

    def setup(self, trainer: L.Trainer) -> None:
        """Refuse what can't be shared out, then set the module up."""
        data, precision = trainer.datamodule, type(self.precision_plugin)  # type: ignore[attr-defined]
        if self.writes_folders and isinstance(self.checkpoint_io, AsyncCheckpointIO):
            folders = "save_distributed_checkpoint is true, and such checkpoints can't be written in the background"
            raise MisconfigurationException(f"{folders}: set checkpoint.in_background to false")
        if not trainer.lightning_module.automatic_optimization:
            name = type(trainer.lightning_module).__name__
            raise MisconfigurationException(
                f"{name} optimises manually, and {NAME} can't keep its gradients in a checkpoint: choose "
                "--trainer.strategy ddp"
            )
        if precision not in (Precision, MixedPrecision):
            instead = "32-true or bf16-mixed"
            raise MisconfigurationException(f"precision is {trainer.precision}: {NAME} takes {instead}")
        if isinstance(data, Data) and self.tensor_parallel_size > 1:
            raise MisconfigurationException(
                f"tensor_parallel_size is {self.tensor_parallel_size}, but {type(data).__name__} gives each process a "
                "batch of its own where several need the same: set it to 1, or use a LightningDataModule that is not a "
                "Data"
            )
        super().setup(trainer)

    def setup_optimizers(self, trainer: L.Trainer) -> None:
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            if isinstance(optimizer, NEED_WHOLE):
                instead = "choose another, such as AdamW, or --trainer.strategy ddp"
                raise MisconfigurationException(
                    f"{type(optimizer).__name__} needs whole weights, which {NAME} shares out: {instead}"
                )

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a checkpoint: the first process writes one file, or all of them a folder."""
        if not self.writes_folders:
            if self.is_global_zero:
                self.checkpoint_io.save_checkpoint(checkpoint, filepath)
            return
        from kindling.run import sharded_checkpoint as shards  # which not every build of torch can

        path = Path(self.broadcast(filepath))
        part = Path(self.broadcast(unfinished(path)))
        rest, shares = shards.split(checkpoint)
        failure, checksums = shards.write_shares(part, shares)
        if self.is_global_zero:
            self.checkpoint_io.save_folder(rest, part, path, checksums, failure)  # type: ignore[attr-defined]
        self.barrier()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load the module's weights and, in a training, the optimisers' states; each process takes its share."""
        from torch.distributed.checkpoint import state_dict  # which not every build of torch has

        assert self.model is not None
        path = Path(self.broadcast(checkpoint_path))
        optimizers = self.optimizers if self.lightning_module.trainer.state.fn == "fit" else []  # type: ignore[union-attr]
        if path.is_dir():
            checkpoint, options = self._read_shares(path, optimizers), None
        else:
            checkpoint, options = load_checkpoint(path), state_dict.StateDictOptions(full_state_dict=True)
        state_dict.set_model_state_dict(self.model, checkpoint["state_dict"], options=options)
        for optimizer, state in zip(optimizers, checkpoint.get("optimizer_states", []), strict=False):
            by_name = state if path.is_dir() else self._by_name(optimizer, state)
            state_dict.set_optimizer_state_dict(self.model, optimizer, by_name, options=options)
        return checkpoint

    def _read_shares(self, folder: Path, optimizers: list[Optimizer]) -> dict[str, Any]:
        """A checkpoint whose tensors are this process's shares, and the states of these optimisers."""
        from torch.distributed.checkpoint import state_dict

        from kindling.run import sharded_checkpoint as shards

        assert self.model is not None
        states = [state_dict.get_optimizer_state_dict(self.model, optimizer) for optimizer in optimizers]
        own = {"state_dict": state_dict.get_model_state_dict(self.model), "optimizer_states": states}
        _, shares = shards.split(own)
        rest = load_rest(folder)
        shards.read_shares(folder, shares)
        return shards.join(rest, shares)

    def _by_name(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The state of an optimiser with the names of parameters in place of their numbers."""
        assert self.model is not None
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        ordered = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        name_of = dict(zip(numbers, ordered, strict=True))
        groups = [{**group, "params": [name_of[each] for each in group["params"]]} for group in state["param_groups"]]
        return {"state": {name_of[number]: each for number, each in state["state"].items()}, "param_groups": groups}


# So that --trainer.strategy ModelParallelStrategy is enough; Lightning looks names up in lower case.
StrategyRegistry.register(NAME.lower(), ModelParallelStrategy, ModelParallelStrategy.__doc__)
