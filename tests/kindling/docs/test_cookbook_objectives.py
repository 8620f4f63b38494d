"""The cookbook's pages on objectives and inputs: each runs as it stands, and does what it promises."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result
from cookbook_pages import commands_of, run
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_image_and_row(mine: Any, kindling: Callable[..., Result]) -> None:
    mine("image_and_row")
    fit, test, predict = commands_of("image_and_row")
    for command in (fit, test, predict):
        finished = kindling(*command)
        assert finished.code == 0, finished.err
    folder = Path("lightning_logs/unnamed/version_0")
    assert json.loads((folder / "results.json").read_text())["test"]["r2"] > 0.9
    rows = list(csv.DictReader((folder / "predict/predictions.csv").open()))
    assert len(rows) == 360
    exported = kindling("export", *predict[1:])
    assert (exported.code, exported.err) == (
        2,
        "kindling: ImageAndRow takes 2 inputs per sample, and export can write only one\n",
    )


def test_multi_task() -> None:
    names = run("multi_task")
    assert names["trainer"].callback_metrics["val/accuracy"] > 0.9
    data, model = names["data"], names["trainer"].lightning_module.eval()
    inputs, targets = (part[data.splits["val"]] for part in data.samples)
    with torch.inference_mode():
        scores = model.task.scores(model(data.preprocessing(inputs)))
    assert (scores[:, 10] - targets[:, 1]).abs().mean() < 0.5 * targets[:, 1].std()


def test_quantile_regression() -> None:
    names = run("quantile_regression")
    assert 0.65 < names["result"]["test/coverage"] < 0.9
    scores = names["model"].task.scores(torch.randn(50, 3))
    assert (scores.diff(dim=1) >= 0).all()


def test_ordinal_regression() -> None:
    names = run("ordinal_regression")
    task, data = names["model"].task, names["data"]
    outputs, targets = torch.randn(50, 1), torch.arange(50) % 4
    assert (task.cuts.diff() > 0).all()
    probabilities = task.scores(outputs)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(50))
    assert (probabilities > 0).all()
    expected = -probabilities[torch.arange(50), targets].log().mean()
    torch.testing.assert_close(task.loss_of(outputs, targets), expected)
    inputs, grades = (part[data.splits["val"]] for part in data.samples)
    with torch.inference_mode():
        found = task.decode(task.scores(names["model"].eval()(data.preprocessing(inputs))))
    assert (found - grades).abs().double().mean() < 0.85  # 1.0 if all are taken for a middle grade


def test_count_regression() -> None:
    names = run("count_regression")
    metrics, task, data = names["trainer"].callback_metrics, names["model"].task, names["data"]
    targets = data.samples[1][data.splits["val"]]
    mean = data.train_targets.mean().expand_as(targets)
    of_mean = 2 * (targets * (targets / mean).log() - targets + mean).mean()
    assert metrics["val/deviance"] < 0.8 * of_mean
    rates = torch.rand(20, 1)
    torch.testing.assert_close(task.scores(rates), rates.exp() * data.train_targets.mean())
    expected = F.poisson_nll_loss(task.scores(rates), targets[:20], log_input=False, eps=0)
    torch.testing.assert_close(task.loss_of(rates, targets[:20]), expected)


def test_own_training_step() -> None:
    found = run("own_training_step")["found"]
    assert found["CarefulMLP"] > found["MLP"] + 0.15


@pytest.mark.slow
def test_own_collate() -> None:
    names = run("own_collate")
    assert names["trainer"].callback_metrics["val/accuracy"] > 0.9
    samples = [names["data"].lazy_samples[index] for index in (0, 1, 2)]
    padded, lengths, _ = names["data"].collate(samples)
    assert lengths.tolist() == [len(sequence) for sequence, _ in samples]
    assert padded.shape == (3, max(lengths), 8)
