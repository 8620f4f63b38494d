"""Modules and loaders without a line of Kindling go on after an accident as if there had been none."""

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)

from kindling import Trainer
from kindling.train.callbacks.checkpoint import Checkpoint

IMAGES = torch.randn(22, 1, 4, 4, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(22, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(22) % 3
MASKS = (IMAGES > 0).float()


class Accident(Exception):
    """Nothing is prepared for it, and nothing is saved."""


class Fall(L.Callback):
    """Falls before a batch, counted over all epochs from 1; keeps what came before it."""

    def __init__(self, batch: int | None) -> None:
        self.batch, self.seen = batch, list[tuple[int, int, float]]()

    def on_train_batch_start(self, trainer: Any, model: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append((trainer.current_epoch, batch_idx, fingerprint(batch)))
        if len(self.seen) == self.batch:
            raise Accident


def fingerprint(batch: Any) -> float:
    """One number for a nesting of tensors."""
    if isinstance(batch, Tensor):
        return float((batch.double().flatten() * torch.arange(1, batch.numel() + 1)).sum())
    parts = batch.values() if isinstance(batch, dict) else batch or ()
    return sum((number + 1) * fingerprint(part) for number, part in enumerate(parts))


class Plain(L.LightningModule):
    """A classifier as Lightning's documentation writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss_of(batch)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=4)
        return loss

    def loss_of(self, batch: Any) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self) -> Any:
        return Adam(self.parameters(), lr=0.01)


class Autoencoder(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Dropout(0.2), nn.Linear(4, 16))

    def loss_of(self, batch: Any) -> Tensor:
        return F.mse_loss(self.net(batch), batch.flatten(1))


class FromDicts(Plain):
    def loss_of(self, batch: Any) -> Tensor:
        return F.cross_entropy(self.net(batch["image"]), batch["label"])


class Segmentation(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 1))

    def loss_of(self, batch: Any) -> Tensor:
        images, masks = batch
        return F.binary_cross_entropy_with_logits(self.net(images), masks)


class Pairs(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(19, 3))

    def loss_of(self, batch: Any) -> Tensor:
        (images, rows), labels = batch
        return F.cross_entropy(self.net(torch.cat([images.flatten(1), rows], dim=1)), labels)


class Combined(Plain):
    def loss_of(self, batch: Any) -> Tensor:
        images, labels = batch["labelled"]
        return F.cross_entropy(self.net(images), labels) + self.net(batch["unlabelled"]).square().mean()


class GAN(L.LightningModule):
    """Manual optimisation of two networks, as in Lightning's examples; the generator's gradients are accumulated."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = nn.Linear(3, 16), nn.Linear(16, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for_generator, for_discriminator = self.optimizers()
        images, ones = batch[0].flatten(1), torch.ones(len(batch[0]), 1)
        made = self.generator(torch.randn(len(images), 3))
        loss = F.binary_cross_entropy_with_logits(self.discriminator(made), ones)
        self.manual_backward(loss)
        if batch_idx % 2:
            for_generator.step()
            for_generator.zero_grad()
        for_discriminator.zero_grad()
        is_real = F.binary_cross_entropy_with_logits(self.discriminator(images), ones)
        is_made = F.binary_cross_entropy_with_logits(self.discriminator(made.detach()), 1 - ones)
        self.manual_backward(is_real + is_made)
        for_discriminator.step()
        self.log_dict({"loss": loss, "discriminator": is_real}, on_step=False, on_epoch=True, batch_size=4)

    def configure_optimizers(self) -> Any:
        return SGD(self.generator.parameters(), lr=0.1, momentum=0.9), Adam(self.discriminator.parameters(), lr=0.01)


class Scheduled(Plain):
    """Its schedule spans the run, whose length it asks for when Lightning's documentation does."""

    def configure_optimizers(self) -> Any:
        steps = self.trainer.estimated_stepping_batches
        optimizer = SGD(self.parameters(), lr=0.1)
        schedule = LambdaLR(optimizer, lambda step: 1 - step / (steps + 1))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Noisy(Dataset):
    """Images that change at random, by every generator there is."""

    def __init__(self, images: Tensor = IMAGES) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        noise = torch.randn(1) + np.random.rand() + random.random()
        return self.images[index] + 0.1 * noise.float()


class Samples(Dataset):
    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> Any:
        return {"image": IMAGES[index], "label": int(LABELS[index])}


def noisy_collate(samples: list[Any]) -> dict[str, Tensor]:
    images = torch.stack([sample["image"] for sample in samples])
    labels = torch.tensor([sample["label"] for sample in samples])
    return {"image": images + 0.1 * torch.randn_like(images) * np.random.normal(), "label": labels}


class Stream(IterableDataset):
    """A shuffled stream of samples without a length; each worker takes its share."""

    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info()
        share = slice(worker.id if worker else 0, None, worker.num_workers if worker else 1)
        order = torch.randperm(len(IMAGES)).tolist()
        for index in order[share]:
            yield IMAGES[index] + 0.1 * torch.randn(()), LABELS[index]


class Lazy(Sampler):
    """A sampler that draws each index when it is asked, and one that is not torch's."""

    def __iter__(self) -> Iterator[int]:
        for _ in range(len(self)):
            yield random.randrange(len(IMAGES))

    def __len__(self) -> int:
        return len(IMAGES)


class Stateful:
    """A loader whose order goes on from epoch to epoch: nothing but its state makes a resume exact."""

    def __init__(self) -> None:
        self.order, self.next, self.epochs = list(range(22)), 5, 0

    def __iter__(self) -> Iterator[Any]:
        if self.next == 5:
            self.next, self.epochs = 0, self.epochs + 1
            self.order = [self.order[(3 * place + self.epochs) % 22] for place in range(22)]
        while self.next < 5:
            indices = self.order[4 * self.next : 4 * self.next + 4]
            self.next += 1
            yield IMAGES[indices] + 0.1 * torch.randn(()), LABELS[indices]

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Sized(Stateful):
    def __len__(self) -> int:
        return 5


class EndsFirst(Sized):
    """Of the kind that starts where its state says, and from the next `iter` on at the beginning: LitData is one."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = False

    def __iter__(self) -> Iterator[Any]:
        self.next = self.next if self.goes_on else 5
        if not (self.goes_on and self.next == 5):
            yield from super().__iter__()
        self.goes_on = False

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order, "next": self.next, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.goes_on = True


class Unloadable(Sized):
    """Its state holds what no checkpoint can."""

    def state_dict(self) -> dict[str, Any]:
        return {**vars(self), "place": Path()}


def classified(**options: Any) -> DataLoader:
    return DataLoader(TensorDataset(IMAGES, LABELS), **{"batch_size": 4, **options})


def torchdata(dataset: Any, **options: Any) -> Any:
    module = pytest.importorskip("torchdata.stateful_dataloader")
    return module.StatefulDataLoader(dataset, batch_size=4, **options)


def combined() -> dict[str, Any]:
    short = DataLoader(Noisy(), batch_size=8, shuffle=True)  # three batches, which are gone through again
    return {"labelled": classified(shuffle=True), "unlabelled": short}


def shuffled_by(sampler: Any) -> DataLoader:
    return classified(sampler=sampler)


def weighted() -> DataLoader:
    return shuffled_by(WeightedRandomSampler(torch.arange(1.0, 23.0).tolist(), 22))


CASES: dict[str, tuple[type[L.LightningModule], Callable[[], Any]]] = {
    "in order": (Plain, classified),
    "shuffled": (Plain, lambda: classified(shuffle=True)),
    "own generator": (Plain, lambda: classified(shuffle=True, generator=torch.Generator().manual_seed(5))),
    "without a last batch": (Plain, lambda: classified(shuffle=True, drop_last=True)),
    "weighted": (Plain, weighted),
    "with replacement": (Plain, lambda: shuffled_by(RandomSampler(IMAGES, replacement=True, num_samples=18))),
    "distributed": (Plain, lambda: shuffled_by(DistributedSampler(IMAGES, num_replicas=1, rank=0))),
    "batch sampler": (Plain, lambda: DataLoader(TensorDataset(IMAGES, LABELS), batch_sampler=BatchSampler(Lazy(), 4, True))),
    "batches as they are": (Autoencoder, lambda: DataLoader(Noisy(IMAGES.view(11, 2, 1, 4, 4)), batch_size=None, shuffle=True)),
    "lists": (Plain, lambda: Batches()),
    "GAN": (GAN, lambda: classified(shuffle=True)),
    "autoencoder": (Autoencoder, lambda: DataLoader(Noisy(), 4, shuffle=True)),
    "autoencoder, workers": (Autoencoder, lambda: DataLoader(Noisy(), 4, shuffle=True, num_workers=2)),
    "autoencoder, persistent workers": (Autoencoder, lambda: DataLoader(Noisy(), 4, shuffle=True, num_workers=1, persistent_workers=True)),
    "dicts": (FromDicts, lambda: DataLoader(Samples(), 4, shuffle=True, collate_fn=noisy_collate)),
    "dicts, workers": (FromDicts, lambda: DataLoader(Samples(), 4, shuffle=True, collate_fn=noisy_collate, num_workers=2)),
    "stream": (Plain, lambda: DataLoader(Stream(), 4)),
    "stream, workers": (Plain, lambda: DataLoader(Stream(), 4, num_workers=2)),
    "masks": (Segmentation, lambda: DataLoader(TensorDataset(IMAGES, MASKS), 4, shuffle=True)),
    "pairs": (Pairs, lambda: DataLoader([((IMAGES[i], ROWS[i]), LABELS[i]) for i in range(22)], 4, shuffle=True)),
    "combined": (Combined, combined),
    "combined, the shortest": (Combined, lambda: CombinedLoader(combined(), "min_size")),
    "stateful": (Plain, Sized),
    "stateful, ends first": (Plain, EndsFirst),
    "stateful, without a length": (Plain, Stateful),
    "scheduled": (Scheduled, lambda: classified(shuffle=True)),
    "scheduled, workers": (Scheduled, lambda: classified(shuffle=True, num_workers=1)),
    "scheduled, stateful": (Scheduled, Sized),
    "scheduled stream": (Scheduled, lambda: DataLoader(Stream(), 4)),
    "scheduled, stateful, without a length": (Scheduled, Stateful),
    "torchdata": (FromDicts, lambda: torchdata(Samples(), shuffle=True, collate_fn=noisy_collate)),
    "torchdata, workers": (FromDicts, lambda: torchdata(Samples(), shuffle=True, num_workers=2)),
    "torchdata, stream": (Plain, lambda: torchdata(Stream())),
}  # fmt: skip


# Streams of which nobody knows how many batches they have; one of them asks for its length.
SETTINGS: dict[str, dict[str, Any]] = {
    "scheduled stream": {"max_epochs": -1, "max_steps": 11},
    "scheduled, stateful, without a length": {"max_epochs": 2, "max_steps": 9},
    "combined, the shortest": {"max_epochs": 4},
}


class Batches:
    """Any iterable."""

    def __iter__(self) -> Iterator[Any]:
        for _ in range(5):
            indices = random.sample(range(22), 4)
            yield IMAGES[indices], LABELS[indices]


def fit(folder: Path, case: str, fall: int | None = None, resume: bool = False, **settings: Any) -> tuple[Any, Any]:
    """Train two epochs, or what is left of them: the trainer, and the batches that came."""
    L.seed_everything(1, workers=True, verbose=False)
    cls, loader = CASES[case]
    model = cls()
    if resume:  # where these come from must not matter
        torch.manual_seed(99)
        np.random.seed(99)
        random.seed(99)
    watch = Fall(fall)
    defaults = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    trainer = Trainer(
        default_root_dir=folder, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[watch, Checkpoint(monitor="loss", every_steps=1)], **{**defaults, **SETTINGS.get(case, {}), **settings},
    )  # fmt: skip
    last = folder / "checkpoints" / "last.ckpt" if resume else None
    trainer.fit(model, loader(), ckpt_path=last, weights_only=True)
    return trainer, watch.seen


def left(trainer: Any) -> dict[str, Any]:
    """Weights, optimisers, schedules and metrics of a training that is over."""
    state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    kept = {name: state[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}
    return kept | {"metrics": dict(trainer.callback_metrics)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Any]]:
    return cache(lambda case: fit(tmp_path_factory.mktemp("undisturbed"), case))


@pytest.mark.parametrize("place", ["in the first epoch", "at the end of an epoch", "in the second epoch"])
@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_exactly(case: str, place: str, undisturbed: Any, tmp_path: Path) -> None:
    expected, all_batches = undisturbed(case)
    epoch = sum(number == 0 for number, _, _ in all_batches)  # its length
    falls = {"in the first epoch": epoch, "at the end of an epoch": epoch + 1, "in the second epoch": 2 * epoch - 1}
    with pytest.raises(Accident):
        fit(tmp_path, case, falls[place])
    resumed, batches = fit(tmp_path, case, resume=True)
    assert batches == all_batches[-len(batches) :]
    assert len(batches) == len(all_batches) - falls[place] + (2 if place != "at the end of an epoch" else 1)
    torch.testing.assert_close(left(resumed), left(expected), rtol=0, atol=0)
