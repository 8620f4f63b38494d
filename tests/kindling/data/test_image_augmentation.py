from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Result
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn import functional as F

from kindling.data.image_augmentation import ImageAugmentation
from my_project.data.digits import Digits
from my_project.models.mlp import MLP


def images(size: int = 64) -> Tensor:
    return torch.rand(size, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 1


def augmented(batch: Tensor, **arguments: Any) -> Tensor:
    torch.manual_seed(0)
    return ImageAugmentation(**arguments)(batch, torch.arange(len(batch)) % 5, 5)[0]


def test_a_crop_shifts_each_image_by_itself() -> None:
    batch = images()
    shifts = []
    for image, cropped in zip(F.pad(batch, [2] * 4), augmented(batch, crop=2), strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(image[:, y : y + 8, x : x + 8], cropped)]
        assert len(found) == 1
        shifts += found
    assert len(set(shifts)) > 15  # of 25


def test_half_of_the_images_are_flipped() -> None:
    batch = images(400)
    result = augmented(batch, flip=0.5)
    flipped = (result == batch.flip(3)).flatten(1).all(dim=1)
    assert torch.equal(result[~flipped], batch[~flipped])
    assert 0.4 < float(flipped.float().mean()) < 0.6
    assert torch.equal(augmented(batch, flip=1.0), batch.flip(3))


def test_erasing_clears_a_rectangle_of_the_area_asked_for() -> None:
    batch = torch.ones(500, 1, 32, 32)
    erased = augmented(batch, erase=1.0) == 0
    areas = erased.float().mean(dim=(1, 2, 3))
    assert float(areas[areas > 0].min()) > 0.01
    assert float(areas.max()) < 0.37
    for mask in erased[:, 0]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        assert torch.equal(mask, rows[:, None] & columns)  # a full rectangle
    assert 0.4 < float((augmented(batch, erase=0.5) == 0).flatten(1).any(dim=1).float().mean()) < 0.6


@pytest.mark.parametrize("arguments", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_mixing_mixes_images_and_targets_alike(arguments: dict[str, float]) -> None:
    batch = torch.arange(6.0)[:, None, None, None].expand(6, 1, 8, 8)
    torch.manual_seed(3)
    mixed, targets = ImageAugmentation(**arguments)(batch, torch.arange(6), 6)
    assert targets.shape == (6, 6)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), targets @ torch.arange(6.0))


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8])
def test_a_mask_stays_the_mask_of_its_image(kind: torch.dtype) -> None:
    batch = torch.randint(1, 6, (200, 3, 9, 12), generator=torch.Generator().manual_seed(0)).float()
    masks = (batch[:, 0] - 1).to(kind)  # the class of each pixel, by its first channel
    torch.manual_seed(0)
    changed, new_masks = ImageAugmentation(crop=3, flip=0.5, erase=0.5)(batch, masks, 5)
    assert new_masks.dtype == kind
    counted = new_masks != 255
    assert torch.equal(new_masks[counted], (changed[:, 0][counted] - 1).to(kind))
    assert torch.equal(counted, changed[:, 0] != 0)  # what is padded or erased does not count
    assert 0.5 < float(counted.float().mean()) < 0.9
    assert not torch.equal(new_masks, masks)
    torch.manual_seed(0)
    alone, _ = ImageAugmentation(crop=3, flip=0.5, erase=0.5)(batch, torch.zeros(200).long(), 5)
    assert torch.equal(changed, alone)  # an image is changed as it would be without a mask


def test_what_does_not_count_in_a_mask_can_be_any_number() -> None:
    batch, masks = torch.ones(20, 1, 4, 4), torch.full((20, 4, 4), 2)
    masks[:, 0] = -1
    torch.manual_seed(0)
    _, new_masks = ImageAugmentation(crop=1, ignored=-1)(batch, masks, 3)
    assert set(new_masks.unique().tolist()) == {-1, 2}
    assert set(new_masks[:, 2, 2].tolist()) == {2}  # no shift reaches there


