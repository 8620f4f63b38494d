"""`kindling data`: a look before the training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result

from kindling.cli import data as look
from kindling.cli.terminal import balance
from kindling.figures import results
from my_project.data.digits import Digits
from my_project.data.memory import Memory
from my_project.data.synthetic import SyntheticMultilabel, SyntheticRegression

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "SECONDS", 0.05)


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn from now on."""
    figures, make = list[Any](), results.new_figure
    monkeypatch.setattr(results, "new_figure", lambda *size: figures.append(make(*size)) or figures[-1])
    return figures


def test_it_says_what_the_data_is(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    finished = kindling("data", "--config", "configs/digits_vit.yaml")  # with mixup
    assert (finished.code, finished.err) == (0, "")
    assert "Digits: images 1×8×8, 1,797 samples" in finished.out
    words = " ".join(finished.out.replace("│", " ").split())
    assert "train 1,167 0: 115, 1: 119" in words
    assert "all inputs 0 0.3" in words
    assert "--data.workers 0 loads " in finished.out
    assert "suggested: --data.workers " in finished.out
    assert "a batch as the model will see it, augmented: lightning_logs/digits_vit_data.png" in finished.out
    assert Path("lightning_logs/digits_vit_data.png").stat().st_size > 10_000
    assert [path.name for path in Path("lightning_logs").iterdir()] == ["digits_vit_data.png"]  # and no run
    titles = [axes.get_title() for axes in figures[0].axes]
    assert len(titles) == 24
    assert any("%" in title for title in titles)
    pixels = figures[0].axes[0].images[0].get_array()
    assert pixels.shape == (8, 8)
    assert 0 <= pixels.min() < 0.1 < 0.9 < pixels.max() <= 1  # as they were before the normalisation


def test_no_model_is_needed_and_no_batch_is_drawn_twice(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn(monkeypatch)
    finished = kindling("data", "--data", "Digits", "--data.classes", "[3, 8]")
    assert (finished.code, finished.err) == (0, "")
    assert "lightning_logs/Digits_data.png" in finished.out
    data = Digits(classes=[3, 8])
    data.setup("fit")
    _, targets = next(iter(data.train_dataloader()))
    assert [axes.get_title() for axes in figures[0].axes] == ["38"[int(target)] for target in targets[:24]]


def test_a_table_is_told_column_by_column(kindling: Run) -> None:
    out = kindling("data", "--config", "configs/diabetes.yaml").out
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert sum(line.startswith("column ") for line in lines) == 10
    (target,) = [line for line in lines if line.startswith("target progression")]
    assert float(target.split()[-1]) <= 346


@pytest.mark.parametrize("data", [SyntheticRegression(size=100), Memory(size=200), Memory(size=200, tokens=True)])
def test_other_inputs_are_rows_of_colours(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    figures = drawn(monkeypatch)
    data.setup("fit")
    look.look(data, "mine")
    (image,) = figures[0].axes[0].images
    assert image.get_array().shape == (24, int(np.prod(data.input_shape)))
    assert Path("lightning_logs/mine_data.png").is_file()


def test_titles_name_classes_shares_and_numbers() -> None:
    digits, several = Digits(), SyntheticMultilabel(size=50)
    assert look._title(digits, torch.tensor(7)) == "7"
    assert look._title(digits, torch.eye(10)[2] * 0.7 + torch.eye(10)[5] * 0.3) == "70% 2 30% 5"
    assert look._title(several, torch.tensor([1, 0, 1, 0, 0])) == "2 0"
    assert look._title(SyntheticRegression(size=50), torch.tensor([1.23456])) == "1.23"


def test_of_many_classes_it_tells_the_extremes() -> None:
    assert balance({"a": 1200, "b": 3}) == "a: 1,200, b: 3"
    counts = {str(index): 10 + index for index in range(20)} | {"rare": 1}
    assert balance(counts) == "21 classes, from 1 (rare) to 29 (19)"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "MLP"], "nothing says what to train: give --config FILE"),
        (["--data", "Digitss"], "data is 'Digitss', which names no LightningDataModule here: did you mean Digits?"),
        (["--data", "Digits", "--ckpt", "best"], "data has no --ckpt: it looks at the data alone"),
        (["--data", "ImageFolder", "--data.path", "nowhere"], "command line: data.path is 'nowhere'"),
        (["--data", "Digits", "--data.fold", "3"], "data.fold is 3 and folds is 0: expected two folds or more"),
        (["--data", "Digits", "--data.workers", "-1"], "data.workers is -1: expected a number of processes"),
    ],
)
def test_mistakes(argv: list[str], message: str, kindling: Run) -> None:
    finished = kindling("data", *argv)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert message in finished.err
    assert not Path("lightning_logs").exists()
