"""Real faults while training: each is told in one sentence. Most happen in a loader's worker too."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import QUICK, Result
from lightning.fabric.utilities.seed import pl_worker_init_function
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from kindling.data.arrays import Arrays
from kindling.data.batches import Batches, start_worker
from kindling.data.image_folder import ImageFolder
from kindling.train.faults import explain_fault
from my_project.models.mlp import MLP

Run = Callable[..., Result]
Fault = Callable[[], Any]


class Faulty(Dataset):
    """Eight batches, of which the sixth meets with a fault."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return self.fault() if index == 5 else torch.zeros(3)


def explained(fault: Fault, workers: int = 0) -> str | None:
    """What is told of a fault while batches are loaded."""
    batches = iter(DataLoader(Faulty(fault), batch_size=None, num_workers=workers, worker_init_fn=start_worker))
    with pytest.raises(BaseException) as raised:  # noqa: PT011, PT012
        try:
            list(batches)
        finally:  # as long as Lightning cleans up, while torch can raise how a worker ended
            time.sleep(0.2)
    if workers:
        batches._shutdown_workers()  # type: ignore[attr-defined]
    return explain_fault(raised.value)


def die(number: int) -> Fault:
    return lambda: os.kill(os.getpid(), number)


def cut_short(path: Path) -> Fault:
    """Reads an array that is mapped, from a file that has been cut since."""
    np.save(path, np.zeros(100_000))
    array = np.load(path, mmap_mode="r")
    os.truncate(path, 1000)
    return array.sum


class NoRoom:
    def __reduce__(self) -> Any:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
        )


def assert_told_of_worker(fault: Fault, workers: int, told: str) -> None:
    """Whether torch learns how a worker ended is a matter of luck."""
    sentences = []
    while not any(told in sentence for sentence in sentences):
        assert len(sentences) < 10, sentences
        sentences.append(str(explained(fault, workers)))
        assert sentences[-1].startswith("a process that loads batches ")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (die(signal.SIGKILL), "was killed, as the system does when memory runs out: try --data.workers 0 or"),
        (die(signal.SIGBUS), "found no room in shared memory, or a file that it was reading was cut short: try --data.workers 0"),
        (NoRoom, "found no room in shared memory"),
        (die(signal.SIGSEGV), "ended (signal: Segmentation fault): try --data.workers 0"),
        (lambda: os._exit(3), "ended (exit code 3): try --data.workers 0"),
        (lambda: sys.exit(3), "ended (exit code 3): try --data.workers 0"),
    ],
    ids=["killed", "bus", "shm", "segfault", "exit", "sys.exit"],
)  # fmt: skip
def test_a_worker_that_dies(fault: Fault, told: str, workers: int) -> None:
    assert_told_of_worker(fault, workers, told)


def test_a_worker_whose_mapped_file_is_cut_short(tmp_path: Path) -> None:
    assert_told_of_worker(cut_short(tmp_path / "x.npy"), 1, "a file that it was reading was cut short")


def test_a_worker_that_can_not_hand_over_a_batch_keeps_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert_told_of_worker(lambda: lambda: None, 1, "ended (exit code 1): try --data.workers 0")
    assert "<lambda>" in capfd.readouterr().err  # what it is that pickle refuses


MEMORY = {
    "torch": (lambda: torch.empty(2**50), "out of memory (4503599627370496 bytes were asked for): try half"),
    "numpy": (lambda: np.empty(2**50), "out of memory (8.00 PiB were asked for): try half of --data.batch_size with"),
    "python": (lambda: bytearray(2**60), "out of memory: try half of --data.batch_size with --trainer.accumulate_grad"),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("fault", "told"), MEMORY.values(), ids=MEMORY)
def test_out_of_memory(fault: Fault, told: str, workers: int) -> None:
    sentence = explained(fault, workers)
    assert sentence
    assert sentence.startswith(told)


def test_out_of_the_memory_of_a_gpu() -> None:
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.19 GiB of which 1.2 GiB is free."
    )
    assert explain_fault(error) == (
        "the GPU is out of memory (20.00 GiB were asked for): try half of --data.batch_size with "
        "--trainer.accumulate_grad_batches 2, --trainer.precision bf16-mixed or a smaller model"
    )


def test_no_compiler() -> None:
    error = RuntimeError("InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None,)")
    assert explain_fault(error) == "model.compile needs a C++ compiler: install g++, or set model.compile false"