def test_mixing_images_with_masks_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="mixup and cutmix need data with one class a sample"):
        ImageAugmentation(mixup=1.0)(images(4), torch.zeros(4, 8, 8).long(), 2)


def test_nothing_changes_by_default() -> None:
    assert torch.equal(augmented(images()), images())


class Seen(MLP):
    """Keeps the batches that it trains on."""

    batches: list[Tensor]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.batches.append(batch[0].clone())
        return super().training_step(batch, batch_idx)


def train(seed: int = 0, **settings: Any) -> list[Tensor]:
    L.seed_everything(seed, verbose=False)
    data = Digits(augment=ImageAugmentation(crop=1, flip=0.5, erase=0.5, mixup=0.2))
    model = Seen(input_shape=data.input_shape, classes=data.classes, hidden_sizes=[8], dropout=0.5)
    model.batches = []
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    limits = {"max_epochs": 2, "limit_train_batches": 3, "limit_val_batches": 2}
    L.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet, **{**limits, **settings}).fit(model, data)
    return model.batches


def test_a_training_repeats_with_its_seed_and_differs_by_epoch() -> None:
    first, second = train(), train()
    assert len(first) == 6
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert not torch.equal(first[0], train(seed=1)[0])


def test_built_in_python_it_leaves_a_checkpoint_loadable(tmp_path: Path) -> None:
    data = Digits(augment=ImageAugmentation(crop=1))
    model = MLP(input_shape=data.input_shape, classes=data.classes, hidden_sizes=[8])
    trainer = L.Trainer(accelerator="cpu", fast_dev_run=1, logger=False, enable_progress_bar=False)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    kept = torch.load(tmp_path / "model.ckpt", weights_only=True)["datamodule_hyper_parameters"]["augment"]
    assert kept["class_path"] == "kindling.data.image_augmentation.ImageAugmentation"
    assert kept["init_args"]["crop"] == 1


def test_validation_is_not_augmented() -> None:
    data = Digits(augment=ImageAugmentation(flip=1.0))
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    assert data.on_after_batch_transfer(batch, 0) is batch


def test_it_is_for_images_with_one_class() -> None:
    with pytest.raises(
        MisconfigurationException, match=r"data\.augment is ImageAugmentation, but the data has no images"
    ):
        ImageAugmentation()(torch.zeros(4, 10), torch.zeros(4), 2)
    with pytest.raises(MisconfigurationException, match="mixup and cutmix need data with one class a sample"):
        ImageAugmentation(mixup=1.0)(images(4), torch.zeros(4, 2), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"flip": 2}, "flip is 2: expected a probability"), ({"crop": -1}, "crop is -1, mixup is 0.0")],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageAugmentation(**arguments)


MIX = ["--data.augment", "ImageAugmentation", "--data.augment.mixup", "0.4", "--data.augment.cutmix", "1"]


def test_mixing_from_the_command_line(kindling: Callable[..., Result]) -> None:
    few = ["--trainer.max_epochs", 2, "--trainer.accelerator", "cpu"]
    finished = kindling("fit", "--config", "configs/digits_mlp.yaml", *MIX, *few)
    assert (finished.code, finished.err) == (0, "")
    assert kindling("test", "--run", "latest").code == 0


@pytest.mark.parametrize(
    "task",
    [["--model.task", "BinaryClassification"], ["--model.task", "Classification", "--model.task.loss", "FocalLoss"]],
)
def test_mixing_with_a_loss_that_has_no_place_for_it_is_refused(
    task: list[str], kindling: Callable[..., Result]
) -> None:
    told = kindling("fit", "--model", "MLP", "--data", "Digits", "--data.classes", "[3,8]", *MIX, *task)
    assert told.code == 2
    assert "mixup and cutmix need the task Classification with cross-entropy" in told.err
