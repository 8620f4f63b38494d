"""A checkpoint that can't be trusted or does not fit is refused in one sentence, and nothing in it runs."""

import errno
import hashlib
import io
import itertools
import os
import pickle
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, Result

from kindling.core.errors import Terminated, UsageError
from kindling.core.files import unfinished
from kindling.core.processes import Processes
from kindling.run.checkpoint_content import fit_or_refuse
from kindling.run.checkpoint_files import WholeCheckpointIO, load_checkpoint, newest_whole
from kindling.run.sealed_file import SEAL
from my_project.models.mlp import MLP

FIT = ["fit", "--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK]
RUN = Path("lightning_logs/digits_mlp/version_0")
BEST = RUN / "checkpoints" / "best.ckpt"
Run = Callable[..., Result]


@pytest.fixture
def trained(kindling: Run) -> Run:
    assert kindling(*FIT).code == 0
    return kindling


def assert_refused(finished: Result, *parts: str) -> None:
    assert finished.code == 2
    assert finished.err.startswith("kindling: ")
    assert finished.err.count("\n") == 1
    for part in parts:
        assert part in finished.err
    assert "Traceback" not in finished.out + finished.err


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint(share: float, trained: Run) -> None:
    content = BEST.read_bytes()
    BEST.write_bytes(content[: int(share * len(content))])
    assert_refused(trained("test", "--run", RUN), str(BEST), "damaged", "--ckpt")


def test_a_file_that_is_no_checkpoint(trained: Run) -> None:
    BEST.write_text("weights, honestly")
    assert_refused(trained("test", "--run", RUN), str(BEST), "not a checkpoint, or it is damaged")
    torch.save({"weights": torch.zeros(1)}, BEST)
    assert_refused(trained("test", "--run", RUN), str(BEST), "has no state_dict")


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def save_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("save", "message"),
    [(torch.save, "is refused, and nothing in it was run"), (save_pickle, "is not a checkpoint, or it is damaged")],
)
@pytest.mark.parametrize("command", [["test", "--run", RUN], ["fit", "--resume", RUN, "--trainer.max_epochs", 5]])
def test_a_malicious_pickle_is_refused_unexecuted(
    save: Callable[..., None], message: str, command: list[object], trained: Run
) -> None:
    for path in BEST.parent.iterdir():
        save({"state_dict": {}, "epoch": Malicious()}, path)
    assert_refused(trained(*command), message)
    assert not Path("pwned").exists()
    torch.load(BEST, weights_only=False) if save is torch.save else pickle.loads(BEST.read_bytes())
    assert Path("pwned").exists()  # it would have run


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--model.hidden_sizes", "[16]"], "hidden_sizes is [32] in the checkpoint and [16] here"),
        (["--model.norm", "null"], "norm is batch in the checkpoint and None here"),
        (["--model", "ResNet"], "the model is my_project.models.mlp.MLP in the checkpoint and my_project.models.resnet.ResNet"),
        (["--data.classes", "[1, 2]"], "classes is ['0', "),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_architecture(flags: list[str], difference: str, trained: Run) -> None:
    assert_refused(trained("test", "--run", RUN, *flags), str(BEST), "does not fit", difference)


def test_weights_that_differ_where_the_settings_agree() -> None:
    model = MLP(input_shape=(4,), classes=["a", "b"], hidden_sizes=[3])
    state = {name: weight.new_zeros(7) for name, weight in model.state_dict().items()}
    with pytest.raises(UsageError, match=r"weight net.1.weight is \(7,\) in the checkpoint and \(3, 4\) here"):
        fit_or_refuse(Path("odd.ckpt"), {"state_dict": state}, model)


def test_a_refused_resume_loses_nothing(trained: Run) -> None:
    for name in ("last", "previous"):
        (BEST.parent / f"{name}.ckpt").write_bytes(b"")
    files = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    last = RUN / "checkpoints" / "last.ckpt"
    assert_refused(trained("fit", "--resume", RUN, "--trainer.max_epochs", 5), str(last), "damaged")
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == files


