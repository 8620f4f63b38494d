"""What checkpoints don't expect: a Python object among the hyper-parameters, extra state, layers built in setup."""

from dataclasses import dataclass

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


@dataclass
class Scaler:
    """Brings inputs to about 1."""

    factor: float = 0.01

    def __call__(self, x):
        return x * self.factor


class Wines(L.LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        wines = load_wine()
        dataset = TensorDataset(torch.tensor(wines.data, dtype=torch.float32), torch.tensor(wines.target))
        generator = torch.Generator().manual_seed(0)
        self.train_set, self.val_set, self.test_set = random_split(dataset, [112, 33, 33], generator)
        self.num_features = wines.data.shape[1]

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.test_set, batch_size=self.batch_size)


class ObjectNet(L.LightningModule):
    """Python objects are defaults, and so hyper-parameters."""

    def __init__(self, scaler=Scaler(), activation: nn.Module = nn.Tanh(), lr: float = 1e-2):  # noqa: B008
        super().__init__()
        self.save_hyperparameters()
        self.scaler = scaler
        self.layers = nn.Sequential(nn.Linear(13, 16), activation, nn.Dropout(0.1), nn.Linear(16, 3))

    def forward(self, x):
        return self.layers(self.scaler(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self(x), y))

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Inheritor(ObjectNet):
    """Has no arguments of its own, and uses its parent's hyper-parameters."""

    def __init__(self):
        super().__init__(lr=0.02)


class HandmadeHyperparameters(ObjectNet):
    """An object that no command line has seen is among the hyper-parameters."""

    def __init__(self, lr: float = 1e-2):
        super().__init__(lr=lr)
        self.save_hyperparameters({"widths": range(13, 16)})


class LateNet(L.LightningModule):
    """Its layers depend on the data and are built in setup; it keeps extra state, and leaves weights out of it."""

    def __init__(self, hidden: int = 16):
        super().__init__()
        self.save_hyperparameters()
        self.strict_loading = False
        self.seen = 0

    def setup(self, stage):
        if hasattr(self, "layers"):
            return
        features = self.trainer.datamodule.num_features
        self.frozen = nn.Linear(features, features).requires_grad_(False)
        nn.init.eye_(self.frozen.weight)
        nn.init.zeros_(self.frozen.bias)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(features),
            nn.Linear(features, self.hparams.hidden),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(self.hparams.hidden, 3),
        )

    def forward(self, x):
        return self.layers(self.frozen(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen += len(x)
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.cross_entropy(self(x), y))
        self.log("samples_seen", float(self.seen))

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.layers.parameters(), lr=1e-2)

    def get_extra_state(self):
        return {"seen": self.seen}

    def set_extra_state(self, state):
        self.seen = state["seen"]

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if "frozen" not in name}
