"""Modules and loaders without a line of Kindling go on after an accident as if there had been none."""

import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import LambdaCallback
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
from torchmetrics.classification import MulticlassAccuracy

from kindling import Trainer
from kindling.data.batches import MemoryLoader
from kindling.run.checkpoint_files import load_checkpoint
from kindling.train.callbacks.checkpoint import Checkpoint
from kindling.train.loaders import states
from kindling.train.loaders.doubts import doubts
from my_project.data.synthetic import SyntheticClassification

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
        return F.mse_loss(self.net(batch), batch.flatten(1)) * (1 + 0.1 * np.random.randn())


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


class CombinedStates(Plain):
    def loss_of(self, batch: Any) -> Tensor:
        return super().loss_of(batch[0]) + super().loss_of(batch[1])


class Complete(Plain):
    """Brings its loader, a metric, and randomness wherever Lightning gives it a hook; nobody has its hyper-parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy, self.noise = MulticlassAccuracy(3), torch.zeros(())

    def train_dataloader(self) -> Any:
        return classified(shuffle=True)

    def on_train_start(self) -> None:
        self.noise = torch.rand(())

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        images, labels = batch
        return images + 0.1 * torch.randn_like(images), labels

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        self.accuracy.update(self.net(images), labels)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx) * np.random.rand() + random.random()


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


class Told(Dataset):
    """Images of a curriculum, which changes with the epoch that it is told."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> Tensor:
        return IMAGES[index] * (self.epoch + 1)


