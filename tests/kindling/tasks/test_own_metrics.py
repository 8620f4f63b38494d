"""Metrics by name equal scikit-learn's, in any batch size, and one that can't be is refused in a sentence."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from scipy import stats
from sklearn import metrics
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from kindling import load
from kindling.core.errors import UsageError
from kindling.core.plain_values import plain
from kindling.run.monitor import mode_of
from kindling.tasks import BinaryClassification, Classification, MultilabelClassification, Regression, Task
from my_project.models.mlp import MLP

Run = Callable[..., Result]
SIZES = (1, 7, 100)  # of batches
F2 = {"class_path": "FBetaScore", "init_args": {"beta": 2, "average": "macro"}}
generator = torch.Generator().manual_seed(0)
CLASSES = torch.randint(3, (100,), generator=generator)
LOGITS = torch.randn(100, 3, generator=generator) + F.one_hot(CLASSES, 3)
LABELS = torch.randint(2, (100, 3), generator=generator)
YES = LABELS[:, 0]
FAR = torch.randn(100, 2, generator=generator) * 7 - 311030


class ShareOfFirst(Metric):
    """A project's own: the share of samples that are taken for the first class."""

    higher_is_better = None

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(2), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        self.counts += torch.tensor([(scores.argmax(dim=1) == 0).sum(), len(scores)])

    def compute(self) -> Tensor:
        return self.counts[0] / self.counts[1]


def build(task: Task, count: int) -> Task:
    task.build(task.fits, count)
    return task


def measured(task: Task, outputs: Tensor, targets: Tensor, size: int) -> dict[str, float]:
    """The task's own metrics of the validation, over batches of a size."""
    for start in range(0, len(targets), size):
        task.val_metrics.update(task.scores(outputs[start : start + size]), targets[start : start + size])
    values = task.val_metrics.compute()
    task.take_notes(task.val_metrics)
    return {name: float(values[f"val/{name}"]) for name in task.own_metrics}


@pytest.mark.parametrize("size", SIZES)
def test_metrics_of_classes(size: int) -> None:
    names = ["CohenKappa", "MatthewsCorrCoef", F2, "AveragePrecision", "JaccardIndex", "ShareOfFirst"]
    task = build(Classification(metrics=names), 3)
    predictions, p = LOGITS.argmax(dim=1), LOGITS.softmax(dim=1)
    assert measured(task, LOGITS, CLASSES, size) == pytest.approx(
        {
            "cohen_kappa": metrics.cohen_kappa_score(CLASSES, predictions),
            "matthews_corr_coef": metrics.matthews_corrcoef(CLASSES, predictions),
            "f_beta_score": metrics.fbeta_score(CLASSES, predictions, beta=2, average="macro"),
            "average_precision": metrics.average_precision_score(F.one_hot(CLASSES), p, average="macro"),
            "jaccard_index": metrics.jaccard_score(CLASSES, predictions, average="macro"),
            "share_of_first": float((predictions == 0).double().mean()),
        },
        abs=1e-7,
    )


@pytest.mark.parametrize("size", SIZES)
def test_metrics_of_a_yes_or_no_use_the_tasks_threshold(size: int) -> None:
    names = ["CohenKappa", "Specificity", {"class_path": "JaccardIndex", "init_args": {"threshold": 0.6}}]
    task = build(BinaryClassification(threshold=0.3, metrics=names), 2)
    p = LOGITS[:, 0].sigmoid()
    assert measured(task, LOGITS[:, :1], YES, size) == pytest.approx(
        {
            "cohen_kappa": metrics.cohen_kappa_score(YES, p > 0.3),
            "specificity": metrics.recall_score(YES, p > 0.3, pos_label=0),
            "jaccard_index": metrics.jaccard_score(YES, p > 0.6),
        },
        abs=1e-7,
    )


