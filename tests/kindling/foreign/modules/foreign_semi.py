"""Two training loaders at once, batches that are objects, a weighted sampler, a teacher, and hooks of many kinds."""

import copy

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


class Batch:
    """What the loaders yield: no tensor, no tuple, no dict."""

    def __init__(self, samples):
        images, labels = zip(*samples, strict=True)
        self.images, self.labels = torch.stack(images), torch.stack(labels)
        self.images = self.images + 0.05 * torch.randn_like(self.images)

    def __len__(self):
        return len(self.images)

    def to(self, device, **kwargs):
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        return self


class FewLabels(L.LightningDataModule):
    def __init__(self, batch_size: int = 16):
        super().__init__()
        self.batch_size = batch_size

    def prepare_data(self):
        load_digits()

    def setup(self, stage):
        digits = load_digits()
        images = torch.tensor(digits.data[:400], dtype=torch.float32) / 16
        self.dataset = TensorDataset(images, torch.tensor(digits.target[:400]))

    def part(self, first, last):
        return TensorDataset(*self.dataset[first:last])

    def train_dataloader(self):
        labelled, unlabelled = self.part(0, 64), self.part(64, 256)
        sampler = WeightedRandomSampler(1.0 + labelled.tensors[1], num_samples=64)
        return {
            "labelled": DataLoader(labelled, batch_size=self.batch_size, sampler=sampler, collate_fn=Batch),
            "unlabelled": DataLoader(unlabelled, batch_size=self.batch_size, shuffle=True, collate_fn=Batch),
        }

    def val_dataloader(self):
        return DataLoader(self.part(256, 328), batch_size=self.batch_size, collate_fn=Batch)

    def test_dataloader(self):
        return DataLoader(self.part(328, 400), batch_size=self.batch_size, collate_fn=Batch)


class MeanTeacher(L.LightningModule):
    def __init__(self, hidden: int = 32, lr: float = 0.05, decay: float = 0.9):
        super().__init__()
        self.save_hyperparameters()
        self.student = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 10))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.confusions = []

    def forward(self, images):
        return self.teacher(images)

    def training_step(self, batch, batch_idx):
        labelled, unlabelled = batch["labelled"], batch["unlabelled"]
        if batch_idx == 2:
            return None  # nothing to learn from this one
        loss = F.cross_entropy(self.student(labelled.images), labelled.labels)
        consistency = F.mse_loss(self.student(unlabelled.images).softmax(1), self.teacher(unlabelled.images).softmax(1))
        self.log("consistency", consistency, on_step=False, on_epoch=True, reduce_fx="max", batch_size=len(unlabelled))
        self.log_dict({"supervised": loss, "total": loss + consistency}, batch_size=len(labelled))
        return {"loss": loss + consistency, "confidence": consistency.detach()}

    def on_train_batch_end(self, outputs, batch, batch_idx):
        for mean, weight in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(weight.detach(), 1 - self.hparams.decay)

    def validation_step(self, batch, batch_idx):
        logits = self(batch.images)
        self.confusions.append((logits.argmax(1) == batch.labels).float())
        return F.cross_entropy(logits, batch.labels)

    def on_validation_epoch_end(self):
        accuracy = torch.cat(self.confusions).mean()
        self.confusions.clear()
        self.log("val_accuracy", accuracy, prog_bar=True)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", F.cross_entropy(self(batch.images), batch.labels), batch_size=len(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.student.parameters(), lr=self.hparams.lr, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.8**epoch)
        return [optimizer], [{"scheduler": scheduler, "interval": "epoch"}]

    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val, gradient_clip_algorithm):
        self.clip_gradients(optimizer, gradient_clip_val=1.0, gradient_clip_algorithm="norm")

    def on_save_checkpoint(self, checkpoint):
        checkpoint["seen_labels"] = list(range(10))

    def on_load_checkpoint(self, checkpoint):
        self.seen_labels = checkpoint["seen_labels"]