class OwnIter(DataLoader):
    """Does something with every batch, and starts its workers when the first is asked for."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            yield batch + 0.1


class Resumable(Stream):
    """A stream with a state, but without a length."""

    def __init__(self) -> None:
        self.order, self.next = list[int](), 0

    def __iter__(self) -> Iterator[Any]:
        if self.next == len(self.order):
            self.order, self.next = torch.randperm(len(IMAGES)).tolist(), 0
        while self.next < len(self.order):
            self.next += 1
            yield IMAGES[self.order[self.next - 1]] + 0.1 * torch.randn(()), LABELS[self.order[self.next - 1]]

    def state_dict(self) -> dict[str, Any]:
        return {"order": list(self.order), "next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


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
    "complete": (Complete, lambda: None),
    "GAN": (GAN, lambda: classified(shuffle=True)),
    "autoencoder": (Autoencoder, lambda: DataLoader(Noisy(), 4, shuffle=True)),
    "autoencoder, workers": (Autoencoder, lambda: DataLoader(Noisy(), 4, shuffle=True, num_workers=2)),
    "autoencoder, persistent workers": (Autoencoder, lambda: DataLoader(Noisy(), 4, shuffle=True, num_workers=1, persistent_workers=True)),
    "told": (Autoencoder, lambda: DataLoader(Told(), 4, shuffle=True, num_workers=1)),
    "own iter": (Autoencoder, lambda: OwnIter(Noisy(), 4, shuffle=True, num_workers=1)),
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
    "combined, stateful": (CombinedStates, lambda: CombinedLoader([Sized(), EndsFirst()], "min_size")),
    "torchdata": (FromDicts, lambda: torchdata(Samples(), shuffle=True, collate_fn=noisy_collate)),
    "torchdata, workers": (FromDicts, lambda: torchdata(Samples(), shuffle=True, num_workers=2)),
    "torchdata, stream": (Plain, lambda: torchdata(Stream())),
    "torchdata, resumable": (Plain, lambda: torchdata(Resumable())),
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


def fit(
    folder: Path, case: str, fall: int | None = None, resume: bool = False, seed: int = 1, **settings: Any
) -> tuple[Any, Any]:
    """Train two epochs, or what is left of them: the trainer, and the batches that came."""
    L.seed_everything(seed, workers=True, verbose=False)
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


@pytest.mark.parametrize("case", ["autoencoder", "stream", "combined"])
@pytest.mark.parametrize(
    "settings",
    [
        {"limit_train_batches": 4},
        {"accumulate_grad_batches": 2},
        {"reload_dataloaders_every_n_epochs": 1},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_it_does_with_other_settings(case: str, settings: dict[str, Any], tmp_path: Path) -> None:
    expected, all_batches = fit(tmp_path / "whole", case, **settings)
    for fall in (4, len(all_batches)):
        folder = tmp_path / str(fall)
        with pytest.raises(Accident):
            fit(folder, case, fall, **settings)
        resumed, batches = fit(folder, case, resume=True, **settings)
        assert batches == all_batches[-len(batches) :]
        torch.testing.assert_close(left(resumed), left(expected), rtol=0, atol=0)


@pytest.mark.parametrize("share", [1e-9, 1e9], ids=["rarely", "always"])
@pytest.mark.parametrize("case", ["stateful", "stateful, without a length", "combined, stateful"])
def test_a_state_is_from_before_the_batch_however_often_it_is_taken(
    case: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "SHARE", share)
    expected, _ = fit(tmp_path / "whole", case)
    with pytest.raises(Accident):
        fit(tmp_path / "cut", case, 5)
    place = load_checkpoint(tmp_path / "cut" / "checkpoints" / "last.ckpt")["position"]
    state = place["processes"][0]["loaders"][0]
    assert (state["epoch"], state["read"]) == (0, 1 if share < 1 else 3)
    assert state["content"]["next"] == state["read"]
    resumed, _ = fit(tmp_path / "cut", case, resume=True)
    torch.testing.assert_close(left(resumed), left(expected), rtol=0, atol=0)


def test_without_a_loadable_state_the_batches_are_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CASES["unloadable"] = Plain, Unloadable
    expected, _ = fit(tmp_path / "whole", "unloadable")
    assert capsys.readouterr().out == (
        "warning: no checkpoint can hold the train loader's state, which has a PosixPath in it: a resume reads again the "
        "batches that its epoch has seen; exact with a state of tensors, numbers and strings\n"
    )
    with pytest.raises(Accident):
        fit(tmp_path / "cut", "unloadable", 4)
    resumed, _ = fit(tmp_path / "cut", "unloadable", resume=True)
    torch.testing.assert_close(left(resumed), left(expected), rtol=0, atol=0)


def test_an_epoch_that_ends_before_its_loader_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, "stateful", limit_train_batches=4)
    assert capsys.readouterr().out == (
        "warning: a resume may not repeat the batches of a train loader whose epochs end before it does; "
        "exact if each epoch goes through all of it, without trainer.limit_train_batches\n"
    )


@pytest.mark.parametrize(("case", "other"), [("autoencoder", "autoencoder, workers"), ("dicts", "dicts, workers")])
def test_nothing_depends_on_who_loads_the_batches(case: str, other: str, undisturbed: Any) -> None:
    (one, batches), (two, same_batches) = undisturbed(case), undisturbed(other)
    assert batches == same_batches
    torch.testing.assert_close(left(one), left(two), rtol=0, atol=0)
    assert len({fingerprint for _, _, fingerprint in batches}) == len(batches)


def test_the_order_depends_on_seed_and_epoch_alone(undisturbed: Any, tmp_path: Path) -> None:
    _, batches = undisturbed("shuffled")
    epochs = [[value for epoch, _, value in batches if epoch == number] for number in (0, 1)]
    assert epochs[0] != epochs[1]
    for seed, same in ((1, True), (2, False)):
        _, others = fit(tmp_path / str(seed), "shuffled", seed=seed)
        assert (others == batches) == same


class Measured(Autoencoder):
    """Is measured on images that change at random, in a random order."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.mse_loss(self.net(batch), batch.flatten(1)))  # without random numbers of its own
        self.log("val_first", batch[0].sum() * (batch_idx == 0), reduce_fx="sum")

    test_step = validation_step


