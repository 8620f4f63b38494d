"""NaN and infinity: what is told, saved and left alone when a loss or a gradient is not finite."""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import QUICK, Result, child
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.optim import SGD, Adagrad, AdamW, RMSprop

from kindling.cli.build import default_callbacks
from kindling.core.errors import Stopped
from kindling.data.batches import Batches
from kindling.train.callbacks.non_finite import NonFinite
from kindling.train.gradients import Gradients
from my_project.data.synthetic import SyntheticClassification, SyntheticRegression
from my_project.models.mlp import MLP

DATA = {"vectors": SyntheticClassification, "numbers": SyntheticRegression}


class Spoil(L.Callback):
    """Puts a value into the first sample of some batches."""

    def __init__(self, *batches: int, part: int = 0, value: float = math.inf) -> None:
        self.batches, self.part, self.value = batches, part, value

    def on_train_batch_start(self, trainer: L.Trainer, model: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx in self.batches:
            batch[self.part][0] = self.value


class Root(MLP):
    """Adds the root of nothing, whose slope is infinite, in one step."""

    def forward(self, vectors: Tensor) -> Tensor:
        outputs = super().forward(vectors)
        return outputs + (0 * outputs).sqrt() if self.training and self.global_step == 3 else outputs


def fit(
    *callbacks: L.Callback, run: Path, data: str = "vectors", cls: Any = MLP, model: Any = None, **trainer: Any
) -> L.Trainer:
    """Train on 12 batches of 16; `run` is a run if it holds a config."""
    L.seed_everything(0, verbose=False)
    source = DATA[data](size=300, batch_size=16)
    names = {"classes": source.classes, "targets": source.targets}
    net = cls(input_shape=source.input_shape, **names, hidden_sizes=[8], **(model or {}))
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    settings = {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": run, **quiet, **trainer}
    (run / "config.yaml").touch()
    found = L.Trainer(callbacks=list(callbacks), **settings)
    found.fit(net, datamodule=source)
    return found


def saved(run: Path) -> list[tuple[Tensor, ...]]:
    return torch.load(run / "non_finite" / "batch.pt", weights_only=True)


CASES: dict[str, tuple[Spoil | None, dict[str, Any], str]] = {
    "inputs": (Spoil(4), {}, r"step 5 \(epoch 1\): the loss is nan, since there is NaN or infinity in the batch's inputs: check the data"),
    "targets": (Spoil(4, part=1, value=math.nan), {"data": "numbers"}, r"the loss is nan, since there is NaN or infinity in the batch's targets"),
    "infinite targets": (Spoil(4, part=1), {"data": "numbers"}, r"the loss is inf, since there is NaN or infinity in the batch's targets"),
    "learning rate": (None, {"data": "numbers", "model": {"optimizer": partial(SGD, lr=1e38)}}, r"step \d+ .*though inputs and targets are finite: try a lower --model.optimizer.lr \(it is .*e\+\d+\), --trainer.detect_anomaly"),
    "gradient": (None, {"cls": Root}, r"step 4 \(epoch 1\): the loss is 0.\d+ but 5 of 5 gradients are NaN or infinite, the first that of net.1.weight, though"),
    "penalty": (None, {"model": {"l2": 1e38}}, r"step 1 \(epoch 1\): the loss is inf, though inputs and targets are finite"),
    "precision": (None, {"cls": Root, "precision": "bf16-mixed"}, "--trainer.precision 32-true"),
}  # fmt: skip


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize(("spoil", "settings", "message"), CASES.values(), ids=CASES)
def test_a_training_stops_with_its_cause(
    spoil: Spoil | None, settings: dict[str, Any], message: str, clip: float | None, tmp_path: Path
) -> None:
    callbacks = [NonFinite(), *([spoil] if spoil else [])]
    with pytest.raises(Stopped, match=message) as stop:
        fit(*callbacks, run=tmp_path, gradient_clip_val=clip, **settings)
    assert stop.value.code == 1
    where = f", or --non_finite.action skip; batch and state are in {tmp_path}/non_finite; to go on: kindling fit"
    assert where in str(stop.value)
    (batch,) = saved(tmp_path)
    assert len(batch[-1]) == 16
    if spoil:
        assert batch[spoil.part][0].eq(spoil.value).all() or math.isnan(spoil.value)
    state = torch.load(tmp_path / "non_finite" / "state.ckpt", weights_only=True)
    weights = [value for name, value in state["state_dict"].items() if "running" not in name]
    assert all(value.isfinite().all() for value in weights)


def test_without_a_fault_the_training_is_the_same(tmp_path: Path) -> None:
    trained = [fit(*callbacks, run=tmp_path).lightning_module for callbacks in ([], [NonFinite()], [NonFinite("skip")])]
    for other in trained[1:]:
        torch.testing.assert_close(other.state_dict(), trained[0].state_dict(), rtol=0, atol=0)
    assert not (tmp_path / "non_finite").exists()


def test_of_accumulated_batches_the_bad_one_is_saved(tmp_path: Path) -> None:
    with pytest.raises(
        Stopped, match=r"step 2 \(epoch 1\): the loss is nan, since there is NaN or infinity in the batch's inputs"
    ):
        fit(NonFinite(), Spoil(5), run=tmp_path, accumulate_grad_batches=4)
    (batch,) = saved(tmp_path)
    assert batch[0][0].isinf().all()


def test_if_the_losses_do_not_tell_all_accumulated_batches_are_saved(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="gradients are NaN or infinite"):
        fit(NonFinite(), run=tmp_path, cls=Root, accumulate_grad_batches=2)
    assert len(saved(tmp_path)) == 2


class Around(L.Callback):
    """Keeps the state before the first batch of step 2 and after its last."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def _keep(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        state = [model.state_dict(), trainer.optimizers[0].state_dict()["state"]]
        self.states.append(deepcopy(state))

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2 * trainer.accumulate_grad_batches:
            self._keep(trainer, model)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        if trainer.global_step == 3:
            self._keep(trainer, model)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "SGD": partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": partial(AdamW, lr=0.1, weight_decay=0.1),
    "AdamW, fused": partial(AdamW, lr=0.1, weight_decay=0.1, fused=True),
    "AdamW, a loop": partial(AdamW, lr=0.1, weight_decay=0.1, foreach=False),
    "RMSprop": partial(RMSprop, lr=0.1, momentum=0.9),
    "Adagrad": partial(Adagrad, lr=0.1),
}


@pytest.mark.parametrize(
    "settings", [{}, {"gradient_clip_val": 1.0, "accumulate_grad_batches": 2}], ids=["", "clip, accumulate"]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_skipped_step_leaves_everything_as_it_was(
    optimizer: Any, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    around, bad = Around(), 2 * settings.get("accumulate_grad_batches", 1)
    model = {"optimizer": optimizer, "l1": 0.01, "l2": 0.01}
    trainer = fit(NonFinite("skip"), around, Spoil(bad), run=tmp_path, model=model, **settings)
    before, after = around.states[:2]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    final = trainer.lightning_module.state_dict()
    assert all(value.isfinite().all() for value in final.values())
    assert not torch.equal(final["net.1.weight"], after[0]["net.1.weight"])
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "kindling: skipped step 3 (epoch 1): the loss is nan, since there is NaN or infinity in the batch's inputs"
    )
    assert last == "kindling: steps skipped in all: 1"
    state = torch.load(tmp_path / "non_finite" / "state.ckpt", weights_only=True)
    torch.testing.assert_close(state["state_dict"], before[0], rtol=0, atol=0)


def test_skipping_saves_the_first_and_tells_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(NonFinite("skip"), Spoil(1, 3, 5), Spoil(1, value=-math.inf), run=tmp_path)
    assert saved(tmp_path)[0][0][0].isneginf().all()
    assert capsys.readouterr().err.count("\n") == 2


def test_after_ten_skipped_steps_in_a_row_it_stops(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"step 11 .*; that makes 10 steps in a row; batch and state are in"):
        fit(NonFinite("skip"), Spoil(*range(1, 12)), run=tmp_path)
    fit(NonFinite("skip"), Spoil(0, *range(2, 12)), Spoil(6, value=0.0), run=tmp_path)  # not in a row


def test_ignored_it_reaches_the_weights(tmp_path: Path) -> None:
    trainer = fit(NonFinite("ignore"), Spoil(4), run=tmp_path)
    assert trainer.lightning_module.net[1].weight.isnan().all()  # type: ignore[index,union-attr]
    assert not (tmp_path / "non_finite").exists()


def scaled(scale: float) -> dict[str, Any]:
    return {"plugins": MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))}


def test_what_the_scaler_makes_infinite_is_left_to_it(tmp_path: Path) -> None:
    trainer = fit(NonFinite(), run=tmp_path, **scaled(1e38))
    assert trainer.precision_plugin.scaler.get_scale() < 1e38  # type: ignore[attr-defined]
    assert not (tmp_path / "non_finite").exists()


@pytest.mark.parametrize("action", ["stop", "skip"])
def test_an_infinite_loss_is_none_of_the_scalers(action: Any, tmp_path: Path) -> None:
    around = Around()
    if action == "stop":
        with pytest.raises(Stopped, match="the loss is nan"):
            fit(NonFinite(action), Spoil(2), run=tmp_path, **scaled(1.0))
        return
    fit(NonFinite(action), around, Spoil(2), run=tmp_path, **scaled(1.0))
    torch.testing.assert_close(around.states[1], around.states[0], rtol=0, atol=0)


def gradients(*values: Tensor) -> Gradients:
    parameters = [SimpleNamespace(grad=value) for value in values]
    return Gradients(SimpleNamespace(param_groups=[{"params": parameters}]))  # type: ignore[arg-type]


def test_only_nan_and_infinity_are_faults() -> None:
    watch, trainer = NonFinite(), SimpleNamespace(world_size=1)
    watch.on_train_start(trainer, SimpleNamespace(device="cpu"))  # type: ignore[arg-type]
    largest, half, sparse = torch.full((9,), 3e38), torch.ones(3, dtype=torch.half), torch.eye(3).to_sparse()
    for fine in ([], [largest, -largest], [largest, half], [half, sparse], [torch.zeros(0)]):
        assert watch._is_fine(trainer, gradients(*fine), [])  # type: ignore[arg-type]
        for bad in (math.nan, math.inf, -math.inf):
            for odd in (half * bad, torch.tensor(bad), sparse * bad):
                assert not watch._is_fine(trainer, gradients(*fine, odd), [])  # type: ignore[arg-type]


def test_without_a_run_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="--non_finite.action skip$"):
        fit(NonFinite(), Spoil(0), run=tmp_path, fast_dev_run=2)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_it_tells_the_cause_also_if_nothing_can_be_saved(tmp_path: Path) -> None:
    (tmp_path / "non_finite").touch()
    with pytest.raises(
        Stopped, match=r"step 5 .* check the data, .*; batch and state could not be saved .*exists.* in "
    ):
        fit(NonFinite(), Spoil(4), run=tmp_path)


def write_arrays(folder: Path) -> None:
    """A folder of arrays, which are mapped."""
    images = np.random.default_rng(0).random((200, 6, 6), dtype=np.float32)
    folder.mkdir(exist_ok=True)
    np.save(folder / "x_train.npy", images)
    np.save(folder / "y_train.npy", np.arange(200) % 2)


ARRAYS = ["fit", "--model", "MLP", "--data", "Arrays", "--data.path", "arrays", "--data.normalize", "false"]
RUN = Path("lightning_logs/unnamed/version_0")


def test_a_user_reads_one_line_and_goes_on_from_the_last_good_checkpoint(
    kindling: Callable[..., Result], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_arrays(project / "arrays")
    assert kindling(*ARRAYS, *QUICK, "--trainer.max_epochs", 1).code == 0
    last = (RUN / "checkpoints/last.ckpt").read_bytes()
    bad, load = int(np.load(RUN / "splits.npz")["train"][0]), Batches.__getitem__

    def spoil(self: Batches, positions: Tensor) -> tuple[Tensor, ...]:
        inputs, *others = load(self, positions)
        inputs[self.indices[positions] == bad, ..., 2, 3] = math.inf
        return inputs, *others

    monkeypatch.setattr(Batches, "__getitem__", spoil)
    told = kindling("fit", "--resume", RUN, "--trainer.max_epochs", 3)
    assert told.code == 1
    (line,) = told.err.splitlines()
    assert line.startswith("kindling: step ")
    assert "(epoch 2): the loss is nan, since there is NaN or infinity in the batch's inputs: check the data" in line
    assert line.endswith(
        f" in {RUN}/non_finite, and the last good checkpoint is kept; to go on: kindling fit --resume {RUN}"
    )
    assert (RUN / "checkpoints/last.ckpt").read_bytes() == last
    assert "<strong>Not finished.</strong> step " in (RUN / "report.html").read_text(encoding="utf-8")
    ((images, _),) = saved(RUN)
    assert images.isinf().sum() == 1
    told = kindling("fit", "--resume", RUN, "--trainer.max_epochs", 3, "--non_finite.action", "skip")
    assert told.code == 0
    assert told.err.splitlines()[-1] == "kindling: steps skipped in all: 2"


def test_it_is_on_by_default() -> None:
    assert default_callbacks()["non_finite"] is NonFinite


@pytest.mark.slow
def test_two_processes_stop_together(project: Path) -> None:
    write_arrays(project / "arrays")
    path = project / "arrays" / "x_train.npy"
    np.save(path, np.load(path) * np.float32(3e38))  # finite, but their sums are not
    told = child(*ARRAYS, *QUICK, "--trainer.devices", 2, cwd=project)
    assert told.code == 1
    (line,) = told.err.splitlines()
    assert line.startswith("kindling: step 1 (epoch 1): the loss is nan, though inputs and targets are finite")
    names = {path.name for path in (project / RUN / "non_finite").iterdir()}
    assert names == {"batch.pt", "batch-1.pt", "state.ckpt"}
