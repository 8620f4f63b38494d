"""Nothing of Linux is assumed: what stands in the source, and commands where Windows is played."""

import ast
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import windows_like
from conftest import ROOT, Result, assert_refused
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image

from kindling.core import system
from kindling.core.errors import UsageError
from kindling.core.meeting_place import server_at
from kindling.data.arrays import Arrays
from kindling.data.image_folder import ImageFolder
from kindling.data.text import Text
from kindling.run.checkpoint_files import newest_whole
from kindling.train.model_parallel import ModelParallelStrategy

SOURCES = [*(ROOT / "src").rglob("*.py"), ROOT / "scripts/rename.py", ROOT / "scripts/sample_data.py"]
OF_TEXT = ("read_text", "write_text")
# Names of Linux, or of POSIX, with the files that ask first whether they are there.
OF_POSIX = {"fcntl": {"folder.py", "locks.py"}, "resource": set[str](), "termios": set[str](), "pwd": set[str]()}
OF_POSIX |= {"SIGUSR1": {"signals.py"}, "SIGKILL": set(), "SIGHUP": set(), "sigwaitinfo": {"batches.py"}}
OF_POSIX |= {"pthread_sigmask": {"batches.py"}, "fork": set(), "setsid": set(), "killpg": set(), "uname": set()}
OF_POSIX |= {"getuid": set(), "sched_getaffinity": set(), "O_DIRECTORY": set(), "mkfifo": set(), "sysconf": set()}


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """All that stands in the sources that open files or name what POSIX has, and in which file."""
    words = ("open(", *OF_TEXT, *OF_POSIX)
    texts = {path.name: path.read_text(encoding="utf-8") for path in SOURCES}
    told = {name: text for name, text in texts.items() if any(word in text for word in words)}
    return [(name, node) for name, text in told.items() for node in ast.walk(ast.parse(text))]


def mode_of(call: ast.Call) -> str:
    """How a call of `open` opens a file; empty if it opens none, as a zip file's `open` does."""
    given = [
        each.value for each in (*call.args, *(each.value for each in call.keywords)) if isinstance(each, ast.Constant)
    ]
    modes = [each for each in given if isinstance(each, str) and each and set(each) <= set("rwxabt+")]
    is_builtin = isinstance(call.func, ast.Name)
    return modes[0] if modes else "r" if is_builtin else ""


def test_text_is_read_and_written_as_utf_8() -> None:
    for file, node in nodes():
        if not isinstance(node, ast.Call) or isinstance(node.func, ast.Name) != (
            getattr(node.func, "id", "") == "open"
        ):
            continue
        name = getattr(node.func, "attr", "open")
        if name in OF_TEXT or (name == "open" and mode_of(node) and "b" not in mode_of(node)):
            is_said = any(each.arg == "encoding" for each in node.keywords) or (name == "read_text" and node.args)
            assert is_said, f"{file}, line {node.lineno}"


def test_what_only_posix_has_is_asked_for_first() -> None:
    found: dict[str, set[str]] = {name: set() for name in OF_POSIX}
    for file, node in nodes():
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else [getattr(node, "attr", "")]
        for name in found.keys() & set(names):
            found[name].add(file)
    assert found == OF_POSIX


@pytest.mark.parametrize("name", ["a:b", "what?", "a*", "con", "NUL.txt", "ends.", "ends "])
def test_a_name_that_windows_forbids_is_refused_there(
    name: str, kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "WINDOWS", True)
    finished = kindling("fit", "--config", "configs/digits_mlp.yaml", "--name", name)
    assert_refused(finished, f"--name is {name!r}: expected the name of one folder, such as my_experiment")


def test_of_two_kinds_of_server_windows_gets_the_one_that_its_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("torch.distributed.TCPStore", lambda *_, **options: asked.append(options["use_libuv"]))
    monkeypatch.delenv("USE_LIBUV", raising=False)
    for windows in (False, True):
        monkeypatch.setattr(system, "WINDOWS", windows)
        server_at("127.0.0.1", 0)
    monkeypatch.setenv("USE_LIBUV", "1")
    server_at("127.0.0.1", 0)
    assert asked == [True, False, True]


def test_checkpoints_of_links_are_refused_where_a_link_takes_no_other_ones_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(system, "WINDOWS", True)
    with pytest.raises(MisconfigurationException, match="save_distributed_checkpoint is true, which Windows can't"):
        ModelParallelStrategy(save_distributed_checkpoint=True).setup_environment()


