"""A model that is shared out over two processes: its checkpoints, an exact resume, and what is refused."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import child
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from kindling.cli.library_errors import is_setting, sentence
from kindling.models.sharding import shard
from kindling.run.checkpoint_files import load_checkpoint

DIGITS = ["fit", "--config", "configs/digits_mlp.yaml", "--config", "configs/trainer/fsdp.yaml"]
TWO = ["--trainer.accelerator", "cpu", "--trainer.devices", 2, "--figures.enabled", "false"]


def cut_off(run: Path, to: Path) -> None:
    """A copy of a finished run as an accident would have left it after its last but one checkpoint, amid an epoch."""
    shutil.copytree(run, to, symlinks=True)
    (to / "results.json").unlink()
    shutil.move(to / "checkpoints/previous.ckpt", to / "checkpoints/last.ckpt")


def damage_last(run: Path) -> None:
    """A copy of a finished run whose last checkpoint, a folder, has a byte that is another."""
    share = next((run / "checkpoints/last.ckpt").glob("__1_*"))
    content = bytearray(share.read_bytes())
    content[len(content) // 2] ^= 1
    share.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_resume_is_identical_from_one_file_and_from_a_folder(as_folder: bool, project: Path) -> None:
    shares = ["--trainer.strategy.save_distributed_checkpoint", str(as_folder).lower()]
    groups = ["--model.decay", "weights", "--model.groups", "{net.1: {lr: 1e-3}}"]
    fit = [*DIGITS, *TWO, *shares, *groups, "--trainer.max_epochs", 2, "--checkpoint.every_steps", 5, "--name", "run"]
    told = child(*fit, cwd=project)
    assert (told.code, told.err) == (0, "")
    whole, broken = project / "lightning_logs/run/version_0", project / "lightning_logs/run/version_1"
    assert (whole / "checkpoints/last.ckpt").is_dir() == as_folder
    if as_folder:
        shutil.copytree(whole, broken, symlinks=True)
        (broken / "results.json").unlink()
        damage_last(broken)
    else:
        cut_off(whole, broken)
    told = child("fit", "--resume", broken, cwd=project)
    assert (told.code, told.err) == (0, "")
    assert "after step 15" in told.out
    assert ("it is now last.damaged" in told.out) == as_folder
    ends = [load_checkpoint(run / "checkpoints/last.ckpt") for run in (whole, broken)]
    assert ends[0]["global_step"] == ends[1]["global_step"] == 18
    torch.testing.assert_close(ends[0]["state_dict"], ends[1]["state_dict"], rtol=0, atol=0)
    states = [end["optimizer_states"][0]["state"] for end in ends]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert len(states[0]) == 8
    assert ends[0]["lr_schedulers"] == ends[1]["lr_schedulers"]
    measured = [json.loads((run / "results.json").read_text())["test"] for run in (whole, broken)]
    assert measured[0] == measured[1]
    if as_folder:
        check_in_one_process(broken, measured[0], project)


def check_in_one_process(run: Path, expected: dict[str, float], project: Path) -> None:
    """What several processes have written, one reads: it tests, predicts and trains on."""
    alone = ["--trainer.strategy", "auto", "--trainer.devices", 1]
    assert child("test", "--run", run, *alone, cwd=project).code == 0
    found = json.loads((run / "test/results.json").read_text())["test"]
    assert found == pytest.approx(expected, rel=1e-5)
    assert child("predict", "--run", run, cwd=project).code == 0
    assert len((run / "predict/predictions.csv").read_text().splitlines()) == 361
    told = child("fit", "--resume", run, *alone, "--trainer.max_epochs", 3, cwd=project)
    assert (told.code, told.err) == (0, "")
    assert (run / "checkpoints/last.ckpt").is_file()


@pytest.mark.slow
def test_sharing_a_model_out_changes_no_step(project: Path) -> None:
    fit = [*DIGITS, *TWO, "--model.l2", "1e-3", "--trainer.max_epochs", 1, "--test", "false"]
    for name, strategy in (("shares", []), ("copies", ["--config", "configs/trainer/ddp.yaml"])):
        told = child(*fit, *strategy, "--name", name, cwd=project)
        assert (told.code, told.err) == (0, "")
        assert told.out.count("batch norm: statistics come from each process's batch of 64") == 1
    ends = [
        load_checkpoint(project / f"lightning_logs/{name}/version_0/checkpoints/last.ckpt")
        for name in ("shares", "copies")
    ]
    torch.testing.assert_close(ends[0]["state_dict"], ends[1]["state_dict"], rtol=1e-3, atol=1e-3)
    scores = [end["callbacks"]["Checkpoint"]["best_model_score"] for end in ends]
    assert scores[0].item() == pytest.approx(scores[1].item(), rel=1e-3)


# Settings that are refused, and in which words.
REFUSED: dict[str, tuple[list[Any], str]] = {
    "sync_batchnorm": (
        ["--trainer.strategy", "ddp", "--trainer.sync_batchnorm", "true"],
        "sync_batchnorm is true, but",
    ),
    "fsdp": (
        ["--trainer.strategy", "fsdp"],
        "trainer.strategy fsdp needs a GPU: on a CPU --config configs/trainer/fsdp",
    ),
    "another number": (
        ["--trainer.strategy.data_parallel_size", 3],
        "data_parallel_size 3 times tensor_parallel_size 1",
    ),
    "average": (["--weight_averaging.enabled", "true"], "second copy of a model that ModelParallelStrategy shares out"),
    "Muon": (["--model.optimizer", "Muon"], "Muon needs whole weights, which ModelParallelStrategy shares out"),
    "background": (
        ["--trainer.strategy.save_distributed_checkpoint", "true", "--checkpoint.in_background", "true"],
        "such checkpoints can't be written in the background: set checkpoint.in_background to false",
    ),
    "precision": (["--trainer.precision", "bf16-true"], "ModelParallelStrategy takes 32-true or bf16-mixed"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_can_not_be_is_refused_in_a_sentence(case: str, kindling: Any) -> None:
    settings, words = REFUSED[case]
    told = kindling(*DIGITS, "--trainer.accelerator", "cpu", "--trainer.devices", 1, *settings)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert words in told.err
    assert not Path("lightning_logs").exists()


@pytest.mark.parametrize("name", ["ddp", "fsdp", "slurm"])
def test_an_overlay_is_short_and_known(name: str, kindling: Any, project: Path) -> None:
    path = project / f"configs/trainer/{name}.yaml"
    assert len(path.read_text().splitlines()) <= 25
    one = [
        "--trainer.accelerator",
        "cpu",
        "--trainer.devices",
        1,
        "--trainer.max_epochs",
        1,
        "--figures.enabled",
        "false",
    ]
    assert kindling("fit", "--config", "configs/digits_mlp.yaml", "--config", path, *one).code == 0
    kept = yaml.safe_load(Path("lightning_logs/digits_mlp/version_0/config.yaml").read_text(encoding="utf-8"))[
        "trainer"
    ]["strategy"]
    assert kept == "ddp" if name != "fsdp" else kept["class_path"].endswith("ModelParallelStrategy")


def test_a_model_that_does_not_split_its_layers_is_not_computed_in_parallel() -> None:
    mesh: Any = {"tensor_parallel": SimpleNamespace(size=lambda: 2)}
    with pytest.raises(MisconfigurationException, match="tensor_parallel_size is 2, but Linear does not say how"):
        shard(nn.Linear(1, 1), mesh)


def test_unused_parameters_are_told_in_a_sentence() -> None:
    of_lightning = "It looks like your LightningModule has parameters that were not used in producing the loss returned"
    assert is_setting(RuntimeError(of_lightning))
    assert "--trainer.strategy ddp_find_unused_parameters_true" in sentence(RuntimeError(of_lightning), [])
