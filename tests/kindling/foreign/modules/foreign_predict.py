"""An own predict_step with an own predict_dataloader: what it returns is what `predict` writes."""

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Signals(Dataset):
    """Noisy sines of unknown frequency, with a name each."""

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.frequencies = torch.rand(count, generator=generator) + 0.5
        time = torch.linspace(0, 6, 32)
        self.signals = torch.sin(self.frequencies[:, None] * time)
        self.signals = self.signals + 0.05 * torch.randn(count, 32, generator=generator)

    def __len__(self):
        return len(self.signals)

    def __getitem__(self, index):
        return {"name": f"signal_{index:03}", "signal": self.signals[index], "frequency": self.frequencies[index]}


class SignalsDataModule(L.LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(Signals(128, 1), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Signals(32, 2), batch_size=self.batch_size)

    def predict_dataloader(self):
        return DataLoader(Signals(24, 3), batch_size=self.batch_size)


class FrequencyNet(L.LightningModule):
    def __init__(self, hidden: int = 16):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(32, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, signal):
        return self.layers(signal).squeeze(1)

    def training_step(self, batch, batch_idx):
        return F.mse_loss(self(batch["signal"]), batch["frequency"])

    def validation_step(self, batch, batch_idx):
        self.log("val_rmse", F.mse_loss(self(batch["signal"]), batch["frequency"]).sqrt())

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return {"name": batch["name"], "frequency": self(batch["signal"])}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class TensorNet(FrequencyNet):
    """Predictions are a tensor, two numbers a sample."""

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        frequency = self(batch["signal"])
        return torch.stack([frequency, 1 / frequency], dim=1)
