"""Masks: a class for each pixel: `kindling fit --model UNet --data Masks --data.path images --data.masks masks`."""

from typing import Any, Literal

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from kindling.core.errors import UsageError
from kindling.tasks.classification import Classification
from kindling.tasks.measures import PixelMeasures, overlaps, pixel_counts

IGNORED = 255  # in a mask: a pixel that does not count, as in Pascal VOC and Cityscapes


class Segmentation(Classification):
    """One of K classes per pixel: cross-entropy on logits (B, K, H, W) against masks (B, H, W) of class indices.

    Masks are of any integer type. The metrics are the intersection over union and Dice, means over the classes that a
    split has, from all of its pixels at once; and the share of the pixels that are right.

    Args:
        ignore_index: the target of a pixel that does not count, neither for the loss nor for a metric.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1).
        class_weights: weight of each class in the loss; balanced for weights that make the classes of the training
            split count equally, by their pixels; null for equal weights.
        loss: another loss, such as DiceLoss: it gets the pixels that count, logits (M, K) and class indices (M,); null
            for cross-entropy.
    """

    fits = "one class a pixel"
    figures = ("worst_masks",)

    def __init__(
        self,
        ignore_index: int = IGNORED,
        label_smoothing: float = 0.0,
        class_weights: list[float] | Literal["balanced"] | None = None,
        loss: nn.Module | None = None,
    ) -> None:
        super().__init__(label_smoothing, class_weights, loss)
        self.ignore_index = ignore_index
        if loss is None:
            self.criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing, ignore_index=ignore_index)

    def build(self, targets: str, count: int) -> None:
        if targets != Classification.fits or not count:
            raise ValueError(
                f"Segmentation needs data with one class per pixel, not {targets if count else 'no classes'}"
            )
        super().build(targets, count)

    def prepare(self) -> None:
        count = self.num_outputs
        if 0 <= self.ignore_index < count:
            raise ValueError(f"ignore_index is {self.ignore_index}: expected none of the {count} classes, from 0")
        self.weigh()
        self.add_metrics({"measures": PixelMeasures(count, self.ignore_index)}, {})

    def example(self, count: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, count, 3, 5), torch.zeros(2, 3, 5).long()

    def start(self, data: Any) -> None:
        masks = data.train_targets
        if masks.dim() != 3 or masks.is_floating_point():
            given = f"targets of shape {tuple(masks.shape)}"
            raise MisconfigurationException(
                f"Segmentation needs masks of whole numbers (N, H, W): the data has {given}"
            )
        augment = getattr(data, "augment", None)
        if getattr(augment, "mixes", False):
            raise MisconfigurationException("mixup and cutmix need data with one class a sample: it has masks")
        ignored = getattr(augment, "ignored", self.ignore_index)
        if ignored != self.ignore_index:
            raise MisconfigurationException(
                f"data.augment.ignored is {ignored}, but the task's ignore_index is {self.ignore_index}: "
                "set both to the value of a pixel that does not count"
            )
        counted = masks[masks != self.ignore_index].long()
        if not len(counted):
            raise MisconfigurationException(f"all pixels of the training split are {self.ignore_index}, so none counts")
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= self.num_outputs:
            last = self.num_outputs - 1
            raise MisconfigurationException(
                f"the masks hold values from {low} to {high}: expected classes from 0 to {last}, and "
                f"{self.ignore_index} for a pixel that does not count"
            )
        self.balance(counted)

    def targets_of(self, batch: Any) -> Tensor:
        """Masks (B, H, W) int64, which data can keep in a smaller type."""
        return batch[-1].long()

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.check_outputs(outputs)
        if outputs.shape[2:] != targets.shape[1:]:
            sizes = f"masks of {_size(outputs.shape[2:])} pixels, but the targets have {_size(targets.shape[1:])}"
            raise UsageError(f"the model gives {sizes}: expected the same")
        counted = targets != self.ignore_index
        if self.loss is None:
            loss = self.criterion(outputs, targets)
        else:
            loss = self.criterion(outputs.movedim(1, -1)[counted], targets[counted])
        return loss.where(counted.any(), 0.0)  # the mean over no pixel would be NaN

    def loss_weight(self, targets: Tensor) -> Tensor:
        """The number of pixels that count, or the sum of their weights."""
        counted = targets[targets != self.ignore_index]
        weight = super().loss_weight(counted)
        return torch.tensor(len(counted)) if weight is None else weight

    def scores(self, outputs: Tensor) -> Tensor:
        """Probabilities: (B, K, H, W) → (B, K, H, W)."""
        self.check_outputs(outputs)
        return super().scores(outputs)

    def sureness(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The intersection over union of each sample, a mean over the classes that it has; 1 if none of it counts."""
        hits, predicted, actual = pixel_counts(self.decode(scores), targets, self.num_outputs, self.ignore_index)
        there = actual > 0
        iou = overlaps(hits, predicted, actual)["iou"].where(there, torch.nan)
        return iou.nanmean(dim=1).nan_to_num(1.0)

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        """The mask, and the share of each class in it."""
        masks = self.decode(scores)
        images = masks.numpy().astype("uint8" if self.num_outputs <= 256 else "uint16")
        return {"mask": list(images), **self._shares(masks, names, "share")}

    def target_columns(self, targets: Tensor, names: list[str]) -> dict[str, Any]:
        """The share of each class among the pixels that count."""
        return self._shares(targets, names, "target_share")

    def _shares(self, masks: Tensor, names: list[str], column: str) -> dict[str, Any]:
        counted = (masks != self.ignore_index).sum(dim=(1, 2)).double()
        return {
            f"{column}_{name}": ((masks == index).sum(dim=(1, 2)) / counted).numpy() for index, name in enumerate(names)
        }

    def check_outputs(self, outputs: Any) -> None:
        shape = tuple(getattr(outputs, "shape", ()))
        if len(shape) != 4 or shape[1] != self.num_outputs:
            given = f"the model gives {type(outputs).__name__} of shape {shape}"
            expected = f"(batch, {self.num_outputs}, height, width)"
            raise UsageError(f"Segmentation is for outputs of shape {expected}, but {given}: use a model such as UNet")


def _size(sides: Any) -> str:
    return "×".join(map(str, sides))
