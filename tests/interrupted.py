"""Trainings that are broken off and resumed, for tests that they end as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result

from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.record import Record


class Accident(Exception):
    """Nothing is prepared for it, and nothing is saved."""


def assert_resumes_identically(
    kindling: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    fit: list[str],
    resume: list[str],
    accident: int = 17,
    every: int = 5,
) -> None:
    """A training that falls at a step, after a checkpoint some steps before, ends with the weights of one that doesn't.

    Args:
        kindling: runs a command.
        monkeypatch: lets the training fall.
        fit: the arguments of a training of more steps than `accident`, without a name.
        resume: further arguments of its resume.
        accident: the step.
        every: steps between two checkpoints.
    """
    fit = [*fit, "--checkpoint.every_steps", str(every)]
    whole = kindling(*fit, "--name", "whole")
    assert whole.code == 0, whole.err
    begin = Record.on_train_batch_start
    steps = 0

    def fall(self: Any, *args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == accident:
            raise Accident
        begin(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "on_train_batch_start", fall)
        with pytest.raises(Accident):
            kindling(*fit, "--name", "broken")
    resumed = kindling("fit", "--resume", "lightning_logs/broken/version_0", *resume)
    assert resumed.code == 0, resumed.err
    ends = [
        load_checkpoint(Path("lightning_logs", name, "version_0/checkpoints/last.ckpt")) for name in ("whole", "broken")
    ]
    assert ends[0]["global_step"] == ends[1]["global_step"] > accident
    torch.testing.assert_close(ends[0]["state_dict"], ends[1]["state_dict"], rtol=0, atol=0)
