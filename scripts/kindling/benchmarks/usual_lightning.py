"""Lightning as popular templates write it: metrics and logs at every step, samples transformed one by one."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader, random_split
from torchmetrics import MeanMetric
from torchmetrics.classification import Accuracy
from torchvision import transforms
from torchvision.datasets import FashionMNIST


class UsualModule(L.LightningModule):
    """Loss and accuracy are logged at every step, and for the epoch."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.train_acc, self.val_acc = (Accuracy(task="multiclass", num_classes=10) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def model_step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, y = batch
        logits = self(x)
        return F.cross_entropy(logits, y), torch.argmax(logits, dim=1), y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, preds, targets = self.model_step(batch)
        self.train_acc(preds, targets)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, preds, targets = self.model_step(batch)
        self.val_acc(preds, targets)
        self.log("val/loss", loss, prog_bar=True)
        self.log("val/acc", self.val_acc, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class UsualImageModule(UsualModule):
    """As in lightning-hydra-template's MNIST example: the loss is a metric too, and both are logged for the epoch."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.train_loss = MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, preds, targets = self.model_step(batch)
        self.train_loss(loss)
        self.train_acc(preds, targets)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss


class UsualImageData(L.LightningDataModule):
    """As there, on Fashion-MNIST: each image is decoded, made a tensor and normalised when a batch asks for it."""

    def __init__(self, root: str, batch_size: int = 128) -> None:
        super().__init__()
        self.root, self.batch_size = root, batch_size
        self.transforms = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    def setup(self, stage: str) -> None:
        parts = [FashionMNIST(self.root, train, transform=self.transforms) for train in (True, False)]
        generator = torch.Generator().manual_seed(42)
        whole: Any = ConcatDataset(parts)
        self.train, self.val, _ = random_split(whole, [55 / 70, 5 / 70, 10 / 70], generator)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, batch_size=self.batch_size)
