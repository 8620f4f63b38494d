"""The small files that `scripts/sample_data.py` writes can be trained on."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import QUICK, ROOT, Result
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits

SCRIPT = ROOT / "scripts" / "sample_data.py"
COUNT = 120


@pytest.fixture
def samples(project: Path) -> Path:
    runpy.run_path(str(SCRIPT))["write"](Path("samples"), COUNT)
    return Path("samples")


def test_images_and_arrays_are_the_digits(samples: Path) -> None:
    digits, labels = load_digits(return_X_y=True)
    expected = (digits[:COUNT].reshape(-1, 8, 8) * 255 / 16).round()
    with np.load(samples / "digits.npz") as images, np.load(samples / "rows.npz") as rows:
        assert (images["x_train"] == expected).all()
        assert images["x_train"].dtype == np.uint8
        np.testing.assert_allclose(rows["x_train"], expected / 255, rtol=1e-6)
        assert images["y_train"].tolist() == rows["y_train"].tolist() == labels[:COUNT].tolist()
    paths = sorted((samples / "digits").glob("*/*.png"), key=lambda path: path.name)
    assert [int(path.parent.name) for path in paths] == labels[:COUNT].tolist()
    assert all((np.asarray(Image.open(path)) == image).all() for path, image in zip(paths, expected, strict=True))


def test_the_table_has_numbers_categories_and_missing_values(samples: Path) -> None:
    table, known = pd.read_csv(samples / "patients.csv"), load_diabetes(as_frame=True, scaled=False).frame[:COUNT]
    assert list(table.columns) == [*known.columns[:-1], "progression"]
    assert table["progression"].tolist() == known["target"].tolist()
    assert set(table["sex"].dropna()) == {"female", "male"}
    assert len(set(table["age"].dropna())) == 4
    blank = table.isna()
    assert 0.01 < blank.iloc[:, :-1].to_numpy().mean() < 0.06
    bmi = ~blank["bmi"]
    assert table["bmi"][bmi].tolist() == known["bmi"][bmi].tolist()


@pytest.mark.parametrize(
    ("model", "data", "flags", "told"),
    [
        ("CNN", "ImageFolder", ["--data.path", "samples/digits", "--data.image_size", "8"], "3×8×8 → 10 classes"),
        ("CNN", "Arrays", ["--data.path", "samples/digits.npz"], "1×8×8 → 10 classes"),
        ("RNN", "Arrays", ["--data.path", "samples/rows.npz"], "8×8 → 10 classes"),
        ("MLP", "Table", ["--data.path", "samples/patients.csv", "--data.target", "progression"], "14 → 1 target"),
    ],
    ids=["images", "arrays", "sequences", "table"],
)
def test_they_can_be_trained_on(
    model: str, data: str, flags: list[str], told: str, samples: Path, kindling: Callable[..., Result]
) -> None:
    finished = kindling("fit", "--model", model, "--data", data, *flags, *QUICK, "--trainer.max_epochs", "1")
    assert finished.code == 0, finished.err
    assert f"{data} ({told}; " in finished.out


def test_the_script_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    for arguments, code in ((["--help"], 0), (["-x"], 2), (["a", "b"], 2)):
        with pytest.raises(SystemExit) as left:
            run(*arguments)
        assert left.value.code == code
        assert "python scripts/sample_data.py" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert run() == "in data/samples: digits, digits.npz, rows.npz, patients.csv\n"
    written = sorted(path.name for path in (tmp_path / "data" / "samples").iterdir())
    assert written == ["digits", "digits.npz", "patients.csv", "rows.npz"]
    assert len(list((tmp_path / "data" / "samples").rglob("*.png"))) == 1797
