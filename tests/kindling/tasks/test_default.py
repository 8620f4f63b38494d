"""A loss or metrics alone leave the task to the data: `--model.task.metrics` without `--model.task`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, Result, assert_refused

from kindling.tasks import Classification, DefaultTask, MultilabelClassification, Regression
from my_project.models.mlp import MLP

Run = Callable[..., Result]
FAST = [*QUICK, "--trainer.max_epochs", "1", "--figures.enabled", "false"]
CASES: dict[str, tuple[dict[str, Any], type]] = {
    "classes": ({"classes": ["a", "b", "c"]}, Classification),
    "several classes": ({"classes": ["a", "b", "c"], "multilabel": True}, MultilabelClassification),
    "numbers": ({"targets": ["x"]}, Regression),
}


@pytest.mark.parametrize("case", CASES)
def test_the_task_is_that_of_the_targets(case: str) -> None:
    sizes, kind = CASES[case]
    model = MLP(input_shape=(4,), task=DefaultTask(), **sizes)
    assert type(model.task) is kind


def test_without_targets_there_is_none() -> None:
    with pytest.raises(ValueError, match="classes and targets are empty"):
        MLP(input_shape=(4,), task=DefaultTask())


@pytest.mark.parametrize(
    ("config", "metric", "name"),
    [
        ("digits_mlp", "CohenKappa", "cohen_kappa"),
        ("multilabel", "HammingDistance", "hamming_distance"),
        ("diabetes", "MeanAbsolutePercentageError", "mean_absolute_percentage_error"),
    ],
)
def test_more_metrics_of_any_data(config: str, metric: str, name: str, kindling: Run) -> None:
    told = kindling("fit", "--config", f"configs/{config}.yaml", *FAST, "--model.task.metrics", f"[{metric}]")
    assert told.code == 0, told.err
    run = Path(f"lightning_logs/{config}/version_0")
    expected = json.loads((run / "results.json").read_text())["test"]
    assert name in expected
    assert kindling("test", "--run", run).code == 0
    resumed = kindling("fit", "--resume", run, "--trainer.max_epochs", 2)
    assert resumed.code == 0, resumed.err
    assert kindling("predict", "--run", run).code == 0


@pytest.mark.parametrize(
    ("config", "setting", "said"),
    [
        ("shapes_unet", ["--model.task.loss", "DiceLoss", "--data.size", "200"], "Segmentation"),
        ("digits_autoencoder", ["--model.task.metrics", "[StructuralSimilarityIndexMeasure]"], "Reconstruction"),
    ],
)
def test_a_model_keeps_its_own(config: str, setting: list[str], said: str, kindling: Run) -> None:
    told = kindling("fit", "--config", f"configs/{config}.yaml", *FAST, *setting)
    assert told.code == 0, told.err
    assert said in told.out.splitlines()[0]


def test_what_the_task_does_not_take_is_refused(kindling: Run) -> None:
    metrics = ["--model.task.metrics", "[CohenKappa]", "--data.size", "200"]
    assert_refused(
        kindling("fit", "--config", "configs/shapes_unet.yaml", *FAST, *metrics),
        "task.metrics is set, which Segmentation doesn't take: leave it out",
    )


def test_another_loss(kindling: Run) -> None:
    told = kindling("fit", "--config", "configs/digits_mlp.yaml", *FAST, "--model.task.loss", "FocalLoss")
    assert told.code == 0, told.err
    assert "Classification" in told.out


def test_what_not_every_task_has_needs_its_task(kindling: Run) -> None:
    balanced = ["--model.task.class_weights", "balanced"]
    assert_refused(
        kindling("fit", "--config", "configs/digits_mlp.yaml", *FAST, *balanced),
        "model.task has no default: name one first, such as --model.task ",
    )
