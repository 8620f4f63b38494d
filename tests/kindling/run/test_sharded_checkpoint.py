"""A checkpoint as a folder: whole at any instant, named if it is damaged, and read without running code."""

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.metadata import BytesStorageMetadata
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from kindling.core.errors import UsageError
from kindling.core.files import remove
from kindling.run import sharded_checkpoint as shards
from kindling.run.checkpoint_files import WholeCheckpointIO, load_checkpoint, newest_whole
from kindling.run.checkpoint_names import is_checkpoint


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of one process, which has all shares."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def content(step: int) -> dict[str, Any]:
    """A checkpoint with weights and an optimiser's state that are shared out, and some that are not."""
    mesh = init_device_mesh("cpu", (1,))
    weight = distribute_tensor(torch.arange(6.0).reshape(3, 2) + step, mesh, [Shard(0)])
    state = {"a/b.weight": {"exp_avg": weight * 2, "step": torch.tensor(float(step))}}
    optimizer = {"state": state, "param_groups": [{"params": ["a/b.weight"], "lr": 0.1}]}
    weights = {"a/b.weight": weight, "mean": torch.full((2,), float(step))}
    return {"state_dict": weights, "optimizer_states": [optimizer], "global_step": step}


def save(run: Path, step: int, name: str = "last.ckpt") -> WholeCheckpointIO:
    files, path = WholeCheckpointIO(), run / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rest, shares = shards.split(content(step))
    part = path.with_name(f"part-{name}")
    failure, checksums = shards.write_shares(part, shares)
    files.save_folder(rest, part, path, checksums, failure)
    return files


def assert_is_of(checkpoint: dict[str, Any], step: int) -> None:
    assert checkpoint["global_step"] == step
    weight = torch.arange(6.0).reshape(3, 2) + step
    torch.testing.assert_close(checkpoint["state_dict"], {"mean": torch.full((2,), float(step)), "a/b.weight": weight})
    (optimizer,) = checkpoint["optimizer_states"]
    assert optimizer["param_groups"] == [{"params": [0], "lr": 0.1}]
    torch.testing.assert_close(optimizer["state"][0], {"exp_avg": weight * 2, "step": torch.tensor(float(step))})


@pytest.mark.usefixtures("group")
def test_what_is_shared_out_is_put_together(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        assert save(tmp_path, step).failure is None
    folder = tmp_path / "checkpoints"
    assert_is_of(load_checkpoint(folder / "last.ckpt"), 3)
    assert_is_of(load_checkpoint(folder / "previous.ckpt"), 2)
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "previous.ckpt", "step-2", "step-3"]
    shapes = load_checkpoint(folder / "last.ckpt", shapes_only=True)["state_dict"]
    assert shapes["a/b.weight"].is_meta
    assert shapes["a/b.weight"].shape == (3, 2)


@pytest.mark.usefixtures("group")
def test_the_best_can_be_the_last_and_stays_when_the_last_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    save(tmp_path, 1, "best.ckpt").name_last(folder / "best.ckpt")
    save(tmp_path, 2)
    assert_is_of(load_checkpoint(folder / "best.ckpt"), 1)
    save(tmp_path, 2, "best.ckpt")  # once more at the same step
    assert [os.readlink(folder / f"{name}.ckpt") for name in ("best", "last", "previous")] == [
        "step-2-2",
        "step-2",
        "step-1",
    ]


class Killed(BaseException):
    """Nothing cleans up after it."""