def image(path: Path, change: Callable[[Path], Any]) -> Fault:
    """Reads an image that has changed since it was found."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)

    def read() -> np.ndarray:
        change(path)
        return np.asarray(Image.open(path))

    return read


CHANGES = {
    "gone": (Path.unlink, "can't read or write {}: No such file or directory"),
    "text": (lambda path: path.write_text("hi"), "can't read '{}': it is no longer an image; put the image back"),
    "cut": (lambda path: os.truncate(path, 4000), "can't read an image: image file is truncated"),
    "folder": (lambda path: path.unlink() or path.mkdir(), "can't read or write {}: Is a directory"),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("change", "told"), CHANGES.values(), ids=CHANGES)
def test_an_image_that_becomes_unreadable(change: Any, told: str, workers: int, tmp_path: Path) -> None:
    path = tmp_path / "it's.png"
    sentence = explained(image(path, change), workers)
    assert sentence
    assert sentence.replace('"', "'").startswith(told.format(path))


def full() -> None:
    with open("/dev/full", "w", encoding="utf-8") as file:
        file.write("x" * 100_000)


WRITES = {
    "full": (full, "can't write a file: No space left on device"),
    "torch": (lambda: torch.save(torch.zeros(10**6), "/dev/full"), "can't write a checkpoint: is its disk full, or read-only?"),
    "quota": (lambda: fail(122, "/mnt/a.png"), "can't write /mnt/a.png: Disk quota exceeded"),
    "read-only": (lambda: fail(30, "a: b"), "can't write a: b: Read-only file system"),
    "rename": (lambda: fail(28, "/tmp/x", "a/last.ckpt"), "can't write a/last.ckpt: No space left on device"),
    "too large": (lambda: fail(27), "can't write a file: File too large"),
    "refused": (lambda: fail(13, "a/b"), "can't read or write a/b: Permission denied"),
    "broken disk": (lambda: fail(5), "can't read or write a file: Input/output error"),
    "many files": (lambda: fail(24, "a"), "too many files are open: try ulimit -n 4096 first, or --data.workers 0"),
}  # fmt: skip


def fail(number: int, *paths: str) -> None:
    raise OSError(number, os.strerror(number), paths[0] if paths else None, None, paths[1] if paths[1:] else None)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /dev/full, and the numbers are others")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("fault", "told"), WRITES.values(), ids=WRITES)
def test_a_file_that_can_not_be_written(fault: Fault, told: str, workers: int) -> None:
    assert explained(fault, workers) == told


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("first\nsecond"),
        KeyError("file"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (64x784 and 10x10)"),
        AttributeError("'Tiny' object has no attribute 'head'"),
        AssertionError(),
        OSError("CUDA_HOME environment variable is not set"),
        RuntimeError("CUDA error: device-side assert triggered"),
    ],
    ids=repr,
)
def test_an_error_of_code_keeps_its_traceback(error: Exception, workers: int) -> None:
    def fault() -> None:
        raise error

    assert explained(fault, workers) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), StopIteration()], ids=repr)
def test_what_is_no_fault(error: BaseException) -> None:
    assert explain_fault(error) is None


def reduce(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    dist.all_reduce(torch.ones(3))
    if rank:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        dist.all_reduce(torch.ones(3))
    except RuntimeError as error:
        (folder / "told").write_text(str(explain_fault(error)))


def test_another_process_of_the_training_that_ends(tmp_path: Path) -> None:
    processes = [mp.get_context("fork").Process(target=reduce, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "told").read_text() == "another process of the training ended: see above, or it was killed"


def drawn() -> Any:
    handler = signal.getsignal(signal.SIGINT)
    return handler == signal.SIG_IGN, torch.rand(1).item(), np.random.rand(), random.random()


def test_a_worker_draws_as_lightning_has_it_and_leaves_ctrl_c_alone() -> None:
    found = []
    for start in (start_worker, pl_worker_init_function):
        seed = torch.Generator().manual_seed(3)
        loader = DataLoader(Faulty(drawn), batch_size=None, num_workers=2, worker_init_fn=start, generator=seed)
        found.append(list(loader)[5])
    assert found[0][0] is True
    assert found[0][1:] == found[1][1:]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere SIGTERM ends a worker")
def test_workers_load_on_after_a_signal_that_is_for_the_main_process(tmp_path: Path) -> None:
    for name in ("x_train", "y_train"):
        np.save(tmp_path / f"{name}.npy", np.arange(80.0).reshape(40, 2) if name[0] == "x" else np.arange(40) % 2)
    data = Arrays(str(tmp_path), batch_size=2, workers=2)
    data.setup("fit")
    batches: Any = iter(data.loader("train"))
    before = [next(batches), next(batches)]  # one of each
    for name in ("INT", "TERM"):
        subprocess.run(["kill", f"-{name}", *[str(process.pid) for process in batches._workers]], check=True)
    assert len([*before, *batches]) == len(data.loader("train"))
    for process in batches._workers:  # the main process itself ends them so
        process.terminate()
        process.join(5)
        assert process.exitcode == 0


def photos(root: Path, count: int = 20) -> Path:
    for index in range(count):
        path = root / ("cat", "dog")[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 5), index).save(path)
    return root


def test_a_cache_reads_a_file_that_was_restored(tmp_path: Path) -> None:
    """Put back as it was, with its time: the name of the cache stays the same."""
    root, cache = photos(tmp_path / "photos"), tmp_path / "cache"
    arguments: dict[str, Any] = {"image_size": 4, "cache": str(cache), "broken": "skip"}
    data = ImageFolder(str(root), **arguments)
    shutil.move(root / "cat" / "00.png", tmp_path / "away")
    os.symlink(tmp_path / "away", root / "cat" / "00.png")
    assert len(data.samples[1]) == 20
    (kept,) = cache.glob("*.json")
    kept.write_text(f'{{"{root}/cat/00.png": "Permission denied"}}')
    os.truncate(kept.with_suffix(".pixels"), 19 * 3 * 4 * 4)
    assert len(ImageFolder(str(root), **arguments).samples[1]) == 20
    assert kept.read_text() == "{}"


FIT = ["fit", "--config", "configs/digits_mlp.yaml", *QUICK, "--data.batch_size", "256"]


def assert_told(finished: Result, told: str) -> None:
    assert finished.code == 1
    assert finished.err.startswith(f"kindling: {told}")
    assert finished.err.endswith("; to go on: kindling fit --resume lightning_logs/digits_mlp/version_0\n")
    assert finished.err.count("\n") == 1
    assert "Traceback" not in finished.out + finished.err


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_training_whose_worker_is_killed_goes_on(epoch: int, kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    load, here = Batches.__getitem__, os.getpid()

    def faulty(self: Batches, positions: Tensor) -> Any:
        if len(self) > 1000 and os.getpid() != here and get_worker_info().id == 1 and Path(f"epoch {epoch}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, positions)

    def begin(self: MLP) -> None:
        Path(f"epoch {self.current_epoch}").touch()

    flags = ["--data.workers", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__getitem__", faulty)
        patch.setattr(MLP, "on_train_epoch_start", begin)
        assert_told(kindling(*FIT, *flags), "a process that loads batches ")
    finished = kindling("fit", "--resume", "lightning_logs/digits_mlp/version_0", "--data.workers", "0")
    assert finished.code == 0, finished.err
    assert "of 2, trained in" in finished.out


def test_a_training_that_runs_out_of_memory_goes_on(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(self: MLP) -> None:
        if self.current_epoch == 1:
            torch.empty(2**50)

    with monkeypatch.context() as patch:
        patch.setattr(MLP, "on_train_epoch_start", end)
        assert_told(
            kindling(*FIT), "out of memory (4503599627370496 bytes were asked for): try half of --data.batch_size"
        )
    way_out = ["--data.batch_size", "128", "--trainer.accumulate_grad_batches", "2"]
    finished = kindling("fit", "--resume", "lightning_logs/digits_mlp/version_0", *way_out)
    assert finished.code == 0, finished.err
    assert "of 2, trained in" in finished.out


@pytest.mark.parametrize("flags", [[], ["--data.workers", "2"], ["--data.cache", "cache"], ["--data.cache", "cache", "--data.workers", "2"]])  # fmt: skip
def test_a_training_needs_no_image_file_once_it_has_begun(flags: list[str], kindling: Run, monkeypatch: Any) -> None:
    photos(Path("photos"), 60)

    def lose(self: L.LightningModule) -> None:
        for path in Path("photos").glob("*/*.png"):
            path.unlink() if path.stem < "20" else path.write_text("hi" * (path.stem > "40"))

    monkeypatch.setattr(MLP, "on_train_epoch_end", lose)
    data = ["--data", "ImageFolder", "--data.path", "photos", "--data.image_size", "4", "--data.batch_size", "8"]
    finished = kindling("fit", "--model", "MLP", *data, *flags, *QUICK)
    assert finished.code == 0, finished.err
