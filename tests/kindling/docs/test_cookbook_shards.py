"""The cookbook's pages on data sets that are elsewhere or larger than memory run as they stand."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result
from cookbook_pages import code_of, commands_of, run
from interrupted import assert_resumes_identically
from PIL import Image
from sklearn.datasets import load_digits

Kindling = Callable[..., Result]


def run_commands(page: str, kindling: Kindling, *, epochs: int) -> dict[str, Any]:
    """Run the commands of a page, but the first and the second for some and then twice as many epochs; the results."""
    fit, resume, *others = commands_of(page)
    assert kindling(*fit, "--trainer.max_epochs", epochs, "--trainer.accelerator", "cpu").code == 0
    assert kindling(*resume, "--trainer.max_epochs", 2 * epochs).code == 0
    for command in others:
        finished = kindling(*command)
        assert finished.code == 0, finished.err
    (results,) = Path("lightning_logs").glob("*/version_0/results.json")
    return json.loads(results.read_text())


def predicted(name: str) -> int:
    """How many predictions a run has made."""
    (table,) = Path("lightning_logs", name, "version_0", "predict").glob("*.csv")
    return len(table.read_text().splitlines()) - 1


def test_parquet_folder(project: Path, kindling: Kindling) -> None:
    run("parquet_folder")
    results = run_commands("parquet_folder", kindling, epochs=2)
    assert results["test"]["r2"] > 0.9
    assert predicted("houses") == 5000


@pytest.mark.slow
def test_hugging_face_data(project: Path, kindling: Kindling) -> None:
    pytest.importorskip("datasets")
    run("hugging_face_data")
    results = run_commands("hugging_face_data", kindling, epochs=2)
    assert results["test"]["accuracy"] > 0.8
    assert predicted("hub") == 297


def digits_in_parquet(folder: Path) -> None:
    from datasets import Array3D, ClassLabel, Dataset, Features

    digits = load_digits()
    features = Features({"pixels": Array3D((1, 8, 8), "float32"), "digit": ClassLabel(names=list("0123456789"))})
    columns = {"pixels": digits.images[:, None].astype("float32") / 16, "digit": digits.target}
    whole = Dataset.from_dict(columns, features=features)
    for name, rows in {"train-0": (0, 700), "train-1": (700, 1500), "validation": (1500, 1797)}.items():
        whole.select(range(*rows)).to_parquet(folder / f"{name}.parquet")


@pytest.mark.parametrize("accident", [17, 31])
@pytest.mark.slow
def test_hugging_face_stream(
    accident: int, project: Path, kindling: Kindling, mine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(project / "cache"))
    (project / "digits").mkdir()
    digits_in_parquet(project / "digits")
    mine("hugging_face_stream")
    fit, resume = commands_of("hugging_face_stream")
    fit[-1] = "46"  # two epochs of 24 batches, but for two
    assert_resumes_identically(kindling, monkeypatch, [*fit, "--trainer.accelerator", "cpu"], resume[3:], accident)
    results = json.loads(Path("lightning_logs/broken/version_0/results.json").read_text(encoding="utf-8"))
    assert results["val"]["accuracy"] > 0.8


@pytest.mark.slow
def test_shards(project: Path, kindling: Kindling) -> None:
    pytest.importorskip("litdata")
    digits = load_digits()
    for number in range(300):
        folder = project / "photos" / str(digits.target[number])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(folder / f"{number}.png")
    (project / "pack.py").write_text(code_of("shards"), encoding="utf-8")
    subprocess.run([sys.executable, "pack.py"], check=True, capture_output=True, timeout=300)
    results = run_commands("shards", kindling, epochs=1)
    assert results["epochs"] == 2
    assert predicted("shards") == 300