@pytest.mark.parametrize("workers", [0, 1])
def test_every_evaluation_draws_the_same_numbers(workers: int, tmp_path: Path) -> None:
    loaders = [DataLoader(Noisy(), 4, shuffle=True, num_workers=workers), DataLoader(Stream(), 4)]
    found = []
    for number, measured in enumerate((None, loaders[0])):
        L.seed_everything(1, verbose=False)
        model, seen = Measured(), list[float]()
        watch = LambdaCallback(on_validation_end=lambda t, _, s=seen: s.append(float(t.callback_metrics["val_first"])))
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path / str(number), callbacks=[watch], enable_checkpointing=False, val_check_interval=3,
        )  # fmt: skip
        trainer.fit(model, DataLoader(Noisy(), 4, shuffle=True), measured)
        found.append(model.state_dict())
    assert len(seen) == 5  # the sanity check, and two in each epoch
    assert len(set(seen)) == 1
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    first, again = (trainer.validate(model, loaders[0], verbose=False) for _ in range(2))
    assert first == again
    assert first[0]["val_first"] == seen[0]


def test_other_batches_start_the_epoch_over_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Accident):
        fit(tmp_path, "autoencoder", 9)
    CASES["smaller"] = Autoencoder, lambda: DataLoader(Noisy(), 2, shuffle=True)
    capsys.readouterr()
    trainer, batches = fit(tmp_path, "smaller", resume=True)
    assert (
        "warning: epoch 2 starts over: it had batches of 4 on 1 process, and now has batches of 2 on 1 process\n"
        in capsys.readouterr().out
    )
    assert [batch[:2] for batch in batches] == [(1, number) for number in range(11)]
    assert trainer.global_step == 7 + 11
    assert trainer.current_epoch == 2


def test_other_workers_of_a_stream_do_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Accident):
        fit(tmp_path, "stream", 9)
    _, batches = fit(tmp_path, "stream, workers", resume=True)
    assert (
        "epoch 2 starts over: it had batches of 4 on 1 process, and now has batches of [4, 2] on 1 process\n"
        in capsys.readouterr().out
    )
    assert batches[0][:2] == (1, 0)


