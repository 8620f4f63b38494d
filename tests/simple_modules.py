"""Plain LightningModules and their data, as somebody writes them who does not know Kindling."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader, Dataset, IterableDataset

QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


class Points(Dataset):
    """Vectors (4,) and numbers (1,), from a seed."""

    def __init__(self, size: int = 40) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(size, 4, generator=generator)
        self.targets = self.inputs.sum(dim=1, keepdim=True)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]


class Stream(IterableDataset):
    """The same, one after the other, and nobody knows how many."""

    def __init__(self, size: int = 40) -> None:
        self.points = Points(size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self.points[index] for index in range(len(self.points)))


def loader(data: Dataset | None = None, batch_size: int = 4) -> DataLoader:
    return DataLoader(data or Points(), batch_size=batch_size)


class Plain(L.LightningModule):
    """A network with one layer; ten batches an epoch with the default loader."""

    def __init__(self, rate: float = 0.01) -> None:
        super().__init__()
        self.rate = rate
        torch.manual_seed(0)
        self.net = nn.Linear(4, 1)

    def loss(self, batch: Any) -> Tensor:
        inputs, targets = batch
        return nn.functional.mse_loss(self.net(inputs), targets)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=self.rate)


class Validated(Plain):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


class Gan(L.LightningModule):
    """Two networks, each with an optimiser of its own, and steps that the module takes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.generator, self.discriminator = nn.Linear(4, 1), nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        inputs, real = batch
        first, second = self.optimizers()
        for optimizer, loss in (
            (first, lambda: -self.discriminator(self.generator(inputs)).mean()),
            (second, lambda: self.discriminator(self.generator(inputs)).mean() - self.discriminator(real).mean()),
        ):
            value = loss()
            optimizer.zero_grad()
            self.manual_backward(value)
            optimizer.step()
            self.log("loss_of_" + ("generator" if optimizer is first else "discriminator"), value)

    def configure_optimizers(self) -> Any:
        return [Adam(self.generator.parameters(), lr=0.01), Adam(self.discriminator.parameters(), lr=0.01)]
