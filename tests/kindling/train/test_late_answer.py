"""What a GPU finds while Python goes on: the same steps are left out, and the same is told, a step later.

The CPU takes the part of the GPU here; tests/kindling/train/test_gpu.py has a real one.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, AdamW, RMSprop

from kindling.core.errors import Stopped
from kindling.train import late_answer
from kindling.train.callbacks import NonFinite
from kindling.train.late_answer import LateAnswer, can_leave_out
from kindling.train.trainer import Trainer
from my_project.data.synthetic import SyntheticClassification
from my_project.models.mlp import MLP

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False, "logger": False}
FUSED = {
    "SGD": partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "AdamW": partial(AdamW, lr=0.1, fused=True),
    "Adagrad": partial(Adagrad, lr=0.1, fused=True),
}
CPU = torch.device("cpu")


class Spoil(L.Callback):
    """Makes some batches infinite."""

    def __init__(self, *batches: int) -> None:
        self.batches = batches

    def on_train_batch_start(self, trainer: L.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx in self.batches:
            batch[0][0] = math.inf


class States(L.Callback):
    """Keeps weights and optimiser state after each step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.momenta: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        self.weights.append({name: value.clone() for name, value in model.state_dict().items()})
        states = trainer.optimizers[0].state_dict()["state"].values()
        self.momenta.append([value.clone() for state in states for value in state.values()])


def fit(*callbacks: L.Callback, run: Path, optimizer: Any = FUSED["AdamW"], **trainer: Any) -> L.Trainer:
    """Train on 12 batches of 16 with Kindling's loop."""
    L.seed_everything(0, verbose=False)
    data = SyntheticClassification(size=300, batch_size=16)
    model = MLP(input_shape=data.input_shape, classes=data.classes, hidden_sizes=[8], optimizer=optimizer)
    (run / "config.yaml").touch()
    settings = {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": run, **QUIET, **trainer}
    found = Trainer(callbacks=list(callbacks), **settings)
    found.fit(model, datamodule=data)
    return found


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_answer, "ASYNCHRONOUS", {"cpu"})


@pytest.mark.parametrize("values", [[1.0, math.inf], [math.nan], [-math.inf]])
def test_an_answer(values: list[float], late: None) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    for loss, norm, fine in [(values, 1.0, False), ([2.0], values[-1], False), ([2.0, 3.0], 4.0, True)]:
        optimizer = SGD([weight], lr=1.0, fused=True)
        answer = LateAnswer(optimizer, torch.tensor(norm), [torch.tensor(each) for each in loss])
        weight.data.fill_(1.0)
        weight.grad = torch.full((2,), 0.5)
        optimizer.step()
        assert weight.tolist() == ([0.5, 0.5] if fine else [1.0, 1.0])
        assert answer.take() == fine
        weight.data.fill_(1.0)
        optimizer.step()  # nobody has asked about this one
        assert weight.tolist() == [0.5, 0.5]


def test_fused_optimisers_can_leave_a_step_out(late: None) -> None:
    weights = [torch.nn.Parameter(torch.ones(2))]
    assert all(can_leave_out(optimizer(weights), CPU) for optimizer in FUSED.values())
    assert not can_leave_out(AdamW(weights), CPU)
    assert not can_leave_out(RMSprop(weights), CPU)


def test_a_cpu_that_waits_is_asked_at_once() -> None:
    assert not can_leave_out(FUSED["AdamW"]([torch.nn.Parameter(torch.ones(2))]), CPU)


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("optimizer", FUSED.values(), ids=FUSED)
def test_without_a_fault_the_training_is_the_same(
    optimizer: Any, clip: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for devices in (set[str](), {"cpu"}):
        monkeypatch.setattr(late_answer, "ASYNCHRONOUS", devices)
        found.append(fit(NonFinite(), run=tmp_path, optimizer=optimizer, gradient_clip_val=clip))
    weights, expected = (trainer.lightning_module.state_dict() for trainer in found)
    torch.testing.assert_close(weights, expected, rtol=0, atol=0)


def test_it_stops_at_the_same_step_with_the_weights_from_before_it(late: None, tmp_path: Path) -> None:
    states = States()
    with pytest.raises(
        Stopped, match=r"^step 5 \(epoch 1\): the loss is nan, since there is NaN or infinity in the batch's inputs"
    ):
        fit(NonFinite(), Spoil(4), states, run=tmp_path)
    assert len(states.weights) == 5  # the answer came before the sixth step
    state = torch.load(tmp_path / "non_finite" / "state.ckpt", weights_only=True)
    for name, value in state["state_dict"].items():
        if name.endswith(("weight", "bias")):
            assert torch.equal(value, states.weights[3][name])
    batch = torch.load(tmp_path / "non_finite" / "batch.pt", weights_only=True)
    assert len(batch) == 1
    assert batch[0][0][0].isinf().all()


def test_the_last_step_is_looked_at_too(late: None, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"^step 12 \(epoch 1\): the loss is nan"):
        fit(NonFinite(), Spoil(11), run=tmp_path, limit_val_batches=0)


def test_before_a_validation_within_an_epoch_the_answer_is_taken(late: None, tmp_path: Path) -> None:
    class Validations(L.Callback):
        seen = 0

        def on_validation_batch_start(self, *_: Any) -> None:
            self.seen += 1

    validations = Validations()
    with pytest.raises(Stopped, match=r"^step 3 "):
        fit(NonFinite(), Spoil(2), validations, run=tmp_path, val_check_interval=3, num_sanity_val_steps=0)
    assert validations.seen == 0


@pytest.mark.parametrize("optimizer", FUSED.values(), ids=FUSED)
def test_a_skipped_step_leaves_everything_as_it_was(
    optimizer: Any, late: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = States()
    trainer = fit(NonFinite("skip"), Spoil(2), states, run=tmp_path, optimizer=optimizer)
    torch.testing.assert_close(states.weights[2], states.weights[1], rtol=0, atol=0)
    torch.testing.assert_close(states.momenta[2], states.momenta[1], rtol=0, atol=0)
    assert all(value.isfinite().all() for value in trainer.lightning_module.state_dict().values())
    assert not torch.equal(states.weights[3]["net.1.weight"], states.weights[2]["net.1.weight"])
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "kindling: skipped step 3 (epoch 1): the loss is nan, since there is NaN or infinity in the batch's inputs"
    )
    assert last == "kindling: steps skipped in all: 1"


def test_after_ten_skipped_steps_in_a_row_it_stops(late: None, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"step 11 .*; that makes 10 steps in a row"):
        fit(NonFinite("skip"), Spoil(*range(1, 12)), run=tmp_path)