@pytest.mark.slow
@pytest.mark.usefixtures("group")
def test_a_kill_at_any_instant_leaves_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instants = 0
    while True:
        run = tmp_path / f"run-{instants}"
        save(run, 1)
        save(run, 2)
        left = instants

        def dies(call: Any) -> Any:
            def dying(*args: Any, **options: Any) -> Any:
                nonlocal left
                if not left:
                    raise Killed
                left -= 1
                return call(*args, **options)

            return dying

        with monkeypatch.context() as patch:
            for name in ("replace", "rename", "symlink", "fsync", "unlink", "rmdir"):
                patch.setattr(os, name, dies(getattr(os, name)))
            try:
                save(run, 3)
                break
            except Killed:
                pass
        path, checkpoint = newest_whole(run)
        assert path is not None
        assert_is_of(load_checkpoint(path), checkpoint["global_step"])
        assert checkpoint["global_step"] in (2, 3)
        assert save(run, 4).failure is None
        assert_is_of(load_checkpoint(run / "checkpoints/last.ckpt"), 4)
        instants += 1
    assert instants > 5


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("file", ["rest.ckpt", "manifest.json", ".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_damaged_one_is_put_aside(
    file: str, is_gone: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "checkpoints/last.ckpt" / file
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.unlink() if is_gone else path.write_bytes(damaged)
    found, checkpoint = newest_whole(tmp_path)
    assert (found, checkpoint["global_step"]) == (tmp_path / "checkpoints/previous.ckpt", 1)
    assert "last.ckpt is not a checkpoint, or it is damaged; it is now last.damaged" in capsys.readouterr().out


def test_a_name_whose_folder_is_gone_is_that_of_a_damaged_one(tmp_path: Path) -> None:
    os.symlink("step-1", tmp_path / "last.ckpt")
    assert is_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(UsageError, match="last.ckpt"):
        load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.usefixtures("group")
def test_a_name_whose_folder_is_gone_is_put_aside(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    shutil.rmtree(tmp_path / "checkpoints/step-2")
    assert newest_whole(tmp_path)[0] == tmp_path / "checkpoints/previous.ckpt"


@pytest.mark.usefixtures("group")
def test_a_checkpoint_that_a_callback_keeps_no_longer_goes_with_its_last_name(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    save(tmp_path, 1, "epoch=1.ckpt")
    save(tmp_path, 2, "epoch=2.ckpt").name_last(folder / "epoch=2.ckpt")
    for name in ("epoch=1.ckpt", "epoch=2.ckpt"):
        WholeCheckpointIO().remove_checkpoint(folder / name)
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "step-2"]


@pytest.mark.usefixtures("group")
def test_what_a_user_has_put_beside_them_stays(tmp_path: Path) -> None:
    save(tmp_path, 1)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "step-1", folder / "step-of-the-paper")
    (folder / "step-7.ckpt").write_bytes(b"a copy")
    (folder / "kept.ckpt").symlink_to(folder / "step-1")  # by a whole path
    for step in (2, 3, 4):
        save(tmp_path, step)
    there = {path.name for path in folder.iterdir()}
    assert there == {
        "last.ckpt", "previous.ckpt", "step-3", "step-4", "step-of-the-paper", "step-7.ckpt", "kept.ckpt", "step-1",
    }  # fmt: skip
    assert_is_of(load_checkpoint(folder / "kept.ckpt"), 1)


@pytest.mark.usefixtures("group")
def test_what_a_kill_has_left_of_a_name_is_removed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    left = tmp_path / "checkpoints" / "part-1@elsewhere@last.ckpt"
    left.symlink_to("step-1")
    remove(left)
    assert not left.is_symlink()
    assert_is_of(load_checkpoint(tmp_path / "checkpoints/last.ckpt"), 1)


class RunsCode:
    """What a stranger's pickle would have this machine do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def of_a_stranger(described: Any, kind: str, path: Path) -> Any:
    """A description that no training has written."""
    if kind == "code":
        return RunsCode(path)
    if kind == "bytes":  # which torch would unpickle
        described.state_dict_metadata["state_dict/a/b.weight"] = BytesStorageMetadata()
    for place in described.storage_data.values():
        place.relative_path = "../../elsewhere" if kind == "elsewhere" else place.relative_path
    return described


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("kind", ["code", "bytes", "elsewhere", "unsealed"])
def test_a_strangers_folder_runs_no_code(kind: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    folder, ran = tmp_path / "checkpoints/step-1", tmp_path / "ran"
    described = shards.Reader(folder).read_metadata()
    (folder / ".metadata").write_bytes(pickle.dumps(of_a_stranger(described, kind, ran)))
    files = [path.name for path in folder.iterdir() if path.name.startswith("__")]
    (folder / "manifest.json").unlink()
    sealed = {name: shards._checksum(folder / name) for name in files if kind != "unsealed"}
    shards.seal(folder, sealed)  # with checksums that are right
    with pytest.raises(UsageError, match=r"is refused, and nothing in it was run, since its .metadata can't be used"):
        load_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert not ran.exists()


@pytest.mark.usefixtures("group")
def test_a_run_that_was_copied_without_links_goes_on(tmp_path: Path) -> None:
    save(tmp_path / "run", 1)
    save(tmp_path / "run", 2)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")  # which puts folders in the place of links
    assert save(tmp_path / "copy", 3).failure is None
    assert_is_of(load_checkpoint(tmp_path / "copy/checkpoints/last.ckpt"), 3)
    assert_is_of(load_checkpoint(tmp_path / "copy/checkpoints/previous.ckpt"), 2)


@pytest.mark.usefixtures("group")
def test_a_run_that_was_copied_without_links_goes_on_in_one_file(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path / "run", step)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    files, last = WholeCheckpointIO(), tmp_path / "copy/checkpoints/last.ckpt"
    files.save_checkpoint({"state_dict": {}, "global_step": 3}, last)
    assert files.failure is None
    assert load_checkpoint(last)["global_step"] == 3
    assert_is_of(load_checkpoint(last.with_name("previous.ckpt")), 2)


@pytest.mark.usefixtures("group")
def test_a_share_that_can_not_be_read_again_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shards, "_checksum", failing)
    failure = save(tmp_path, 1).failure
    assert failure is not None
    assert (failure[0], str(failure[1])) == (tmp_path / "checkpoints/last.ckpt", "Input/output error")
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.usefixtures("group")
def test_a_disk_that_can_not_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "write_json", full)
    failure = save(tmp_path, 2).failure
    assert failure is not None
    assert failure[0] == tmp_path / "checkpoints/last.ckpt"
    assert "No space left" in str(failure[1])
    assert_is_of(load_checkpoint(tmp_path / "checkpoints/last.ckpt"), 1)
    assert not list((tmp_path / "checkpoints").glob("part-*"))
