"""A torchvision backbone, frozen at first and thawed by a BaseFinetuning callback; steps of the learning rate."""

import lightning as L
import torch
import torch.nn.functional as F
import torchvision
from lightning.pytorch.callbacks import BaseFinetuning
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchmetrics import Accuracy
from torchvision.transforms import v2


class ThawAt(BaseFinetuning):
    def __init__(self, epoch: int = 1, train_bn: bool = False):
        super().__init__()
        self.epoch = epoch
        self.train_bn = train_bn

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.feature_extractor, train_bn=self.train_bn)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == self.epoch:
            self.unfreeze_and_add_param_group(
                pl_module.feature_extractor[-2:], optimizer=optimizer, initial_denom_lr=10, train_bn=self.train_bn
            )


class Digits(Dataset):
    def __init__(self, transform):
        digits = load_digits()
        images = torch.tensor(digits.images[:96], dtype=torch.float32).unsqueeze(1) / 16
        self.images = F.interpolate(images, size=32).repeat(1, 3, 1, 1)
        self.labels = digits.target[:96]
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.labels[index]


class DigitsDataModule(L.LightningDataModule):
    train_transform = v2.Compose([v2.RandomCrop(28), v2.RandomHorizontalFlip()])
    val_transform = v2.CenterCrop(28)

    def __init__(self, batch_size: int = 16, num_workers: int = 0):
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers

    def loader(self, rows, transform, shuffle=False):
        dataset = Subset(Digits(transform), rows)
        return DataLoader(dataset, self.batch_size, shuffle=shuffle, num_workers=self.num_workers)

    def train_dataloader(self):
        return self.loader(range(64), self.train_transform, shuffle=True)

    def val_dataloader(self):
        return self.loader(range(64, 80), self.val_transform)

    def test_dataloader(self):
        return self.loader(range(80, 96), self.val_transform)


class TransferLearningModel(L.LightningModule):
    def __init__(self, backbone: str = "shufflenet_v2_x0_5", milestones: tuple = (2, 4), lr: float = 1e-2, **kwargs):
        super().__init__()
        self.save_hyperparameters()
        network = torchvision.models.get_model(backbone, weights=None)
        self.feature_extractor = nn.Sequential(*list(network.children())[:-1])
        self.fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(network.fc.in_features, 10))
        self.loss_func = F.cross_entropy
        self.train_acc = Accuracy(task="multiclass", num_classes=10)
        self.valid_acc = Accuracy(task="multiclass", num_classes=10)

    def forward(self, x):
        return self.fc(self.feature_extractor(x).mean([2, 3]))

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("train_acc", self.train_acc(logits, y), prog_bar=True)
        return self.loss_func(logits, y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", self.loss_func(logits, y), prog_bar=True)
        self.log("val_acc", self.valid_acc(logits, y), prog_bar=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", self.loss_func(self(x), y))

    def configure_optimizers(self):
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trainable, lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=self.hparams.milestones, gamma=0.1)
        return [optimizer], [scheduler]
