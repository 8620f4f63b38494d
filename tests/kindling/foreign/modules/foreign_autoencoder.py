"""A denoising autoencoder: noise in the step, a batch that is one tensor, no classes, no save_hyperparameters."""

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class Digits(Dataset):
    def __init__(self):
        self.images = torch.tensor(load_digits().data[:320], dtype=torch.float32) / 16

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


class DigitsDataModule(L.LightningDataModule):
    def __init__(self, batch_size: int = 32, num_workers: int = 0):
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers

    def setup(self, stage):
        generator = torch.Generator().manual_seed(0)
        self.train, self.val, self.test = random_split(Digits(), [224, 48, 48], generator)

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self):
        return DataLoader(self.val, self.batch_size, num_workers=self.num_workers)

    def test_dataloader(self):
        return DataLoader(self.test, self.batch_size, num_workers=self.num_workers)


class LitAutoEncoder(L.LightningModule):
    def __init__(self, hidden: int = 32, noise: float = 0.2):
        super().__init__()
        self.noise = noise
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 4))
        self.decoder = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 64))

    def forward(self, x):
        return self.encoder(x)

    def training_step(self, batch, batch_idx):
        noisy = batch + self.noise * torch.randn_like(batch)
        loss = F.mse_loss(self.decoder(self.encoder(noisy)), batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self._shared_eval(batch, "val")

    def test_step(self, batch, batch_idx):
        self._shared_eval(batch, "test")

    def _shared_eval(self, batch, prefix):
        loss = F.mse_loss(self.decoder(self.encoder(batch)), batch)
        self.log(f"{prefix}_loss", loss)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)