@pytest.mark.parametrize("size", SIZES)
def test_metrics_of_several_classes_a_sample(size: int) -> None:
    task = build(MultilabelClassification(metrics=["ExactMatch", "MultilabelRankingLoss", "HammingDistance"]), 3)
    p = LOGITS.sigmoid()
    assert measured(task, LOGITS, LABELS, size) == pytest.approx(
        {
            "exact_match": metrics.accuracy_score(LABELS, p > 0.5),
            "multilabel_ranking_loss": metrics.label_ranking_loss(LABELS, p),
            "hamming_distance": metrics.hamming_loss(LABELS, p > 0.5),
        },
        abs=1e-7,
    )


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_metrics_of_numbers_far_from_zero_keep_their_digits(size: int, count: int) -> None:
    names = [
        "MeanSquaredError",
        "ExplainedVariance",
        "PearsonCorrCoef",
        "SpearmanCorrCoef",
        "MeanAbsolutePercentageError",
    ]
    task = build(Regression(metrics={"pearson": "PearsonCorrCoef"} | {name: name for name in names}), count)
    targets = FAR[:, :count]
    task.start(SimpleNamespace(augment=None, train_targets=targets))
    outputs = (targets - task.mean) / task.std + LOGITS[:, :count]
    scores, truths = task.scores(outputs).double().numpy(), targets.double().numpy()
    columns = list(zip(scores.T, truths.T, strict=True))
    pearson = np.mean([stats.pearsonr(*pair).statistic for pair in columns])
    found = measured(task, outputs, targets, size)
    variance = found.pop("ExplainedVariance")  # from a difference of squares, in float64
    assert variance == pytest.approx(metrics.explained_variance_score(truths, scores), abs=1e-5)
    assert found == pytest.approx(
        {
            "pearson": pearson,
            "MeanSquaredError": metrics.mean_squared_error(truths, scores),
            "PearsonCorrCoef": pearson,
            "SpearmanCorrCoef": np.mean([stats.spearmanr(*pair).statistic for pair in columns]),
            "MeanAbsolutePercentageError": metrics.mean_absolute_percentage_error(truths, scores),
        },
        rel=1e-7,
    )


def test_what_is_undefined_is_nan_and_said() -> None:
    task = build(Classification(metrics=["CohenKappa"]), 3)
    value = measured(task, LOGITS[:1], LOGITS[:1].argmax(dim=1), 1)["cohen_kappa"]
    assert np.isnan(value)
    assert task.notes["val/cohen_kappa"] == "undefined: MulticlassCohenKappa gives no number"
    numbers = build(Regression(metrics=["PearsonCorrCoef"]), 2)
    targets = torch.stack([torch.ones(9), torch.arange(9.0)], dim=1)
    assert measured(numbers, targets, targets, 4)["pearson_corr_coef"] == pytest.approx(1)
    assert numbers.notes["val/pearson_corr_coef"].startswith("a mean over 1 of 2 targets: it is undefined: ")


def test_a_diverged_model_has_no_number_and_no_excuse() -> None:
    task = build(Classification(metrics=["CohenKappa"]), 3)
    assert np.isnan(measured(task, LOGITS * torch.nan, CLASSES, 50)["cohen_kappa"])
    assert "val/cohen_kappa" not in task.notes


def test_a_metric_tells_what_is_better() -> None:
    names = {"kappa": "CohenKappa", "miss": "HammingDistance", "share_score": "ShareOfFirst"}
    task = build(Classification(metrics=names), 3)
    assert mode_of("val/kappa", task) == "max"
    assert mode_of("val/miss", task) == "min"
    assert mode_of("val/accuracy", task) == "max"
    with pytest.raises(UsageError, match="nothing says whether a lower or a higher val/share_score"):
        mode_of("val/share_score", task)


def test_a_checkpoint_keeps_names_and_arguments(tmp_path: Path) -> None:
    task = Classification(metrics=["CohenKappa", F2])
    assert plain("task", task)["init_args"]["metrics"] == ["CohenKappa", F2]
    model = MLP(input_shape=(3,), classes=["a", "b", "c"], hidden_sizes=[2], task=task)
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(content | {"preprocessing": None}, tmp_path / "model.ckpt")
    loaded = load(tmp_path / "model.ckpt").model
    assert list(loaded.task.own_metrics) == ["cohen_kappa", "f_beta_score"]


