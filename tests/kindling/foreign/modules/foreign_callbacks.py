"""A module that brings its own callbacks, one of which writes a last.ckpt of its own."""

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from sklearn.datasets import load_iris
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Flowers(L.LightningDataModule):
    classes = 3  # a number, where Kindling's own data has a list of names

    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        flowers = load_iris()
        dataset = TensorDataset(torch.tensor(flowers.data, dtype=torch.float32), torch.tensor(flowers.target))
        generator = torch.Generator().manual_seed(0)
        self.train_set, self.val_set, self.test_set = random_split(dataset, [96, 27, 27], generator)

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test_set, batch_size=self.batch_size)


class OwnCallbacks(L.LightningModule):
    def __init__(self, classes: int = 3, lr: float = 0.05, patience: int = 50):
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, classes))

    def forward(self, x):
        return self.layers(x)

    def configure_callbacks(self):
        return [
            EarlyStopping(monitor="val_acc", mode="max", patience=self.hparams.patience),
            ModelCheckpoint(monitor="val_acc", mode="max", save_last=True),
            LearningRateMonitor(logging_interval="step"),
        ]

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log_dict({"val_loss": F.cross_entropy(logits, y), "val_acc": (logits.argmax(1) == y).float().mean()})

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
