"""Random changes to training images: `--data.augment ImageAugmentation --data.augment.flip 0.5`."""

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from kindling.data.augmentation import Augmentation


class ImageAugmentation(Augmentation):
    """Change a whole batch of images (B, C, H, W) at once, every image differently.

    Mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019) mix the targets too: class indices (B,) become
    probabilities (B, K), for the task Classification with cross-entropy.

    Args:
        crop: pixels of zeros padded on every side before a crop of the old size, that is, the largest shift.
        flip: probability of a horizontal flip.
        erase: probability that a rectangle, 2 to 33 % of the image, becomes zero (Zhong et al., 2020).
        mixup: alpha of the beta distribution that draws the mixture of two images; 0 for no mixup.
        cutmix: alpha of the beta distribution that draws the part pasted in; 0 for no cutmix. With both, one at random.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self, crop: int = 0, flip: float = 0.0, erase: float = 0.0, mixup: float = 0.0, cutmix: float = 0.0
    ) -> None:
        super().__init__()
        for name, probability in {"flip": flip, "erase": erase}.items():
            if not 0 <= probability <= 1:
                raise ValueError(f"{name} is {probability}: expected a probability in [0, 1]")
        if min(crop, mixup, cutmix) < 0:
            raise ValueError(f"crop is {crop}, mixup is {mixup}, cutmix is {cutmix}: expected at least 0")
        self.crop, self.flip, self.erase, self.mixup, self.cutmix = crop, flip, erase, mixup, cutmix
        self.mixes = bool(mixup or cutmix)

    def forward(self, images: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        if images.dim() != 4:
            raise MisconfigurationException("data.augment is ImageAugmentation, but the data has no images")
        if self.crop:
            images = self._crop(images)
        if self.flip:
            flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < self.flip
            images = torch.where(flipped, images.flip(3), images)
        if self.erase:
            images = images.masked_fill(self._rectangles(images), 0.0)
        alphas = [(v2.MixUp, self.mixup), (v2.CutMix, self.cutmix)]
        mixes = [mix(alpha=alpha, num_classes=num_classes) for mix, alpha in alphas if alpha]
        if mixes:
            if targets.dim() > 1:
                raise MisconfigurationException("mixup and cutmix need data with one class a sample")
            images, targets = mixes[int(torch.randint(len(mixes), ()))](images, targets)
        return images, targets

    def _crop(self, images: Tensor) -> Tensor:
        size, _, height, width = images.shape
        device = images.device
        top, left = torch.randint(2 * self.crop + 1, (2, size, 1), device=device)
        rows = top + torch.arange(height, device=device)  # (B, H)
        columns = left + torch.arange(width, device=device)  # (B, W)
        padded = F.pad(images, [self.crop] * 4).transpose(0, 1)  # (C, B, H', W')
        cropped = padded[:, torch.arange(size, device=device)[:, None, None], rows[:, :, None], columns[:, None]]
        return cropped.transpose(0, 1)

    def _rectangles(self, images: Tensor) -> Tensor:
        """True inside a random rectangle of each image that is hit: (B, 1, H, W)."""
        size, _, height, width = images.shape
        hit, area, ratio, top, left = torch.rand(5, size, 1, 1, 1, device=images.device)
        area, ratio = 0.02 + 0.31 * area, 0.3 * 11**ratio  # of the image; height over width, 0.3 to 3.3
        tall, wide = ((area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1))
        rows = (torch.arange(height, device=images.device)[:, None] + 0.5) / height
        columns = (torch.arange(width, device=images.device) + 0.5) / width
        top, left = top * (1 - tall), left * (1 - wide)
        inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
        return inside & (hit < self.erase)