REFUSED: dict[str, tuple[Any, str]] = {
    "a slip": (["CohenKapa"], "[CohenKapa]: CohenKapa is not a metric here: did you mean CohenKappa"),
    "numbers": (
        ["CohenKappa", "MeanSquaredError"],
        "[CohenKappa, MeanSquaredError]: MeanSquaredError is not for these outputs: expected a metric of "
        "torchmetrics.classification, or a Metric of the project",
    ),
    "sound": (["SignalNoiseRatio"], "SignalNoiseRatio is not for these outputs: expected a metric of torchmetrics"),
    "what reads files": (["FrechetInceptionDistance"], "FrechetInceptionDistance is not for these outputs: expected"),
    "any code": (["os.system"], "os.system is not a metric here: expected a metric of torchmetrics.classification"),
    "a path of a class": ([{"class_path": "os.system"}], "is not a metric here: expected"),
    "twice": (["Accuracy"], "accuracy is measured already: give Accuracy a name of its own, as in {my_accuracy: Acc"),
    "of a whole split": (["AUROC"], "auroc is measured already"),
    "a method's name": ({"update": "CohenKappa"}, "{update: CohenKappa}: 'update' can't be the name of a metric"),
    "an unknown argument": ([{"class_path": "CohenKappa", "init_args": {"wight": 1}}], "can't be built: "),
    "beside": ([{"class_path": "FBetaScore", "beta": 2}], "beta is beside class_path: put it under init_args"),
    "from the data": (
        [{"class_path": "CohenKappa", "init_args": {"num_classes": 3}}],
        "num_classes of CohenKappa comes from the data: leave it out",
    ),
    "lacking": (["PrecisionAtFixedRecall"], "PrecisionAtFixedRecall needs min_recall: name it with its arguments"),
    "a matrix": (["ConfusionMatrix"], "it gives shape (3, 3), but only one number can be logged"),
    "a number": ([3], "3 names no metric: expected CohenKappa, or"),
    "arguments that are none": ([{"class_path": "CohenKappa", "init_args": 3}], "names no metric"),
    "the engine's own": (["WeightedMean"], "WeightedMean is not for these outputs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_is_refused(case: str) -> None:
    specs, message = REFUSED[case]
    with pytest.raises(ValueError, match="^metrics is ") as caught:
        build(Classification(metrics=specs), 3)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", ["[MeanSquaredError]", "[ConfusionMatrix]", "[[CohenKappa]]"])
def test_a_command_names_the_setting(names: str, kindling: Run) -> None:
    task = ["--model.task", "Classification", "--model.task.metrics", names]
    assert_refused(
        kindling("fit", "--config", "configs/digits_mlp.yaml", *task), "command line: model.task.metrics is ["
    )


def test_a_run_is_judged_by_it_and_says_what_its_predictions_do(kindling: Run) -> None:
    names = "{kappa: CohenKappa, f2: {class_path: FBetaScore, init_args: {beta: 2, average: macro}}}"
    task = ["--model.task", "Classification", "--model.task.metrics", names, "--checkpoint.monitor", "val/kappa"]
    finished = kindling("fit", "--config", "configs/digits_mlp.yaml", *QUICK, "--figures.enabled", "false", *task)
    assert finished.code == 0, finished.err
    assert kindling("test", "--run", "latest").code == 0
    assert kindling("predict", "--run", "latest").code == 0
    run = Path("lightning_logs/digits_mlp/version_0")
    with open(run / "predict/predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    targets, predictions = ([row[name] for row in rows] for name in ("target", "prediction"))
    tested = json.loads((run / "test/results.json").read_text())["test"]
    assert tested["kappa"] == pytest.approx(metrics.cohen_kappa_score(targets, predictions), rel=1e-6)
    assert tested["f2"] == pytest.approx(metrics.fbeta_score(targets, predictions, beta=2, average="macro"), rel=1e-6)
    assert json.loads((run / "results.json").read_text())["test"] == pytest.approx(tested)
    compared = kindling("compare")
    assert "best first by val/kappa, where more is better" in compared.out
