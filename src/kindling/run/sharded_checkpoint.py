"""A checkpoint as a folder to which each process writes its share, by torch.distributed.checkpoint.

The folder holds `rest.ckpt`, a checkpoint without the tensors that are shared out; torch's files with those; and
`manifest.json` with the checksum of each. Torch's description of its files is a pickle, which can come from anyone: it
is read by an unpickler that knows only the classes that describe tensors.
"""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import checkpoint as torch_checkpoint

from kindling.core.errors import UsageError, reason_of
from kindling.core.files import content_to_disk, names_to_disk, write_json
from kindling.run.checkpoint_names import MANIFEST, REST

DESCRIPTION = ".metadata"  # of torch's files
OF_TORCH = "torch.distributed.checkpoint"
# The names in torch's description of tensors and their files, by module.
DESCRIBES_TENSORS = {
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    f"{OF_TORCH}.filesystem": {"_StorageInfo"},
    f"{OF_TORCH}.metadata": {
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
}


def split(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint without the tensors that are shared out, and those by their place in it, such as state_dict/w."""
    weights, shares = _split(checkpoint["state_dict"], "state_dict")
    optimizers = []
    for number, optimizer in enumerate(checkpoint.get("optimizer_states", [])):
        states = {}
        for name, state in optimizer["state"].items():
            states[name], own = _split(state, f"optimizer_states/{number}/{name}")
            shares |= own
        optimizers.append({**optimizer, "state": states})
    return {**checkpoint, "state_dict": weights, "optimizer_states": optimizers}, shares


def _split(values: dict[str, Any], place: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    shared = {name for name, value in values.items() if hasattr(value, "full_tensor")}  # a DTensor
    rest = {name: value for name, value in values.items() if name not in shared}
    return rest, {f"{place}/{name}": values[name] for name in shared}


def join(rest: dict[str, Any], shares: dict[str, Tensor]) -> dict[str, Any]:
    """The checkpoint that was split."""
    for place, tensor in shares.items():
        kind, name = place.split("/", 1)
        if kind == "state_dict":
            rest["state_dict"][name] = tensor
        else:
            number, name = name.split("/", 1)
            parameter, name = name.rsplit("/", 1)
            rest["optimizer_states"][int(number)]["state"].setdefault(parameter, {})[name] = tensor
    return rest


def numbered(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimiser with numbers in place of the parameters' names, as that of a single process has."""
    names = [name for group in state["param_groups"] for name in group["params"]]
    number_of = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [number_of[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {number_of[name]: each for name, each in state["state"].items()}, "param_groups": groups}


class _Writer(torch_checkpoint.FileSystemWriter):
    """Torch's writer of such a folder, which describes only tensors, and not where the folder was."""

    def storage_meta(self) -> None:
        return None


def write_shares(folder: Path, shares: dict[str, Tensor]) -> tuple[str | None, dict[str, str]]:
    """Write this process's share, as all do at once: returns why some could not, and all files' checksums by name."""
    try:
        torch_checkpoint.save(shares, storage_writer=_Writer(folder))
    except torch_checkpoint.CheckpointException as error:  # raised in all processes, whichever failed
        return reason_of(next(iter(error.failures.values()))[0]), {}
    own: Any
    try:
        own = {path.name: _checksum(path) for path in folder.glob(f"__{dist.get_rank()}_*")}
    except OSError as error:  # the others wait to hear about it
        own = reason_of(error)
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    if failures := [each for each in everyone if isinstance(each, str)]:
        return failures[0], {}
    return None, {name: checksum for each in everyone for name, checksum in each.items()}


def seal(folder: Path, checksums: dict[str, str]) -> None:
    """Write the manifest of a folder that is otherwise complete."""
    own = {name: _checksum(folder / name) for name in (REST, DESCRIPTION)}
    write_json(folder / MANIFEST, {"files": checksums | own})
    content_to_disk(folder / MANIFEST)
    names_to_disk(folder)


def is_whole(folder: Path) -> bool:
    """Whether all files of a folder are there, with the checksums in its manifest, and no name leads out of it."""
    try:
        files = _checksums(folder)
        inside = {REST, DESCRIPTION} <= files.keys() and all(Path(name).name == name for name in files)
        return inside and all(_checksum(folder / name) == checksum for name, checksum in files.items())
    except FileNotFoundError:
        return False
    except (ValueError, TypeError, KeyError, AttributeError):  # not a manifest
        return False


def _checksums(folder: Path) -> Any:
    """What a manifest says, which can be anyone's, of the files in its folder."""
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


class _Unpickler(pickle.Unpickler):
    """Reads torch's description of files; a pickle can name any function to be called."""

    def find_class(self, module: str, name: str) -> Any:
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_type and name not in DESCRIBES_TENSORS.get(module, ()):
            raise UsageError(f"it names {module}.{name}")
        return super().find_class(module, name)


class Reader(torch_checkpoint.FileSystemReader):
    """Torch's reader of such a folder, which runs nothing that a pickle may ask for.

    Raises:
        UsageError: if the description names anything but tensors in files of this folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with (self.folder / DESCRIPTION).open("rb") as file:
                described = _Unpickler(file).load()
            places = described.storage_data.values()
            named = {each.relative_path for each in places}
            files = {*_checksums(self.folder)}  # each of which has been checked
            if not named <= files or any(each.transform_descriptors for each in places):
                raise UsageError(f"it describes {', '.join(sorted(named - files)) or 'compressed files'}")
            shapes = {name: each.size for name, each in described.state_dict_metadata.items()}
            if not all(isinstance(shape, torch.Size) for shape in shapes.values()):
                raise UsageError("it describes something that is not a tensor")
        except OSError:
            raise
        except Exception as error:  # what is not a pickle fails in any way
            reason = f"{self.folder} is refused, and nothing in it was run, since its {DESCRIPTION} can't be used"
            raise UsageError(f"{reason}: {error}") from error
        described.storage_meta = torch_checkpoint.metadata.StorageMeta()
        return described


def read_whole(folder: Path, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors that the processes have shared out, put together in this one; on `meta`, only their shapes."""
    reader = Reader(folder)
    described = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(each.size, dtype=each.properties.dtype, device=device) for name, each in described.items()
    }
    if device != "meta":
        torch_checkpoint.load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def read_shares(folder: Path, shares: dict[str, Tensor]) -> None:
    """Fill this process's share of tensors, as all do at once, from a folder written by any number of processes."""
    torch_checkpoint.load(shares, storage_reader=Reader(folder))
