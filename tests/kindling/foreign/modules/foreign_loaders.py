"""Loaders in unusual places: two for the validation, the module's own, and (image, row) pairs."""

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


def patients(first, last):
    data = load_diabetes()
    x = torch.tensor(data.data[first:last], dtype=torch.float32)
    y = torch.tensor(data.target[first:last], dtype=torch.float32) / 100
    return TensorDataset(x, y)


class TwoHospitals(L.LightningDataModule):
    def __init__(self, bs: int):
        super().__init__()
        self.bs = bs

    def train_dataloader(self):
        return DataLoader(patients(0, 240), batch_size=self.bs, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return [DataLoader(patients(240, 300), batch_size=self.bs), DataLoader(patients(300, 340), batch_size=self.bs)]

    def test_dataloader(self):
        return {
            "here": DataLoader(patients(340, 400), batch_size=self.bs),
            "there": DataLoader(patients(400, 442), batch_size=self.bs),
        }


class TwoLoaders(L.LightningModule):
    def __init__(self, hidden=16, dropout=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))

    def forward(self, x):
        return self.layers(x).squeeze(1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.mse_loss(self(x), y)
        self.log("train_loss", loss)
        return {"loss": loss, "residuals": (self(x) - y).detach()}

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        self.log("val_loss", F.mse_loss(self(x), y))

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        self.log("test_mae", (self(x) - y).abs().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1e-2, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class OwnLoaders(L.LightningModule):
    """All in one, without a datamodule and without a test."""

    def __init__(self, hidden: int = 16, batch_size: int = 24):
        super().__init__()
        self.batch_size = batch_size
        self.layers = nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, 1))

    def forward(self, x):
        return self.layers(x).squeeze(1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.l1_loss(self(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_mae", F.l1_loss(self(x), y), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)

    def setup(self, stage):
        self.train_set, self.val_set = patients(0, 240), patients(240, 442)

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=self.batch_size)


class Pairs(Dataset):
    """An image, a row of a table, and a number that depends on both."""

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(count, 1, 8, 8, generator=generator)
        self.rows = torch.randn(count, 3, generator=generator)
        self.targets = self.images.mean([1, 2, 3]) * 8 + self.rows[:, 0]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.images[index] + 0.1 * torch.randn(1, 8, 8), self.rows[index], self.targets[index]


class PairsDataModule(L.LightningDataModule):
    def __init__(self, batch_size: int = 16, workers: int = 0):
        super().__init__()
        self.batch_size, self.workers = batch_size, workers

    def train_dataloader(self):
        return DataLoader(Pairs(128, 1), batch_size=self.batch_size, shuffle=True, num_workers=self.workers)

    def val_dataloader(self):
        return DataLoader(Pairs(32, 2), batch_size=self.batch_size, num_workers=self.workers)

    def test_dataloader(self):
        return DataLoader(Pairs(32, 3), batch_size=self.batch_size, num_workers=self.workers)


class PairNet(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(4 * 36 + 3, 1))

    def forward(self, image, row):
        return self.head(torch.cat([self.convolution(image), row], dim=1)).squeeze(1)

    def training_step(self, batch, batch_idx):
        image, row, target = batch
        return F.mse_loss(self(image, row), target)

    def validation_step(self, batch, batch_idx):
        image, row, target = batch
        loss = F.mse_loss(self(image, row), target)
        self.log("val/loss", loss)
        return loss

    def test_step(self, batch, batch_idx):
        image, row, target = batch
        self.log("test/loss", F.mse_loss(self(image, row), target))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)
