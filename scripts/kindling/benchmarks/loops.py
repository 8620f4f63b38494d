"""Ways to train the same network. Each is a worker whose turn is one epoch.

The careful loop does by hand what Kindling does: it shuffles, clips the gradient, steps a schedule, and logs every 50th
step. The bare loop is what is left when everything but the mathematics is gone; its batches are there before the clock
starts. Kindling also draws a progress bar and saves a checkpoint; it runs as the command that a user types, which has
glibc keep freed memory and takes huge pages, as no other does. None validates.
"""

import os
import sys
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter

from benchmarks.turns import Turns
from benchmarks.usual_lightning import UsualModule
from benchmarks.workloads import Workload, joined

PIPE = "BENCHMARK_PIPE"  # where a command finds the number of the pipe
CLIP = 1.0  # the largest norm of the gradient, as Kindling's by default
EPOCHS = 20  # the default, and more than there are turns
FIT = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.max_epochs", str(EPOCHS)]
FIT += ["--trainer.limit_val_batches", "0"]


class TakeTurns(L.Callback):
    """Makes each epoch of `kindling fit` a turn. It has no hook at a step, so it costs nothing there."""

    def __init__(self) -> None:
        self.turns = Turns(Connection(int(os.environ[PIPE])))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.turns.take(steps=trainer.num_training_batches)


def bare(workload: Workload, turns: Turns) -> None:
    """A fused optimiser, and batches that are there before the clock starts."""
    model, batches, _ = workload.build()
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    while True:
        turns.take(steps=len(batches))
        for *inputs, targets in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(*inputs), targets)
            loss.backward()
            optimizer.step()


def careful(workload: Workload, turns: Turns, device: str = "cpu", mode: str | None = None) -> None:
    """What a good engineer writes for the same result: shuffled, clipped, with a schedule and a log; compiled if so."""
    model, batches, _ = workload.build()
    model.to(device)
    if mode:
        model.compile(mode=mode)
    *inputs, targets = (part.to(device) for part in joined(batches))
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=EPOCHS * len(batches))
    writer, step = SummaryWriter("."), 0
    while True:
        turns.take(steps=len(batches))
        order = torch.randperm(len(targets), device=device)[: len(batches) * workload.batch_size]
        for indices in order.split(workload.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(*(each[indices] for each in inputs)), targets[indices])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            step += 1
            if step % 50 == 0:
                writer.add_scalar("train/loss", loss.item(), step)


def guide(workload: Workload, turns: Turns, clip: float | None = None) -> None:
    """The guide's training loop, as in its section "Basic Training Loop"."""
    model, batches, _ = workload.build()
    loader = DataLoader(TensorDataset(*joined(batches)), batch_size=workload.batch_size, shuffle=True)
    optimizer, criterion = optim.Adam(model.parameters(), lr=0.001), nn.CrossEntropyLoss()
    while True:
        turns.take(steps=len(loader))
        guide_epoch(model, loader, criterion, optimizer, clip)


def guide_clipping(workload: Workload, turns: Turns) -> None:
    """The same, with the guide's gradient clipping."""
    guide(workload, turns, CLIP)


def guide_epoch(
    model: nn.Module, loader: Any, criterion: nn.Module, optimizer: optim.Optimizer, clip: float | None = None
) -> None:
    running_loss = 0.0
    for batch_idx, (*inputs, targets) in enumerate(loader):
        optimizer.zero_grad()
        loss = criterion(model(*inputs), targets)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=clip)
        optimizer.step()
        running_loss += loss.item()
        if batch_idx % 100 == 0:
            print(f"Batch {batch_idx}, Loss: {loss.item():.4f}")


def usual(workload: Workload, turns: Turns) -> None:
    """Lightning as most templates use it, with its defaults and a TensorBoard logger."""
    model, *splits = workload.build()
    train, val = (TensorDataset(*joined(batches)) for batches in splits)
    loaders = DataLoader(train, batch_size=workload.batch_size, shuffle=True), DataLoader(val, workload.batch_size)
    fit_as_usual(UsualModule(model), turns, *loaders)


def fit_as_usual(module: UsualModule, turns: Turns, *loaders: Any, **more: Any) -> None:
    options: dict[str, Any] = {"accelerator": "cpu", "max_epochs": EPOCHS, "logger": TensorBoardLogger(".")}
    trainer = L.Trainer(**options, limit_val_batches=0)
    # No callback: Lightning would call all its hooks at each step.
    module.on_train_epoch_start = lambda: turns.take(steps=trainer.num_training_batches)  # type: ignore[method-assign]
    trainer.fit(module, *loaders, **more)


def kindling(workload: Workload, turns: Turns, fit: list[str] = FIT) -> None:
    """`kindling fit` with its default callbacks and loggers. The command takes the place of this process."""
    os.set_inheritable(turns.pipe.fileno(), True)
    os.environ[PIPE] = str(turns.pipe.fileno())
    command = ["-m", "kindling", "fit", *workload.flags, *fit, "--trainer.callbacks+=benchmarks.loops.TakeTurns"]
    os.execv(sys.executable, [sys.executable, *command])


def compiled(workload: Workload, turns: Turns) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.abspath("compiled")  # or what another program compiled would do
    kindling(replace(workload, model_arguments=workload.model_arguments | {"compile": True}), turns)


ALL = {
    "careful loop": careful,
    "bare loop": bare,
    "guide's loop": guide,
    "guide's loop, clipping": guide_clipping,
    "usual Lightning": usual,
    "Kindling": kindling,
}
