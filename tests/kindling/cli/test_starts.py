"""Two processes make one run, whatever has started them, and end together."""

import os
import re
import signal
from pathlib import Path

import pytest
import torch
from conftest import child
from launches import WAYS, kill, run, said, start, started, wait_for, workers

from kindling.run.checkpoint_files import load_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux lists them"),
]
FIT = ["fit", "--config", "configs/digits_mlp.yaml", "--trainer.accelerator", "cpu", "--figures.enabled", "false"]
SHORT = [*FIT, "--trainer.max_epochs", 2]
LONG = [*FIT, "--trainer.max_epochs", 60, "--early_stopping.patience", "null", "--checkpoint.every_steps", 7]
RUN = "lightning_logs/digits_mlp/version_0"
SAID_ONCE = ("run    lightning_logs", "note   ", "epoch 2/2", "best epoch 2 of 2", "kindling test --run")


def trained(run: Path) -> tuple[dict[str, torch.Tensor], bytes]:
    return load_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"], (run / "metrics.csv").read_bytes()


def files_of(run: Path) -> list[str]:
    """The names, without numbers: TensorBoard's hold a time."""
    return sorted(re.sub(r"\d+", "0", path.name) for path in run.iterdir())


def assert_identical(run: Path, other: Path) -> None:
    torch.testing.assert_close(trained(run)[0], trained(other)[0], rtol=0, atol=0)
    assert trained(run)[1] == trained(other)[1]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The short training by Lightning's own launcher."""
    return finished(tmp_path_factory, "lightning", SHORT)


@pytest.fixture(scope="module")
def long_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long training, which nothing disturbs."""
    return finished(tmp_path_factory, "lightning", LONG)


def finished(folders: pytest.TempPathFactory, way: str, argv: list[object]) -> Path:
    folder = folders.mktemp("reference")
    (folder / "configs").symlink_to(Path(__file__).parents[3] / "configs")
    assert run(way, argv, folder) == [0]
    return folder / RUN


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("lightning", "torchrun, restarts")])
def test_every_start_makes_the_same_run_once(way: str, reference: Path, project: Path) -> None:
    assert set(run(way, SHORT, project)) == {0}
    assert [path.name for path in project.glob("lightning_logs/*/*")] == ["version_0"]
    words = (reference.parents[2] / "said-0.txt").read_text()
    assert {line: said(project).count(line) for line in SAID_ONCE} == {line: words.count(line) for line in SAID_ONCE}
    assert_identical(project / RUN, reference)
    assert files_of(project / RUN) == files_of(reference)


@pytest.mark.parametrize(
    ("way", "wrong", "others", "sentence"),
    [
        ("srun", ["--config", "nowhere.yaml"], None, "kindling: can't read config nowhere.yaml"),
        ("torchrun", ["--trainer.devices", 3], None, "2 processes, but trainer.devices is 3 and trainer.num_nodes is 1: "
         "leave both out, or type --trainer.devices 2 --trainer.num_nodes 1"),
        ("by hand, 2 nodes", [], ["--data.val_fraction", 7], "kindling: command line: data.val_fraction is 7"),
        ("by hand", ["--model.optimizer.lr", -1], None, "Invalid learning rate: -1"),
    ],
)  # fmt: skip
def test_what_one_refuses_ends_all_in_one_sentence(
    way: str, wrong: list[object], others: list[object] | None, sentence: str, project: Path
) -> None:
    codes = run(way, [*SHORT, *wrong], project, others=None if others is None else [*SHORT, *others])
    assert set(codes) == ({1} if way == "torchrun" else {2})  # torchrun's own
    assert said(project).count(sentence) == said(project).count("kindling: ") == 1
    assert not list(project.glob("lightning_logs/*/*"))


@pytest.mark.parametrize(("way", "again"), [("lightning", "torchrun"), ("srun", "by hand")])
def test_a_run_whose_second_process_was_killed_goes_on_as_if_nothing_had_happened(
    way: str, again: str, long_reference: Path, project: Path
) -> None:
    with started(way, [*LONG, "--run-id", "version_0"], project) as processes:
        wait_for(lambda: "epoch 3/" in said(project))
        os.kill(workers(processes)[1], signal.SIGKILL)
        assert processes[0].wait() == 1
    assert said(project).count("the training ended: see above, or it was killed; to go on: kindling fit --resume") == 1
    resumed = {"torchrun": ["fit", "--resume", "latest"], "by hand": [*LONG, "--run-id", "version_0"]}
    assert set(run(again, resumed[again], project)) == {0}
    assert said(project).count("resume after step") == 1
    assert_identical(project / RUN, long_reference)


def test_torchrun_starts_again_what_was_killed(long_reference: Path, project: Path) -> None:
    with started("torchrun, restarts", LONG, project) as processes:
        wait_for(lambda: "epoch 3/" in said(project))
        os.kill(workers(processes)[1], signal.SIGKILL)
        assert processes[0].wait() == 0
    assert said(project).count("resume after step") == 1
    assert_identical(project / RUN, long_reference)


def test_a_signal_stops_all_after_the_same_step_and_another_number_starts_the_epoch_over(project: Path) -> None:
    processes = start("srun", LONG, project)
    try:
        wait_for(lambda: "epoch 3/" in said(project))
        os.kill(processes[1].pid, signal.SIGTERM)  # the second alone
        assert [process.wait() for process in processes] == [143, 143]
    finally:
        kill(processes)
    assert said(project).count("kindling: stopped after step") == 1
    assert "Traceback" not in said(project)
    checkpoint = load_checkpoint(project / RUN / "checkpoints/last.ckpt")
    assert len(checkpoint["position"]["processes"]) == 2
    resumed = child("fit", "--resume", "latest", cwd=project)
    assert (resumed.code, resumed.err) == (0, "")
    assert "starts over: it had batches of 64 on 2 processes, and now has batches of 64 on 1 process\n" in resumed.out
    assert "best epoch" in resumed.out