class Acting(Plain):
    """Its batches come from itself, as an agent's do."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def train_dataloader(self) -> Any:
        return DataLoader(FromModel(self.act), batch_size=None)

    def act(self) -> Iterator[Any]:
        for _ in range(6):
            self.asked += 1
            yield IMAGES[:4], self.net(IMAGES[:4]).argmax(dim=1)


class FromModel(IterableDataset):
    def __init__(self, source: Any) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        return self.source()


def test_batches_that_come_from_the_model_are_not_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CASES["acting"] = Acting, lambda: None
    with pytest.raises(Accident):
        fit(tmp_path, "acting", 6)
    said = "may not repeat the batches of the train loader: its batches come from the model, which no loader can make exact"
    assert said in capsys.readouterr().out
    trainer, batches = fit(tmp_path, "acting", resume=True)
    places = [(0, number) for number in range(4, 10)] + [(1, number) for number in range(6)]
    assert [batch[:2] for batch in batches] == places
    assert trainer.lightning_module.asked == 12


class Counting(Dataset):
    """Keeps state: a generator of its own, and an epoch that it is told."""

    def __init__(self) -> None:
        self.transforms = [np.random.default_rng(0)]

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> Any:
        return IMAGES[index]


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (lambda: classified(shuffle=True), []),
        (weighted, []),
        (lambda: DataLoader(Noisy(), 4, num_workers=1, persistent_workers=True), []),
        (Sized, []),
        (lambda: classified(sampler=Lazy()), ["its Lazy may keep a state from epoch to epoch; exact if its order depends only on set_epoch or on torch's global generator"]),
        (lambda: DataLoader(Counting(), 4), ["its Counting has a random generator of its own; exact with the global ones of torch, NumPy and Python"]),
        (
            lambda: DataLoader(Counting(), 4, num_workers=1, persistent_workers=True),
            ["its Counting has a random generator of its own; exact with the global ones of torch, NumPy and Python",
             "its workers don't see the set_epoch of its Counting; exact with persistent_workers=False"],
        ),
        (
            lambda: DataLoader(Stream(), 4, num_workers=1, persistent_workers=True),
            ["its workers keep their state from epoch to epoch; exact with persistent_workers=False"],
        ),
        (lambda: DataLoader(Samples(), 4, num_workers=2, in_order=False), ["its batches come in the order in which its workers finish; exact with in_order=True"]),
        (lambda: torchdata(Samples(), num_workers=1), ["the random numbers of its workers are not in its state; exact with num_workers=0"]),
    ],
)  # fmt: skip
def test_what_can_not_be_promised_is_said(loader: Callable[[], Any], expected: list[str]) -> None:
    assert list(doubts(loader(), Plain())) == expected


def test_a_wrapped_loader_looks_like_itself(undisturbed: Any) -> None:
    trainer, _ = undisturbed("autoencoder")
    loader = trainer.train_dataloader
    assert isinstance(loader, DataLoader)
    assert isinstance(loader.dataset, Noisy)
    assert (len(loader), loader.batch_size, len(loader.dataset)) == (6, 4, 22)
    assert loader.dataset[3].shape == (1, 4, 4)
    loader.dataset.stage = 2
    assert loader.dataset.stage == 2
    again = pickle.loads(pickle.dumps(loader.dataset))  # as for a worker that is spawned
    assert isinstance(again, Noisy)
    assert again.stage == 2
    assert torch.equal(again.images, IMAGES)


def test_a_loader_is_itself_where_nothing_is_trained(tmp_path: Path) -> None:
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False)
    predictions = trainer.predict(Simple(), classified(shuffle=False))
    assert torch.equal(torch.cat(predictions), IMAGES.flatten(1).sum(dim=1))  # type: ignore[arg-type]


class Simple(Plain):
    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return batch[0].flatten(1).sum(dim=1)


def test_kindlings_own_loader_is_left_alone(tmp_path: Path) -> None:
    data = SyntheticClassification(size=100)
    trainer = Trainer(
        default_root_dir=tmp_path, accelerator="cpu", logger=False, max_epochs=1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Vectors(), data)
    assert type(trainer.train_dataloader) is MemoryLoader
    assert type(trainer.val_dataloaders) is MemoryLoader


class Vectors(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyLinear(10))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.loss_of(batch)


# Two processes, each with its own share; the processes are forked, which a test that has trained can't be.
IN_PROCESSES = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {folder!r}]
import test_loaders
try:
    test_loaders.fit(Path({path!r}), {case!r}, {fall}, {resume}, strategy="ddp_fork", devices=2)
except Exception as error:
    sys.exit(0 if "Accident" in str(error) and {fall} else str(error))
"""


def loss_in(process: dict[str, Any]) -> float:
    """The loss that a process has gathered, in what it has kept in a checkpoint."""
    _, _, _, state = process["logged"]["training_step.loss"]
    return float(state["value"])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["weighted", "dicts, workers", "stateful"])
def test_several_processes_go_on_exactly(case: str, tmp_path: Path) -> None:
    for path, fall, resume in (("whole", None, False), ("cut", 5, False), ("cut", None, True)):
        here = Path(__file__).parent
        words = {"tests": str(here.parents[1]), "folder": str(here), "path": str(tmp_path / path)}
        script = IN_PROCESSES.format(**words, case=case, fall=fall, resume=resume)
        finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=1800)
        assert finished.returncode == 0, finished.stderr
    expected, found = (load_checkpoint(tmp_path / path / "checkpoints" / "last.ckpt") for path in ("whole", "cut"))
    for name in ("state_dict", "optimizer_states", "global_step"):
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    assert len(found["position"]["processes"]) == 2
    gathered = [[loss_in(process) for process in each["position"]["processes"]] for each in (expected, found)]
    assert gathered[0] == gathered[1]
    assert len(set(gathered[0])) == 2
