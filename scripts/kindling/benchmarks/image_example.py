"""The usual Lightning image example against `kindling fit` on the same data and network; a turn is an epoch."""

from functools import partial

from benchmarks.loops import bare, fit_as_usual, kindling
from benchmarks.report import Case, Row, each, times
from benchmarks.turns import Turns, compete
from benchmarks.usual_lightning import UsualImageData, UsualImageModule
from benchmarks.workloads import Workload, on_images
from my_project.models.mlp import MLP


def usual_example(workload: Workload, turns: Turns) -> None:
    model, *_ = workload.build()
    data = UsualImageData(workload.data_arguments["root"], workload.batch_size)
    fit_as_usual(UsualImageModule(model), turns, datamodule=data)


def race(quick: bool) -> list[Row]:
    workload = on_images(MLP, {"hidden_sizes": [64, 128, 64]}, 128, quick)
    contestants = {"usual Lightning": usual_example, "Kindling": kindling, "bare loop": bare}
    found = compete({name: partial(work, workload) for name, work in contestants.items()}, 2 if quick else 5)
    return times(each(found, lambda turn: 1000 * turn["seconds"] / turn["steps"]), "ms a step")


CASES = {"mlp": Case("MLP 784-64-128-64-10 with batch norm on 28×28 images, batch 128", race)}
