"""Semantic segmentation: batches are dicts, the data set augments at random, torchmetrics, a plateau schedule."""

import random

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import BinaryJaccardIndex


class Shapes(Dataset):
    """Bright rectangles on noise, and where they are."""

    def __init__(self, count, seed, augment=False):
        generator = torch.Generator().manual_seed(seed)
        self.augment = augment
        self.masks = torch.zeros(count, 16, 16)
        for mask in self.masks:
            top, left = torch.randint(0, 10, (2,), generator=generator).tolist()
            mask[top : top + 6, left : left + 6] = 1
        self.images = self.masks.unsqueeze(1).repeat(1, 3, 1, 1) + torch.randn(count, 3, 16, 16, generator=generator)

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        image, mask = self.images[index], self.masks[index]
        if self.augment:
            if random.random() < 0.5:
                image, mask = image.flip(-1), mask.flip(-1)
            image = image + 0.1 * torch.randn_like(image)
        return {"image": image, "mask": mask}


class ShapesDataModule(L.LightningDataModule):
    def __init__(self, batch_size: int = 8, num_workers: int = 0):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        self.train_set, self.val_set, self.test_set = Shapes(64, 1, augment=True), Shapes(16, 2), Shapes(16, 3)

    def train_dataloader(self):
        return self.loader(self.train_set, shuffle=True)

    def val_dataloader(self):
        return self.loader(self.val_set)

    def test_dataloader(self):
        return self.loader(self.test_set)

    def loader(self, dataset, shuffle=False):
        return DataLoader(
            dataset, batch_size=self.hparams.batch_size, num_workers=self.hparams.num_workers, shuffle=shuffle
        )


class SegmentationNet(L.LightningModule):
    def __init__(self, features: int = 8, lr: float = 1e-2, dropout: float = 0.1):
        super().__init__()
        self.save_hyperparameters()
        self.down = nn.Sequential(nn.Conv2d(3, features, 3, padding=1), nn.BatchNorm2d(features), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(features, features, 3, padding=1), nn.ReLU())
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.head = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(2 * features, 1, 1))
        self.train_iou, self.val_iou, self.test_iou = BinaryJaccardIndex(), BinaryJaccardIndex(), BinaryJaccardIndex()

    def forward(self, image):
        skip = self.down(image)
        return self.head(torch.cat([skip, self.up(self.bottom(skip))], dim=1)).squeeze(1)

    def step(self, batch, stage, metric):
        logits = self(batch["image"])
        loss = F.binary_cross_entropy_with_logits(logits, batch["mask"])
        metric(logits, batch["mask"].int())
        self.log(f"{stage}_loss", loss, on_step=stage == "train", on_epoch=True, prog_bar=True)
        self.log(f"{stage}_iou", metric, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train", self.train_iou)

    def validation_step(self, batch, batch_idx):
        return self.step(batch, "val", self.val_iou)

    def test_step(self, batch, batch_idx):
        return self.step(batch, "test", self.test_iou)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}
