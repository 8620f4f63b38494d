"""A training step on a GPU beside loops in plain PyTorch, in 32 bits with TF32; a turn is an epoch.

As on the CPU (see loops), the careful loop does what Kindling does: it shuffles, clips, steps a schedule and logs. The
bare loop does the mathematics alone, with its network compiled by `torch.compile(mode="reduce-overhead")`, which
replays CUDA graphs. All have their data on the GPU.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import optim
from torch.nn import functional as F

from benchmarks.accuracy import CONFIG, measure_recipe
from benchmarks.loops import EPOCHS, careful, kindling
from benchmarks.report import Case, Row, each, times
from benchmarks.steps import milliseconds
from benchmarks.turns import Failure, Turns, compete
from benchmarks.workloads import QUICK, Workload, on_images
from my_project.data.memory import Memory
from my_project.models.mlp import MLP
from my_project.models.resnet import ResNet
from my_project.models.transformer import Transformer

GRAPHS = "reduce-overhead"
FIT = ["--trainer.accelerator", "gpu", "--trainer.devices", "1", "--trainer.precision", "32-true"]
FIT += ["--trainer.max_epochs", str(EPOCHS), "--trainer.limit_val_batches", "0"]


def careful_on_gpu(workload: Workload, mode: str | None, turns: Turns) -> None:
    torch.set_float32_matmul_precision("high")  # TF32, as Kindling has it
    careful(workload, turns, "cuda", mode)


def bare(workload: Workload, turns: Turns) -> None:
    """A compiled network, a fused optimiser, and batches that are there before the clock starts."""
    torch.set_float32_matmul_precision("high")
    model, batches, _ = workload.build()
    model.cuda()
    forward = torch.compile(model, mode=GRAPHS)
    on_gpu = [[part.cuda() for part in batch] for batch in batches]
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    while True:
        turns.take(steps=len(on_gpu))
        for *inputs, targets in on_gpu:
            optimizer.zero_grad()
            F.cross_entropy(forward(*inputs), targets).backward()
            optimizer.step()


def compiled(workload: Workload) -> Workload:
    return replace(workload, model_arguments=workload.model_arguments | {"compile": GRAPHS})


def race(build: Callable[..., Workload], rounds: int, quick: bool) -> list[Row]:
    require_gpu()
    workload = build(quick=quick)
    works: dict[str, Any] = {
        "careful loop": partial(careful_on_gpu, workload, None),
        "Kindling": partial(kindling, workload, fit=FIT),
        "careful loop, compiled": partial(careful_on_gpu, workload, GRAPHS),
        "bare loop, compiled": partial(bare, workload),
        "Kindling, compiled": partial(kindling, compiled(workload), fit=FIT),
    }
    return times(each(compete(works, 2 if quick else rounds), milliseconds), "ms a step")


def on_long_sequences(quick: bool) -> Workload:
    """Train on sequences of 128 tokens, 64 a batch."""
    data: dict[str, Any] = {"size": 500 if quick else 40_000, "length": 128, "tokens": True, "batch_size": 64}
    data |= {"val_fraction": 0.1 if quick else 0.01, "test_fraction": 0.1 if quick else 0.01}
    return Workload(Transformer, Memory, {"width": 256, "depth": 4}, data, QUICK if quick else None)


def recipe(quick: bool) -> list[Row]:
    require_gpu()
    return measure_recipe(quick, "gpu")


def require_gpu() -> None:
    if not torch.cuda.is_available():
        raise Failure("there is no GPU")


MLP_64 = partial(on_images, MLP, {"hidden_sizes": [256, 256]}, 64)
RESNET = partial(on_images, ResNet, {"width": 64, "depths": [2, 2, 2]}, 256)
CASES = {
    "mlp": Case("MLP 784-256-256-10 with batch norm, batch 64", partial(race, MLP_64, 4)),
    "resnet": Case("ResNet of width 64 and six blocks, 28×28, batch 256", partial(race, RESNET, 4)),
    "transformer": Case("Transformer of width 256, 64 to 128 tokens, batch 64", partial(race, on_long_sequences, 4)),
    "recipe": Case(f"kindling fit --config configs/{CONFIG.name}, a sample for each seed", recipe),
}