@pytest.mark.skipif(sys.platform == "win32", reason="makes a folder of a name that Windows has for drives")
def test_a_damaged_checkpoint_is_named_whole_where_its_path_has_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "C:" / "run" / "checkpoints" / "last.ckpt"  # as a drive has on Windows
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(UsageError) as refused:
        newest_whole(path.parents[1])
    assert str(refused.value).startswith(f"{path} is not a checkpoint, or it is damaged: nothing is left to resume ")


def arrays(folder: Path) -> Arrays:
    values = np.random.default_rng(0).random((40, 3), dtype=np.float32)
    np.savez(folder / "a.npz", x_train=values, y_train=np.arange(40) % 2)
    return Arrays(str(folder / "a.npz"), batch_size=8, workers=1)


def lazy_images(folder: Path) -> ImageFolder:
    for number in range(20):
        path = folder / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return ImageFolder(str(folder / "images"), image_size=8, lazy=True, batch_size=4, workers=1)


def text(folder: Path) -> Text:
    (folder / "a.txt").write_text("To be, or not to be. " * 200, encoding="utf-8")
    return Text(str(folder / "a.txt"), length=16, batch_size=8, workers=1)


KINDS: dict[str, Callable[[Path], Any]] = {"arrays": arrays, "lazy images": lazy_images, "text": text}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_worker_gets_can_be_sent_to_a_process_that_is_spawned(kind: str, tmp_path: Path) -> None:
    data = KINDS[kind](tmp_path)
    data.setup("fit")
    loader = data.train_dataloader()
    (index, *_) = loader.sampler
    sent = ForkingPickler.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn))
    dataset, collate, start = pickle.loads(sent)
    assert start is loader.worker_init_fn
    for own, other in zip(loader.collate_fn(loader.dataset[index]), collate(dataset[index]), strict=True):
        assert torch.equal(own, other)


PLAY = """
import os, sys
sys.path.insert(0, sys.argv[1])
import windows_like
windows_like.begin()
os.cpu_count = lambda: 1  # so that `data` tries one worker, and not several numbers of them
from kindling.cli import main

if __name__ == "__main__":  # workers are spawned, and import this again
    fit = ["fit", "--config", sys.argv[2], "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    run = ["--run", "latest"]
    for argv in (fit, ["fit", "--resume", "latest", "--trainer.max_epochs", "2", "--figures.enabled=false"],
                 ["test", *run], ["predict", *run],
                 ["compare", "lightning_logs"], ["data", "--config", sys.argv[2]], ["fit", "--config", "gone"],
                 ["fit", "--help"], ["--help"], ["sweep", "--config", sys.argv[2], "--space", sys.argv[3]]):
        try:
            code = main(argv)
        except SystemExit as end:  # of help
            code = end.code
        print("#", code, *argv, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="plays Windows on Linux")
def test_all_commands_work_where_windows_is_played(project: Path) -> None:
    (project / "play.py").write_text(PLAY, encoding="utf-8")
    settings = ["play.py", ROOT / "tests", "configs/digits_mlp.yaml", "configs/spaces/mlp.yaml"]
    finished = subprocess.run(
        [sys.executable, *map(str, settings)],
        cwd=project, env={**os.environ, **windows_like.ENVIRONMENT}, capture_output=True, timeout=1800,
    )  # fmt: skip
    out, err = finished.stdout.decode("cp1252"), finished.stderr.decode("cp1252")
    assert finished.returncode == 0, out + err
    codes = [line.split()[1:3] for line in out.splitlines() if line.startswith("# ")]
    commands = ["fit", "fit", "test", "predict", "compare", "data", "fit", "fit", "--help", "sweep"]
    assert codes == [[str(2 * (number in (6, 9))), name] for number, name in enumerate(commands)], out + err
    assert "MLP (51,210 parameters, Classification) on Digits (1×8×8 -> 10 classes;" in out
    assert "trainer.max_epochs: 1 -> 2" in out
    assert "Traceback" not in err
    assert "kindling: a study needs file locks, which Windows doesn't have: use WSL" in err
    run = project / "lightning_logs/digits_mlp/version_0"
    assert (run / "config.yaml").read_text(encoding="utf-8").startswith("# resumed after step 18; before it:")
    assert (run / "predict/predictions.csv").read_bytes().count(b"\r\n") == 361
