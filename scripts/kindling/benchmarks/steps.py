"""What a training step costs beside a plain loop: same network, batches and threads, in 32 bits; a turn is an epoch."""

from collections.abc import Callable
from functools import partial

from benchmarks.loops import ALL, compiled
from benchmarks.report import Case, Row, each, times
from benchmarks.turns import Measured, afresh, compete
from benchmarks.workloads import Workload, on_images, on_sequences
from my_project.models.mlp import MLP
from my_project.models.resnet import ResNet
from my_project.models.rnn import RNN
from my_project.models.transformer import Transformer

LOOPS = ("careful loop", "bare loop", "Kindling")
WITH_THE_GUIDE = ("careful loop", "bare loop", "guide's loop", "Kindling")


def race(build: Callable[..., Workload], names: tuple[str, ...], rounds: int, quick: bool) -> list[Row]:
    workload = build(quick=quick)
    found = compete({name: partial(ALL[name], workload) for name in names}, 2 if quick else rounds)
    return times(each(found, milliseconds), "ms a step")


def milliseconds(turn: Measured) -> float:
    return 1000 * turn["seconds"] / turn["steps"]


def race_compiled(build: Callable[..., Workload], rounds: int, quick: bool) -> list[Row]:
    """What `--model.compile` takes in the first epoch, anew or as torch has kept it, and what it gains later."""
    workload = build(quick=quick)
    works = {"as it is": partial(ALL["Kindling"], workload), "compiled": partial(compiled, workload)}
    anew = afresh(works | {"compiled before": works["compiled"]}, 1)
    first = each(anew, lambda turn: turn["seconds"])
    rows = times({f"{name}, the first epoch": seconds for name, seconds in first.items()}, "s")
    return rows + times(each(compete(works, 2 if quick else rounds), milliseconds), "ms a step")


MLP_64, MLP_256 = (partial(on_images, MLP, {"hidden_sizes": [256, 256]}, size) for size in (64, 256))
RESNET = partial(on_images, ResNet, {"width": 16, "depths": [1, 1, 1]}, 128, steps=120)
LSTM = partial(on_sequences, RNN, {"width": 128})
TRANSFORMER = partial(on_sequences, Transformer, {"width": 64})

CASES = {
    "mlp64": Case("MLP 784-256-256-10 with batch norm, batch 64", partial(race, MLP_64, tuple(ALL), 9)),
    "mlp256": Case("MLP 784-256-256-10 with batch norm, batch 256", partial(race, MLP_256, tuple(ALL), 9)),
    "resnet": Case("ResNet of width 16 and three blocks, 28×28, batch 128", partial(race, RESNET, WITH_THE_GUIDE, 4)),
    "lstm": Case("LSTM of width 128, 25 to 50 tokens, batch 64", partial(race, LSTM, LOOPS, 5)),
    "transformer": Case("Transformer of width 64, 25 to 50 tokens, batch 64", partial(race, TRANSFORMER, LOOPS, 5)),
    "compile": Case("--model.compile, the same ResNet, 120 steps an epoch", partial(race_compiled, RESNET, 4)),
}
