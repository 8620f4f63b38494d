"""A module built as that of ashleve/lightning-hydra-template (MIT): its arguments and hyper-parameters, its metrics."""

import torch
from lightning import LightningModule
from torchmetrics import MaxMetric, MeanMetric
from torchmetrics.classification.accuracy import Accuracy


class MNISTLitModule(LightningModule):
    def __init__(
        self,
        net: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler,
        compile: bool,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the network and two functions among them
        self.net = net
        self.accuracies = torch.nn.ModuleDict(
            {f"of_{stage}": Accuracy("multiclass", num_classes=10) for stage in STAGES}
        )
        self.losses = torch.nn.ModuleDict({f"of_{stage}": MeanMetric() for stage in STAGES})
        self.val_acc_best = MaxMetric()

    def forward(self, x):
        return self.net(x)

    def on_train_start(self):
        self.val_acc_best.reset()

    def model_step(self, stage, batch):
        x, y = batch
        logits = self.forward(x)
        loss = torch.nn.functional.cross_entropy(logits, y)
        for name, metric in (("loss", self.losses), ("acc", self.accuracies)):
            metric[f"of_{stage}"](*((loss,) if name == "loss" else (logits, y)))
            self.log(f"{stage}/{name}", metric[f"of_{stage}"], on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self.model_step("train", batch)

    def validation_step(self, batch, batch_idx):
        self.model_step("val", batch)

    def on_validation_epoch_end(self):
        self.val_acc_best(self.accuracies["of_val"].compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)

    def test_step(self, batch, batch_idx):
        self.model_step("test", batch)

    def setup(self, stage):
        if self.hparams.compile and stage == "fit":
            self.net = torch.compile(self.net)

    def configure_optimizers(self):
        optimizer = self.hparams.optimizer(params=self.trainer.model.parameters())
        if self.hparams.scheduler is None:
            return {"optimizer": optimizer}
        scheduler = self.hparams.scheduler(optimizer=optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}


STAGES = ("train", "val", "test")
