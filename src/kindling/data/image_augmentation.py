"""Random changes to training images: `--data.augment ImageAugmentation --data.augment.flip 0.5`."""

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from kindling.data.augmentation import Augmentation
from kindling.tasks.segmentation import IGNORED


class ImageAugmentation(Augmentation):
    """Change a whole batch of images (B, C, H, W) at once, every image differently, and its mask (B, H, W) with it.

    Mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019) mix the targets too: class indices (B,) become
    probabilities (B, K), for the task Classification with cross-entropy.

    Args:
        crop: pixels of zeros padded on every side before a crop of the original size, that is, the largest shift.
        flip: probability of a horizontal flip.
        erase: probability that a rectangle, 2 to 33 % of the image, becomes zero (Zhong et al., 2020).
        mixup: alpha of the beta distribution that draws the mixture of two images; 0 for no mixup.
        cutmix: alpha of the beta distribution that draws the part pasted in; 0 for no cutmix. With both, one at random.
        ignored: what a mask holds where its image is padded or erased: the task's value of a pixel that does not count.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        crop: int = 0,
        flip: float = 0.0,
        erase: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        ignored: int = IGNORED,
    ) -> None:
        super().__init__()
        for name, probability in {"flip": flip, "erase": erase}.items():
            if not 0 <= probability <= 1:
                raise ValueError(f"{name} is {probability}: expected a probability in [0, 1]")
        if min(crop, mixup, cutmix) < 0:
            raise ValueError(f"crop is {crop}, mixup is {mixup}, cutmix is {cutmix}: expected at least 0")
        self.crop, self.flip, self.erase, self.mixup, self.cutmix = crop, flip, erase, mixup, cutmix
        self.ignored = ignored
        self.mixes = bool(mixup or cutmix)

    def forward(self, images: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        if images.dim() != 4:
            raise MisconfigurationException("data.augment is ImageAugmentation, but the data has no images")
        is_mask = targets.shape == (len(images), *images.shape[2:]) and not targets.is_floating_point()
        if is_mask and not self.mixes:
            return self._changed_with_masks(images, targets)
        images = self._changed(images)
        return self._mix(images, targets, num_classes) if self.mixes else (images, targets)

    def _changed_with_masks(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Change images with their masks (B, H, W) as a further channel, whose zeros are pixels that don't count."""
        channel = (masks.long() - self.ignored).to(images.dtype)[:, None]
        changed = self._changed(torch.cat([images, channel], dim=1))
        return changed[:, :-1], (changed[:, -1].long() + self.ignored).to(masks.dtype)

    def _changed(self, images: Tensor) -> Tensor:
        """Crop, flip and erase: (B, C, H, W) → (B, C, H, W)."""
        if self.crop:
            images = self._crop(images)
        if self.flip:
            flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < self.flip
            images = torch.where(flipped, images.flip(3), images)
        if self.erase:
            images = images.masked_fill(self._rectangles(images), 0.0)
        return images

    def _mix(self, images: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """Mixup or cutmix; if both are asked for, one of them at random."""
        if targets.dim() > 1:
            raise MisconfigurationException("mixup and cutmix need data with one class a sample")
        mixes: list[nn.Module] = []
        if self.mixup:
            mixes.append(v2.MixUp(alpha=self.mixup, num_classes=num_classes))
        if self.cutmix:
            mixes.append(v2.CutMix(alpha=self.cutmix, num_classes=num_classes))
        chosen = int(torch.randint(len(mixes), ()))
        return mixes[chosen](images, targets)

    def _crop(self, images: Tensor) -> Tensor:
        """A window of the original size at a random place of each padded image: (B, C, H, W)."""
        size, _, height, width = images.shape
        device = images.device
        top, left = torch.randint(2 * self.crop + 1, (2, size, 1), device=device)
        each = torch.arange(size, device=device)[:, None, None]  # (B, 1, 1)
        rows = (top + torch.arange(height, device=device))[:, :, None]  # (B, H, 1)
        columns = (left + torch.arange(width, device=device))[:, None]  # (B, 1, W)
        padded = F.pad(images, [self.crop] * 4).transpose(0, 1)  # (C, B, H', W')
        return padded[:, each, rows, columns].transpose(0, 1)

    def _rectangles(self, images: Tensor) -> Tensor:
        """True inside a random rectangle of each image that is chosen: (B, 1, H, W)."""
        size, _, height, width = images.shape
        device = images.device
        chance, area, ratio, top, left = torch.rand(5, size, 1, 1, 1, device=device)  # each from 0 to 1
        area = 0.02 + 0.31 * area  # share of the image
        ratio = 0.3 * 11**ratio  # height over width, 0.3 to 3.3
        tall = (area * ratio).sqrt().clamp(max=1)  # share of the height
        wide = (area / ratio).sqrt().clamp(max=1)  # share of the width
        top, left = top * (1 - tall), left * (1 - wide)
        y = (torch.arange(height, device=device)[:, None] + 0.5) / height  # (H, 1), the middles of the pixels
        x = (torch.arange(width, device=device) + 0.5) / width  # (W,)
        inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
        return inside & (chance < self.erase)
