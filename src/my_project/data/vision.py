"""Image data sets of torchvision: `kindling fit --config configs/fashion_mnist_resnet.yaml --data.download true`."""

from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from kindling import Augmentation, Data


class _TorchVision(Data):
    """A data set of torchvision with its own test split of 10,000 images.

    Args:
        root: folder of the data sets, laid out as torchvision does: one folder per data set.
        download: whether to download what is missing.
        val_fraction: share of the training images used for validation, in (0, 1); null for 5,000 of them.
        **data: batch_size, split_seed, normalize, augment: see Data.
    """

    trainable = 60_000  # images that are not for the test

    def __init__(
        self,
        root: str = "data",
        download: bool = False,
        batch_size: int = 128,
        val_fraction: float | None = None,
        augment: Augmentation | None = None,
        **data: Any,
    ) -> None:
        val_fraction = 5000 / self.trainable if val_fraction is None else val_fraction
        super().__init__(batch_size=batch_size, val_fraction=val_fraction, augment=augment, **data)
        self.root, self.download = root, download

    def load(self) -> tuple[Tensor, Tensor]:
        name = type(self).__name__
        cls = getattr(datasets, name)
        try:
            train, test = (cls(self.root, train=part, download=self.download) for part in (True, False))
        except (RuntimeError, OSError) as error:
            how = f"downloading failed ({error})" if self.download else "--data.download true downloads it"
            raise ValueError(f"{name} is missing or incomplete in the folder data.root, {self.root!r}: {how}") from None
        self.own_test = len(test.data)
        images = torch.cat([torch.as_tensor(part.data) for part in (train, test)])
        images = images.permute(0, 3, 1, 2) if images.dim() == 4 else images[:, None]  # (N, C, H, W) uint8
        labels = torch.cat([torch.as_tensor(part.targets) for part in (train, test)])
        return images.float() / 255, labels


class MNIST(_TorchVision):
    """70,000 grey images (1, 28, 28) of handwritten digits (LeCun et al., 1998)."""

    classes = [str(digit) for digit in range(10)]


class FashionMNIST(_TorchVision):
    """70,000 grey images (1, 28, 28) of clothes in ten classes (Xiao et al., 2017)."""

    classes = datasets.FashionMNIST.classes


class CIFAR10(_TorchVision):
    """60,000 colour images (3, 32, 32) in ten classes (Krizhevsky, 2009)."""

    trainable = 50_000
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class CIFAR100(_TorchVision):
    """60,000 colour images (3, 32, 32) in a hundred classes, which are named by number (Krizhevsky, 2009)."""

    trainable = 50_000
    classes = [str(number) for number in range(100)]
