import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kindling.cli import main

ROOT = Path(__file__).parents[1]
QUICK = ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep one test's seed from the next, and Lightning's chatter out of the report."""
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures, which take seconds a run, only in the tests that are marked so."""
    if "figures" not in request.keywords:
        monkeypatch.setattr("kindling.figures.callback.Figures._draw", lambda *_: None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the repository's configs, as the working folder."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kindling(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command in this process."""

    def run(*argv: object) -> Result:
        capsys.readouterr()
        code = main([str(part) for part in argv])
        return Result(code, *capsys.readouterr())

    return run


def assert_refused(finished: Result, message: str) -> None:
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.startswith("kindling: ")
    assert finished.err.count("\n") == 1
    assert "Traceback" not in finished.out + finished.err
    assert not Path("lightning_logs").exists()


def child(*argv: object, cwd: Path) -> Result:
    """Runs a command in a process of its own, as a user does."""
    command = [sys.executable, "-m", "kindling", *map(str, argv)]
    finished = subprocess.run(command, cwd=cwd, env=os.environ.copy(), capture_output=True, text=True, timeout=300)
    return Result(finished.returncode, finished.stdout, finished.stderr)


def write_samples(folder: Path, count: int) -> None:
    """Write the first `count` samples of each kind, as scripts/sample_data.py does."""
    spec = importlib.util.spec_from_file_location("sample_data", ROOT / "scripts" / "sample_data.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(folder, count)


def write_fashion_mnist(root: Path, train: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    """Write a small FashionMNIST of random images in the real format; return all images and labels."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (train + test, 28, 28), dtype=np.uint8)
    labels = (np.arange(train + test) % 10).astype(np.uint8)
    for name, part in [("train", slice(0, train)), ("t10k", slice(train, None))]:
        size = len(labels[part])
        header = np.array([2051, size, 28, 28], dtype=">i4").tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + images[part].tobytes())
        header = np.array([2049, size], dtype=">i4").tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + labels[part].tobytes())
    return images, labels
