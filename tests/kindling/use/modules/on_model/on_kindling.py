"""Models whose outputs are no classes and no numbers: what the commands must do right with, or refuse in a sentence."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from kindling import Data, Model, Task


class AutoEncoder(Model):
    """Images → images, with steps of its own, and the task that it is given without asking: Classification."""

    takes = ("images",)

    def __init__(self, **model: Any) -> None:
        super().__init__(**model)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[0])

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self.log("val/loss", F.mse_loss(self(batch[0]), batch[0]))

    def test_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self.log("test/loss", F.mse_loss(self(batch[0]), batch[0]))

    def on_validation_epoch_end(self) -> None:
        pass

    on_test_epoch_end = on_validation_epoch_end


class Reconstruction(Task):
    """The inputs themselves; scores are images again."""

    fits = "inputs"

    def targets_of(self, batch: Any) -> Tensor:
        return batch[0]

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    def scores(self, outputs: Tensor) -> Tensor:
        return outputs.clamp(-1, 2)


class ErrorOfReconstruction(Reconstruction):
    """Says of each sample the mean of its scores."""

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        return {"brightness": scores.flatten(1).mean(dim=1).numpy()}


class Crooked(Reconstruction):
    """Says more of the samples than there are samples."""

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        return {"pixel": scores.flatten().numpy()}


class ByTask(AutoEncoder):
    """The same network, trained and measured by its task."""

    training_step = Model.training_step
    validation_step = Model.validation_step  # type: ignore[assignment]
    test_step = Model.test_step  # type: ignore[assignment]
    on_validation_epoch_end = Model.on_validation_epoch_end
    on_test_epoch_end = Model.on_test_epoch_end  # type: ignore[assignment]


class GAN(Model):
    """Two networks, two optimisers, and nothing that its task could measure."""

    takes = ("images",)

    def __init__(self, **model: Any) -> None:
        super().__init__(**model)
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8)))
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.generator(torch.zeros(len(images), 4))

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        of_generator, of_discriminator = self.optimizers()  # type: ignore[attr-defined]
        fake = self.generator(torch.randn(len(batch[0]), 4))
        loss = -self.discriminator(fake).mean()
        of_generator.zero_grad()
        self.manual_backward(loss)
        of_generator.step()
        loss = self.discriminator(fake.detach()).mean() - self.discriminator(batch[0]).mean()
        of_discriminator.zero_grad()
        self.manual_backward(loss)
        of_discriminator.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self.log("val/loss", self.discriminator(batch[0]).mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        pass

    def on_validation_epoch_end(self) -> None:
        pass

    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(each.parameters(), lr=0.01) for each in (self.generator, self.discriminator)], []


class Sampling(GAN):
    """Says itself what to predict: an image for each one that it is shown."""

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0])


class Scenes(Data):
    """Images and a mask for each, of background and square."""

    classes = ["background", "square"]

    def load(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        masks = torch.zeros(80, 8, 8).long()
        for mask, (row, column) in zip(masks, torch.randint(5, (80, 2), generator=generator).tolist(), strict=True):
            mask[row : row + 3, column : column + 3] = 1
        return masks[:, None] + 0.1 * torch.randn(80, 1, 8, 8, generator=generator), masks


class Masks(Task):
    """A class for each pixel."""

    fits = "masks"

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def scores(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(dim=1)

    def decode(self, scores: Tensor) -> Tensor:
        return scores.argmax(dim=1)


class MasksInWords(Masks):
    """Says how much of a scene is what."""

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        return {
            f"share_{name}": each.flatten(1).mean(dim=1).numpy()
            for name, each in zip(names, scores.unbind(1), strict=True)
        }

    def target_columns(self, targets: Tensor, names: list[str]) -> dict[str, Any]:
        return {
            f"true_{name}": (targets == index).flatten(1).float().mean(dim=1).numpy()
            for index, name in enumerate(names)
        }


class Segmentation(Model):
    """A class for each pixel: (B, 1, H, W) → (B, K, H, W)."""

    takes = ("images",)

    def __init__(self, **model: Any) -> None:
        super().__init__(**model)
        self.net = nn.Conv2d(1, self.num_outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


class Pairs(Data):
    """An image and a row of a table a sample."""

    classes = ["even", "odd"]

    def load(self) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(80) % 2
        return (
            torch.randn(80, 1, 4, 4, generator=generator),
            torch.randn(80, 3, generator=generator) + labels[:, None],
            labels,
        )


class ImageAndRow(Model):
    """Looks at an image and at a row of a table."""

    takes = ("images",)

    def __init__(self, **model: Any) -> None:
        super().__init__(**model)
        self.head = nn.Linear(16 + 3, self.num_outputs)

    def forward(self, images: Tensor, rows: Tensor) -> Tensor:
        return self.head(torch.cat([images.flatten(1), rows], dim=1))


class FromDict(Masks):
    """Masks of batches that are dicts."""

    def inputs_of(self, batch: Any) -> Any:
        return batch["image"]

    def targets_of(self, batch: Any) -> Any:
        return batch["mask"]

    def columns(self, scores: Tensor, names: list[str]) -> dict[str, Any]:
        return {"square": scores[:, 1].flatten(1).mean(dim=1).numpy()}


class DictScenes(L.LightningDataModule):
    """Scenes in dicts, by a data module that knows nothing of Kindling but what the model asks of it."""

    classes = ["background", "square"]
    input_shape = (1, 8, 8)

    def loader(self, first: int, last: int) -> Any:
        images, masks = Scenes().load()
        samples = [{"image": images[row], "mask": masks[row]} for row in range(first, last)]
        return DataLoader(samples, batch_size=8)  # type: ignore[arg-type]

    def train_dataloader(self) -> Any:
        return self.loader(0, 50)

    def val_dataloader(self) -> Any:
        return self.loader(50, 65)

    def test_dataloader(self) -> Any:
        return self.loader(65, 80)
