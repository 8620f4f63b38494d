"""Losses and metrics of masks against scikit-learn, torchmetrics and torch, and what is no mask."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from sklearn import metrics
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.functional.segmentation import dice_score

from kindling.core.errors import UsageError
from kindling.data.image_augmentation import ImageAugmentation
from kindling.tasks import Classification, Segmentation
from my_project.losses.dice import DiceLoss
from my_project.losses.focal import FocalLoss

NAMES = ["ground", "road", "tree", "roof"]
GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = 2 * torch.randn(10, 4, 6, 7, generator=GENERATOR)
TARGETS = torch.randint(0, 4, (10, 6, 7), generator=GENERATOR)
TARGETS[torch.rand(10, 6, 7, generator=GENERATOR) < 0.2] = 255
COUNTED = TARGETS != 255
LOGITS, CLASSES = OUTPUTS.movedim(1, -1)[COUNTED], TARGETS[COUNTED]  # of the pixels that count


def build(count: int = 4, **arguments: Any) -> Segmentation:
    task = Segmentation(**arguments)
    task.build("one class a sample", count)
    return task


def measured(task: Segmentation, outputs: Tensor, targets: Tensor, size: int = 3) -> dict[str, float]:
    for part in torch.arange(len(targets)).split(size):
        task.val_metrics.update(task.scores(outputs[part]), targets[part])
    found = {name.removeprefix("val/"): float(value) for name, value in task.val_metrics.compute().items()}
    task.take_notes(task.val_metrics)
    return found


def test_metrics_are_those_of_all_pixels_that_count() -> None:
    found = measured(build(), OUTPUTS, TARGETS)
    pair = CLASSES.numpy(), LOGITS.argmax(dim=1).numpy()
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(*pair),
            "iou": metrics.jaccard_score(*pair, average="macro"),
            "dice": metrics.f1_score(*pair, average="macro"),
        }
    )
    masks = OUTPUTS.argmax(dim=1)
    assert found["iou"] == pytest.approx(float(multiclass_jaccard_index(masks, TARGETS, 4, ignore_index=255)))
    kept = CLASSES[None, None], LOGITS.argmax(dim=1)[None, None]
    dice = dice_score(kept[1], kept[0], 4, input_format="index", average="macro")
    assert found["dice"] == pytest.approx(float(dice))


def test_metrics_do_not_depend_on_batches_and_keep_no_pixels() -> None:
    one, other = build(), build()
    assert measured(one, OUTPUTS, TARGETS, 10) == measured(other, OUTPUTS, TARGETS, 1)
    (kept,) = other.val_metrics.values(copy_state=False)
    assert kept.counts.shape == (3, 4)
    assert int(kept.counts[2].sum()) == len(CLASSES)


def test_a_class_that_a_split_lacks_is_left_out_of_the_mean_and_told() -> None:
    task, targets = build(), TARGETS.clone()
    targets[targets == 2] = 1
    found = measured(task, OUTPUTS, targets)
    pair = targets[COUNTED].numpy(), LOGITS.argmax(dim=1).numpy()
    labels = [0, 1, 3]
    assert found["iou"] == pytest.approx(metrics.jaccard_score(*pair, labels=labels, average="macro"))
    assert found["dice"] == pytest.approx(metrics.f1_score(*pair, labels=labels, average="macro"))
    note = "a mean over 3 of 4 classes: it is undefined without a pixel of the class"
    assert task.notes == {"val/iou": note, "val/dice": note}


def test_without_a_pixel_that_counts_nothing_is_defined() -> None:
    task = build()
    found = measured(task, OUTPUTS, torch.full_like(TARGETS, 255))
    assert all(math.isnan(value) for value in found.values())
    assert task.notes["val/accuracy"] == "undefined without a pixel or a token that counts"


def test_a_batch_of_the_training_is_measured_by_itself() -> None:
    task = build()
    found = task.batch_metrics(OUTPUTS[:2], TARGETS[:2])
    counted = TARGETS[:2] != 255
    right = (OUTPUTS[:2].argmax(dim=1) == TARGETS[:2])[counted].double().mean()
    assert float(found["train/accuracy"]) == pytest.approx(float(right))
    assert set(found) == {"train/accuracy", "train/dice", "train/iou"}
    assert "train/iou" not in task.notes


LOSSES: dict[str, tuple[dict[str, Any], Any]] = {
    "cross-entropy": ({}, lambda: F.cross_entropy(LOGITS, CLASSES)),
    "smoothed": ({"label_smoothing": 0.1}, lambda: F.cross_entropy(LOGITS, CLASSES, label_smoothing=0.1)),
    "weighted": ({"class_weights": [1, 2, 3, 4]}, lambda: F.cross_entropy(LOGITS, CLASSES, torch.Tensor([1, 2, 3, 4]))),
    "own": ({"loss": nn.MultiMarginLoss()}, lambda: F.multi_margin_loss(LOGITS, CLASSES)),
    "own, weighted": (
        {"loss": FocalLoss(gamma=0.0), "class_weights": [1, 2, 3, 4]},
        lambda: F.cross_entropy(LOGITS, CLASSES, torch.Tensor([1, 2, 3, 4])),
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_losses_are_means_over_the_pixels_that_count(case: str) -> None:
    arguments, expected = LOSSES[case]
    torch.testing.assert_close(build(**arguments).loss_of(OUTPUTS, TARGETS), expected())


def test_dice_loss_by_its_formula() -> None:
    p, dice = LOGITS.softmax(dim=1), []
    for index in (0, 1, 3):
        truth = CLASSES[CLASSES != 2] == index
        chance = p[CLASSES != 2, index]
        dice.append(2 * chance[truth].sum() / (chance.sum() + truth.sum()))
    targets = TARGETS.where(TARGETS != 2, 255)  # a batch without class 2
    loss = build(loss=DiceLoss(cross_entropy=0.0)).loss_of(OUTPUTS, targets)
    torch.testing.assert_close(loss, 1 - torch.stack(dice).mean())
    both = build(loss=DiceLoss(cross_entropy=0.5)).loss_of(OUTPUTS, targets)
    torch.testing.assert_close(both - loss, 0.5 * F.cross_entropy(OUTPUTS, targets, ignore_index=255))
    with pytest.raises(ValueError, match="cross_entropy is -1: expected at least 0"):
        DiceLoss(cross_entropy=-1)


@pytest.mark.parametrize("loss", [None, FocalLoss(), DiceLoss()])
def test_a_batch_of_which_nothing_counts_teaches_nothing(loss: Any) -> None:
    outputs = OUTPUTS.clone().requires_grad_()
    value = build(loss=loss).loss_of(outputs, torch.full_like(TARGETS, 255))
    value.backward()
    assert float(value) == 0
    assert outputs.grad is None or not outputs.grad.any()


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0, 4.0]])
def test_the_loss_of_a_split_is_that_of_all_its_pixels(weights: list[float] | None) -> None:
    task = build(class_weights=weights)
    targets = TARGETS.clone()
    targets[:3] = 255
    for part in torch.arange(10).split(3):
        loss, weight = task.loss_of(OUTPUTS[part], targets[part]), task.loss_weight(targets[part])
        task.val_loss.update(loss, weight)
    assert float(task.val_loss.compute()) == pytest.approx(float(task.loss_of(OUTPUTS, targets)))


def data(masks: Tensor = TARGETS, **settings: Any) -> SimpleNamespace:
    return SimpleNamespace(train_targets=masks, **settings)


def test_balanced_weights_make_classes_count_alike() -> None:
    task = build(class_weights="balanced")
    task.start(data(TARGETS.byte()))
    counts = torch.bincount(CLASSES, minlength=4)
    torch.testing.assert_close(task.criterion.weight, len(CLASSES) / (4 * counts))  # type: ignore[arg-type]


def test_masks_of_a_smaller_type_are_taken() -> None:
    task = build()
    masks = task.targets_of((OUTPUTS, TARGETS.byte()))
    assert torch.equal(masks, TARGETS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (data(torch.zeros(10).long()), r"Segmentation needs masks of whole numbers \(N, H, W\): the data has targets of shape \(10,\)"),
        (data(torch.zeros(10, 4, 4)), "Segmentation needs masks of whole numbers"),
        (data(TARGETS.clamp_min(3) + 1), "the masks hold values from 4 to 256: expected classes from 0 to 3, and 255 for"),
        (data(torch.full((2, 4, 4), 255)), "all pixels of the training split are 255, so none counts"),
        (data(augment=ImageAugmentation(cutmix=1.0)), "mixup and cutmix need data with one class a sample: it has masks"),
        (data(augment=ImageAugmentation(ignored=0)), "data.augment.ignored is 0, but the task's ignore_index is 255"),
    ],
)  # fmt: skip
def test_what_is_no_mask_is_refused_before_the_training(given: Any, message: str) -> None:
    with pytest.raises(MisconfigurationException, match=message):
        build().start(given)


def test_a_class_a_sample_is_no_task_for_masks() -> None:
    task = Classification()
    task.build("one class a sample", 4)
    with pytest.raises(UsageError, match="needs data with one class a sample: for masks use Segmentation"):
        task.loss_of(torch.zeros(10, 4), TARGETS)
    targets = TARGETS.clamp_max(3)
    torch.testing.assert_close(task.loss_of(OUTPUTS, targets), F.cross_entropy(OUTPUTS, targets))  # as before it


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(ignore_index=3), "ignore_index is 3: expected none of the 4 classes"),
        (lambda: build(0), "Segmentation needs data with one class per pixel, not no classes"),
        (lambda: Segmentation().build("numeric targets", 2), "data with one class per pixel, not numeric targets"),
        (lambda: build(loss=nn.MSELoss()), "loss is MSELoss, which Segmentation can't use"),
        (lambda: build(label_smoothing=1.0), "label_smoothing is 1.0"),
        (lambda: build(class_weights=[1.0]), "class_weights has 1 values: expected one for each of 4 classes"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("outputs", [torch.zeros(10, 4), torch.zeros(10, 3, 6, 7), (OUTPUTS,)])
def test_outputs_that_are_no_masks_are_told(outputs: Any) -> None:
    task = build()
    for use in (task.check_outputs, task.scores, lambda given: task.loss_of(given, TARGETS)):
        with pytest.raises(UsageError, match=r"Segmentation is for outputs of shape \(batch, 4, height, width\)"):
            use(outputs)


def test_masks_of_another_size_are_told() -> None:
    with pytest.raises(UsageError, match="the model gives masks of 6×7 pixels, but the targets have 12×14"):
        build().loss_of(OUTPUTS, TARGETS.repeat(1, 2, 2))


def test_each_sample_is_as_right_as_its_intersection_over_union() -> None:
    targets = TARGETS.clone()
    targets[4] = 255
    found = build().sureness(build().scores(OUTPUTS), targets)
    for index, (mask, outputs) in enumerate(zip(targets, OUTPUTS, strict=True)):
        pair = mask[mask != 255].numpy(), outputs.argmax(dim=0)[mask != 255].numpy()
        labels = np.unique(pair[0])
        expected = metrics.jaccard_score(*pair, labels=labels, average="macro") if len(labels) else 1.0
        assert float(found[index]) == pytest.approx(expected)


def test_a_table_has_the_mask_and_the_share_of_each_class() -> None:
    task = build()
    columns = task.columns(task.scores(OUTPUTS), NAMES)
    masks = OUTPUTS.argmax(dim=1).numpy()
    assert list(columns) == ["mask", *(f"share_{name}" for name in NAMES)]
    assert columns["mask"][0].dtype == np.uint8
    assert all(np.array_equal(*pair) for pair in zip(columns["mask"], masks, strict=True))
    for index, name in enumerate(NAMES):
        np.testing.assert_allclose(columns[f"share_{name}"], (masks == index).mean(axis=(1, 2)))
    truth = task.target_columns(TARGETS, NAMES)
    shares = [(mask[mask != 255] == 1).float().mean() for mask in TARGETS]
    np.testing.assert_allclose(truth["target_share_road"], shares, atol=1e-6)