def test_checkpoints_hold_plain_values_alone(trained: Run) -> None:
    checkpoint = torch.load(BEST, weights_only=True)
    assert checkpoint["hyper_parameters"]["hidden_sizes"] == [32]
    assert checkpoint["hyper_parameters"]["classes"] == [str(digit) for digit in range(10)]
    assert checkpoint["hyper_parameters"]["input_shape"] == (1, 8, 8)
    assert checkpoint["hyper_parameters"]["optimizer"]["class_path"] == "torch.optim.AdamW"
    loaded = MLP.load_from_checkpoint(BEST, weights_only=True)
    assert all(torch.equal(weight, checkpoint["state_dict"][name]) for name, weight in loaded.state_dict().items())


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "new folder" / "sealed.ckpt"
    WholeCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.arange(50.0)}, "epoch": 3}, path)
    return path


def test_a_checkpoint_is_a_whole_zip_file_with_a_checksum(sealed: Path) -> None:
    assert [path.name for path in sealed.parent.iterdir()] == ["sealed.ckpt"]
    content = sealed.read_bytes()
    with zipfile.ZipFile(sealed) as file:
        assert file.testzip() is None
        assert file.comment == SEAL + hashlib.sha256(content[: -len(file.comment)]).hexdigest().encode()
    for mmap in (True, False):
        loaded = torch.load(sealed, mmap=mmap, weights_only=True)
        assert torch.equal(loaded["state_dict"]["weight"], torch.arange(50.0))
    assert load_checkpoint(sealed)["epoch"] == 3


@pytest.mark.parametrize("piece", [1, 2, 3, 2**16])  # bytes that are written at once
@pytest.mark.parametrize("size", [0, 1, 2, 1000, 2**16, 2**20])
def test_checkpoints_of_any_size_have_a_checksum(
    size: int, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kindling.run.sealed_file.BUFFER", piece)
    for extra in range(4):
        path, weight = tmp_path / f"{extra}.ckpt", torch.arange(size + extra, dtype=torch.uint8)
        WholeCheckpointIO().save_checkpoint({"state_dict": {"weight": weight}, "more": "x" * extra}, path)
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
            assert file.comment.startswith(SEAL)
        assert torch.equal(load_checkpoint(path)["state_dict"]["weight"], weight)


def test_no_flipped_bit_passes(sealed: Path) -> None:
    content = sealed.read_bytes()
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        sealed.write_bytes(damaged)
        with pytest.raises(UsageError, match="damaged"):
            load_checkpoint(sealed)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b" ", lambda content: content[:-71]], ids=["cut", "longer", "no checksum"])  # fmt: skip
def test_a_checksum_can_not_be_lost(change: Callable[[bytes], bytes], sealed: Path) -> None:
    sealed.write_bytes(change(sealed.read_bytes()))
    with pytest.raises(UsageError, match="damaged"):
        load_checkpoint(sealed)


def test_a_run_of_plain_lightning_checkpoints_can_be_used_and_resumed(trained: Run) -> None:
    """As older versions of this project left them."""
    (BEST.parent / "previous.ckpt").unlink()
    for name in ("best", "last"):
        path = BEST.parent / f"{name}.ckpt"
        checkpoint = load_checkpoint(path)
        for ours in ("sealed", "position"):
            checkpoint.pop(ours, None)
        torch.save(checkpoint, path)
    assert trained("test", "--run", RUN).code == 0
    finished = trained("fit", "--resume", RUN, "--trainer.max_epochs", 3)
    assert (finished.code, finished.err) == (0, "")
    assert "resume after step 36; " in finished.out
    assert load_checkpoint(BEST.parent / "last.ckpt")["global_step"] == 54


