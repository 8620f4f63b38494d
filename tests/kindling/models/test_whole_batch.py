"""What several processes log of a training step is what one would log of all their samples."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import child
from torch import nn

from kindling.models.whole_batch import measured
from kindling.tasks import Classification, Task

# Batches of another size in each process, and of the last task one in which nothing counts.
BATCHES: dict[str, tuple[list[list[int]], list[list[int]]]] = {
    "plain": ([[0, 1, 2], [2]], [[0, 1, 1], [0]]),
    "weights of classes": ([[0, 1, 2], [2]], [[0, 1, 1], [2]]),
    "of its own": ([[0, 1], [2]], [[0, 1], [0]]),
    "nothing counts": ([[0, 1], [2, 2]], [[0, 1], [2, 2]]),
}


class OwnMetric(Classification):
    """Measures a batch by itself: the share of samples that it calls 0."""

    def batch_metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"train/zeros": (outputs.argmax(dim=1) == 0).float().mean()}


def task_of(case: str) -> Task:
    weights = {"weights of classes": [1.0, 2.0, 5.0], "nothing counts": [1.0, 2.0, 0.0]}.get(case)
    task = OwnMetric() if case == "of its own" else Classification(class_weights=weights)
    task.build("one class a sample", 3)
    return task


def values_of(case: str, ranks: list[int]) -> dict[str, float]:
    """What is measured of the batches of some processes, put together."""
    said, targets = (torch.tensor([each for rank in ranks for each in part[rank]]) for part in BATCHES[case])
    outputs = nn.functional.one_hot(said, 3) * torch.tensor([1.0, 2.0, 3.0])
    task = task_of(case)
    values = measured(task, task.loss_of(outputs, targets), outputs, targets)
    return {name: float(value) for name, value in values.items()}


def test_one_process_logs_what_its_batch_has() -> None:
    found = values_of("plain", [0])
    outputs, targets = torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.tensor([0, 1, 1])
    assert found["train/loss"] == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)))
    assert found["train/accuracy"] == pytest.approx(2 / 3)


# Each process prints its values of every case, twice: nothing is left of the first time.
IN_PROCESSES = """
import json, sys
from pathlib import Path
import torch.distributed as dist
import torch.multiprocessing as mp
sys.path[:0] = [{tests!r}, {folder!r}]
import test_whole_batch as cases

def run(rank):
    dist.init_process_group("gloo", init_method="file://{path}/rendezvous", rank=rank, world_size=2)
    values = [{{case: cases.values_of(case, [rank]) for case in cases.BATCHES}} for _ in range(2)]
    Path("{path}", f"{{rank}}.json").write_text(json.dumps(values))

mp.start_processes(run, nprocs=2, start_method="fork")
"""


@pytest.mark.slow
def test_two_processes_log_what_one_does_of_both_batches(tmp_path: Path) -> None:
    here = Path(__file__).parent
    script = IN_PROCESSES.format(tests=str(here.parents[1]), folder=str(here), path=tmp_path)
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=1800)
    assert finished.returncode == 0, finished.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    first, second = ranks[0]
    assert first == second
    for case in BATCHES:
        assert first[case] == pytest.approx(values_of(case, [0, 1]), rel=1e-6), case
    assert first["of its own"]["train/zeros"] == pytest.approx(1 / 3)


@pytest.mark.slow
def test_a_training_logs_the_same_on_two_processes_as_on_one_with_the_double_batch(project: Path) -> None:
    fit = ["fit", "--config", "configs/digits_mlp.yaml", "--trainer.accelerator", "cpu", "--figures.enabled", "false"]
    fit += ["--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 1, "--data.val_fraction", 0.2, "--test", "false"]
    fit += ["--model.norm", "null"]  # a batch norm takes the statistics of each process's batch
    for name, devices, size in (("one", 1, 128), ("two", 2, 64)):
        told = child(*fit, "--name", name, "--trainer.devices", devices, "--data.batch_size", size, cwd=project)
        assert (told.code, told.err) == (0, "")
    one, two = (logged(project / "lightning_logs" / name / "version_0") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert len([key for key in one if key[1] == "train/f1"]) == 8
    assert two == pytest.approx(one, rel=1e-4)


def logged(run: Path) -> dict[tuple[str, str], float]:
    """What a run's table holds, by step and name."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {(row["step"], name): float(value) for row in rows for name, value in row.items() if value}
