"""A datamodule with the arguments of that of ashleve/lightning-hydra-template (MIT), on digits of scikit-learn."""

import torch
from lightning import LightningDataModule
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split


class MNISTDataModule(LightningDataModule):
    def __init__(
        self,
        data_dir: str = "data/",
        train_val_test_split: tuple[int, int, int] = (1_000, 397, 400),
        batch_size: int = 64,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.sets = None

    def setup(self, stage=None):
        if self.sets is None:
            images, labels = load_digits(return_X_y=True)
            images = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16
            images = torch.nn.functional.interpolate(images, 28)
            samples = TensorDataset(images, torch.from_numpy(labels))
            seeded = torch.Generator().manual_seed(42)
            self.sets = random_split(samples, self.hparams.train_val_test_split, generator=seeded)

    def loader(self, split, **how):
        return DataLoader(self.sets[split], batch_size=self.hparams.batch_size, **how)

    def train_dataloader(self):
        return self.loader(0, shuffle=True)

    def val_dataloader(self):
        return self.loader(1)

    def test_dataloader(self):
        return self.loader(2)
