"""A stream of data without a length, and a schedule that spans the run: it has to know how many steps there are."""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Stream(IterableDataset):
    """Points on a noisy line, for ever or so many."""

    def __init__(self, count=None):
        self.count = count

    def __iter__(self):
        index = 0
        while self.count is None or index < self.count:
            x = torch.randn(4)
            yield x, x.sum() + 0.1 * torch.randn(())
            index += 1


class StreamDataModule(L.LightningDataModule):
    def __init__(self, batch_size: int = 8, count: int = 160):
        super().__init__()
        self.batch_size, self.count = batch_size, count

    def train_dataloader(self):
        return DataLoader(Stream(self.count), batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(Stream(32), batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(Stream(32), batch_size=self.batch_size)


class EndlessDataModule(StreamDataModule):
    def train_dataloader(self):
        return DataLoader(Stream(), batch_size=self.batch_size)


class StreamNet(L.LightningModule):
    def __init__(self, lr: float = 0.05):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        return self.layer(self.dropout(x)).squeeze(1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.mse_loss(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.mse_loss(self(x), y))

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", F.mse_loss(self(x), y))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        steps = self.trainer.estimated_stepping_batches
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.hparams.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class CosineNet(StreamNet):
    """With this schedule torch takes an infinite length without a word, and the learning rate never falls."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
