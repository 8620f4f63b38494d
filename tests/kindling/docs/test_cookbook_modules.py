"""The cookbook's pages on modules that are no `Model`, and on ways to Kindling from elsewhere."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result
from cookbook_pages import blocks_of, commands_of, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kindling.run.checkpoint_files import load_checkpoint

pytestmark = pytest.mark.slow
Command = Callable[..., Result]


class Accident(Exception):
    """Nothing is prepared for it, and nothing is saved."""


def run_of(name: str) -> Path:
    return Path("lightning_logs", name, "version_0")


def accuracy(name: str) -> float:
    return json.loads((run_of(name) / "results.json").read_text())["test"]["accuracy"]


def pictures(run: Path, name: str) -> list[tuple[int, bytes]]:
    """The steps and contents of the pictures of a name that the dashboard shows of a run, without repetition."""
    board = EventAccumulator(str(run), size_guidance={"images": 0})
    board.Reload()
    return [(image.step, image.encoded_image_string) for image in board.Images(name)]


def break_off(module: type, at_step: int, kindling: Command, *fit: Any) -> None:
    """Train until a step in which something happens that nothing is prepared for."""
    step = module.training_step

    def fall(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step >= at_step:
            raise Accident
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "training_step", fall)
        with pytest.raises(Accident):
            kindling(*fit)


def assert_same_weights(one: str, other: str) -> None:
    weights = [load_checkpoint(run_of(name) / "checkpoints/last.ckpt")["state_dict"] for name in (one, other)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_contrastive(mine: Any, kindling: Command) -> None:
    mine("contrastive")
    learn, probe = commands_of("contrastive")
    assert kindling(*learn).code == 0
    assert kindling(*probe).code == 0
    assert kindling(*probe[: probe.index("--model.learnt")], "--name", "random").code == 0
    assert accuracy("probe") > 0.88
    assert accuracy("probe") > accuracy("random") + 0.03
    learnt, probed = (load_checkpoint(run_of(name) / "checkpoints/last.ckpt") for name in ("simclr", "probe"))
    for name, value in learnt["state_dict"].items():
        if name.startswith("encoder."):
            torch.testing.assert_close(probed["state_dict"][name], value, rtol=0, atol=0)
    for command in ("test", "predict"):
        assert kindling(command, "--run", run_of("probe"), "--model", "mine.Probe").code == 0


def test_contrastive_learning_resumes(mine: Any, kindling: Command) -> None:
    module = mine("contrastive").SimCLR
    fit = [*commands_of("contrastive")[0], "--trainer.max_epochs", 5]
    assert kindling(*fit).code == 0
    break_off(module, 12, kindling, *fit, "--name", "broken", "--checkpoint.every_steps", 5)
    assert kindling("fit", "--resume", run_of("broken"), "--model", "mine.SimCLR").code == 0
    assert_same_weights("simclr", "broken")


@pytest.mark.parametrize(("page", "name"), [("gan", "GAN"), ("diffusion", "Diffusion")])
def test_pictures_in_the_dashboard_and_a_resume(page: str, name: str, mine: Any, kindling: Command) -> None:
    module = getattr(mine(page), name)
    fit = [*commands_of(page)[0], "--trainer.max_epochs", 20, "--data.batch_size", 256]
    assert kindling(*fit).code == 0
    break_off(module, 60, kindling, *fit, "--name", "broken", "--checkpoint.every_steps", 7)
    assert kindling("fit", "--resume", run_of("broken"), "--model", f"mine.{name}").code == 0
    assert_same_weights(page, "broken")
    drawn = pictures(run_of(page), "samples")
    assert len(drawn) >= 2
    assert pictures(run_of("broken"), "samples") == drawn


def test_plain_script(mine: Any, kindling: Command) -> None:
    before, _ = blocks_of("plain_script")
    script: dict[str, Any] = {}
    exec(before, script)
    mine("plain_script")  # the script comes first in it, and runs again
    (fit,) = commands_of("plain_script")
    assert kindling(*fit).code == 0
    by_hand = script["right"] / len(script["val"])
    assert abs(accuracy("script") - by_hand) < 0.03
    for command in ("test", "predict"):
        names = ("--model", "mine.ScriptNet", "--data", "mine.ScriptData")
        assert kindling(command, "--run", run_of("script"), *names).code == 0


def test_from_lightning_hydra_template(project: Path, mine: Any, kindling: Command) -> None:
    shutil.copytree(Path(__file__).with_name("hydra_template") / "src", project / "src")
    (yaml,) = blocks_of("from_lightning_hydra_template", "yaml")
    (project / "mnist.yaml").write_text(yaml, encoding="utf-8")
    try:
        module = mine("from_lightning_hydra_template").Mnist
        fit, test = commands_of("from_lightning_hydra_template")
        fit = [*fit, "--trainer.max_epochs", "4"]
        assert kindling(*fit).code == 0
        named = test[test.index("--model") :]
        for command in ("test", "predict"):
            assert kindling(command, "--run", run_of("mnist"), *named).code == 0
        results = json.loads((run_of("mnist") / "test" / "results.json").read_text())
        assert results["test"]["acc"] > 0.9
        break_off(module, 11, kindling, *fit, "--name", "broken", "--checkpoint.every_steps", 3)
        assert kindling("fit", "--resume", run_of("broken"), *named).code == 0
        assert_same_weights("mnist", "broken")
    finally:
        for name in [name for name in sys.modules if name == "src" or name.startswith("src.")]:
            del sys.modules[name]


@pytest.mark.figures
def test_notebook(project: Path) -> None:
    cells = run("notebook")
    assert min(cells["figure"].size) > 100
    assert cells["results"]["test/accuracy"].tolist() == pytest.approx([0.97], abs=0.03)