def test_a_write_that_fails_leaves_what_was_there(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, files = sealed.read_bytes(), WholeCheckpointIO()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            files.save_checkpoint({"state_dict": {}}, sealed)
        assert files.failure
        assert (files.failure[0], files.failure[1].errno) == (sealed, errno.ENOSPC)
        assert {path.name: path.read_bytes() for path in sealed.parent.iterdir()} == {"sealed.ckpt": before}


@pytest.mark.parametrize(("weights", "written"), [(10, 0), (100_000, 0), (100_000, 1), (100_000, 3)])
def test_a_disk_that_fills_up_while_a_checkpoint_is_written_leaves_what_was_there(
    weights: int, written: int, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch writes in many pieces, and loses what goes wrong with the last of them."""
    before, files, pieces = sealed.read_bytes(), WholeCheckpointIO(), itertools.count()

    class Full(io.FileIO):
        def write(self, content: Any) -> int:
            if next(pieces) >= written:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    def open_(path: Path, mode: str) -> io.BufferedWriter:
        return io.BufferedWriter(Full(path, mode))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_)
        files.save_checkpoint({"state_dict": {str(number): torch.rand(weights) for number in range(9)}}, sealed)
    assert files.failure
    assert (files.failure[0], getattr(files.failure[1], "errno", None)) == (sealed, errno.ENOSPC)
    assert {path.name: path.read_bytes() for path in sealed.parent.iterdir()} == {"sealed.ckpt": before}


def save_step(folder: Path, step: int) -> None:
    files = WholeCheckpointIO()
    files.save_checkpoint({"state_dict": {}, "global_step": step}, folder / "last.ckpt")
    assert files.failure is None


def steps_in(folder: Path) -> dict[str, int]:
    return {path.name: load_checkpoint(path)["global_step"] for path in folder.iterdir()}


NAMES_CHANGE = ("link", "rename", "replace", "unlink", "remove")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_at_no_instant_is_there_no_last_checkpoint(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def watched(change: Callable[..., None]) -> Callable[..., None]:
        def run(*args: object, **more: object) -> None:
            seen.append(load_checkpoint(tmp_path / "last.ckpt")["global_step"])
            if change is os.link and not links:
                raise OSError(errno.EPERM, "Operation not permitted")
            change(*args, **more)
            seen.append(load_checkpoint(tmp_path / "last.ckpt")["global_step"])

        return run

    save_step(tmp_path, 1)
    assert steps_in(tmp_path) == {"last.ckpt": 1}
    for name in NAMES_CHANGE:
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    for step in (2, 3):
        seen.clear()
        save_step(tmp_path, step)
        assert len(seen) > 4
        assert set(seen) == {step - 1, step}
        assert seen == sorted(seen)
        assert steps_in(tmp_path) == {"last.ckpt": step, "previous.ckpt": step - 1}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("fails", [1, 2])
def test_a_kill_between_two_names_leaves_two_whole_checkpoints(
    fails: int, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, list[object]()

    def killed(*args: object) -> None:
        calls.append(args)
        if len(calls) == fails:
            raise KeyboardInterrupt
        replace(*args)  # type: ignore[arg-type]

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    for step in (1, 2):
        save_step(tmp_path, step)
    if not links:
        monkeypatch.setattr(os, "link", refused)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_step(tmp_path, 3)
    assert steps_in(tmp_path) == {"last.ckpt": fails + 1, "previous.ckpt": 1}
    save_step(tmp_path, 4)
    assert steps_in(tmp_path) == {"last.ckpt": 4, "previous.ckpt": fails + 1}


@pytest.mark.parametrize("left", ["last.ckpt", "previous.ckpt"])
def test_a_link_that_a_kill_has_left_does_no_harm(left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that is started again, the number of the process is the same: what it writes is no link."""
    save_step(tmp_path, 1)
    os.link(tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    os.link(tmp_path / "best.ckpt", unfinished(tmp_path / left))

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    save_step(tmp_path, 2)
    assert steps_in(tmp_path) == {"best.ckpt": 1, "last.ckpt": 2, "previous.ckpt": 1}


def test_sigterm_while_a_checkpoint_is_read_does_not_make_it_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()
    for step in (1, 2):
        save_step(tmp_path / "checkpoints", step)
    before = signal.signal(signal.SIGTERM, Processes()._stop)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "load", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
            with pytest.raises(Terminated):
                newest_whole(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert newest_whole(tmp_path)[0] == tmp_path / "checkpoints" / "last.ckpt"
