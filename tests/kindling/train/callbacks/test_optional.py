"""The callbacks that watch, and those that average the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Result, child
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from kindling.train.callbacks.gradient_norm import GradientNorm
from kindling.train.callbacks.weight_averaging import WeightAveraging
from my_project.data.synthetic import SyntheticClassification
from my_project.models.mlp import MLP

FIT = ["fit", "--config", "configs/digits_mlp.yaml", "--trainer.max_epochs", 2, "--trainer.accelerator", "cpu"]


def tags(kind: str) -> set[str]:
    return set(EventAccumulator("lightning_logs/digits_mlp/version_0").Reload().Tags()[kind] or [])


def test_histograms_and_graph_are_off_by_default(kindling: Callable[..., Result]) -> None:
    assert kindling(*FIT).code == 0
    assert tags("histograms") == set()
    assert not EventAccumulator("lightning_logs/digits_mlp/version_0").Reload().Tags()["graph"]


def test_histograms_and_graph_on_demand(kindling: Callable[..., Result]) -> None:
    told = kindling(*FIT, "--tensorboard_extras.histograms", "true", "--tensorboard_extras.graph", "true")
    assert (told.code, told.err) == (0, "")
    assert "weights/net.1.weight" in tags("histograms")
    events = EventAccumulator("lightning_logs/digits_mlp/version_0").Reload()
    assert any("linear" in node.op.lower() or "net" in node.name for node in _nodes(events))


def _nodes(events: EventAccumulator) -> Any:
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = events.Graph()
    assert isinstance(graph, GraphDef)
    return graph.node


class Norms(L.Callback):
    """Computes the norm by its definition."""

    seen: list[Tensor]

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Any) -> None:
        squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
        self.seen = [*getattr(self, "seen", []), torch.stack(squares).sum().sqrt()]


def fit(*callbacks: L.Callback, **settings: Any) -> L.Trainer:
    L.seed_everything(0, verbose=False)
    data = SyntheticClassification(size=300, batch_size=16)
    model = MLP(input_shape=(10,), classes=data.classes, hidden_sizes=[8])
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(accelerator="cpu", logger=False, callbacks=list(callbacks), **quiet, **settings)
    trainer.fit(model, datamodule=data)
    return trainer


def test_the_norm_is_that_before_clipping() -> None:
    norms = Norms()
    trainer = fit(GradientNorm(), norms, max_epochs=1, gradient_clip_val=1e-3, log_every_n_steps=1)
    torch.testing.assert_close(trainer.callback_metrics["gradient_norm"], norms.seen[-1])
    assert float(norms.seen[-1]) > 1e-2


class Weights(L.Callback):
    """Keeps the first layer's weights after every step."""

    seen: list[Tensor]

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        self.seen = [*getattr(self, "seen", []), model.net[1].weight.detach().clone()]  # type: ignore[index,union-attr]


def final(trainer: L.Trainer) -> Tensor:
    return trainer.lightning_module.net[1].weight.detach()  # type: ignore[index,union-attr]


def test_stochastic_weight_averaging_is_the_mean_from_the_start_on() -> None:
    weights = Weights()
    trainer = fit(weights, WeightAveraging(enabled=True, decay=None, start=0.5), max_epochs=2)  # 24 steps
    torch.testing.assert_close(final(trainer), torch.stack(weights.seen[12:]).mean(0))


def test_the_exponential_average_is_that_of_its_formula() -> None:
    weights = Weights()
    trainer = fit(weights, WeightAveraging(enabled=True, decay=0.8), max_epochs=2)
    average = weights.seen[0]
    for count, weight in enumerate(weights.seen[1:], start=1):
        decay = min(0.8, (1 + count) / (10 + count))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(final(trainer), average)


def test_until_the_start_the_average_is_the_weights() -> None:
    weights = Weights()
    averaging = WeightAveraging(enabled=True, decay=None, start=0.9)
    trainer = fit(weights, averaging, max_epochs=1)  # 12 steps
    assert isinstance(averaging._average_model, AveragedModel)
    torch.testing.assert_close(final(trainer), torch.stack(weights.seen[10:]).mean(0))


@pytest.mark.parametrize("decay", ["0.9", "null"])
def test_the_averaged_weights_are_validated_kept_tested_and_resumed(
    decay: str, kindling: Callable[..., Result]
) -> None:
    average = ["--weight_averaging.enabled", "true", "--weight_averaging.decay", decay]
    assert kindling(*FIT, *average).code == 0
    run = Path("lightning_logs/digits_mlp/version_0")
    state = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    name = "net.1.weight"
    assert not torch.equal(state["state_dict"][name], state["current_model_state"][name])
    told = kindling("fit", "--resume", run, "--trainer.max_epochs", 3)
    assert (told.code, told.err) == (0, "")
    assert kindling("test", "--run", run).code == 0


@pytest.mark.slow
def test_two_processes_average_too(project: Path) -> None:
    average = ["--weight_averaging.enabled", "true", "--trainer.devices", 2, "--figures.enabled", "false"]
    told = child(*FIT, *average, cwd=project)
    assert (told.code, told.err) == (0, "")


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="decay is 1.5: expected a fraction"):
        WeightAveraging(decay=1.5)


def test_the_norm_is_logged_where_the_loss_is(kindling: Callable[..., Result]) -> None:
    accumulate = ["--trainer.accumulate_grad_batches", 5, "--trainer.log_every_n_steps", 2]  # 18 batches an epoch
    assert kindling(*FIT, *accumulate).code == 0
    events = EventAccumulator("lightning_logs/digits_mlp/version_0").Reload()
    steps = [[event.step for event in events.Scalars(tag)] for tag in ("train/loss", "gradient_norm")]
    assert steps[0] == steps[1] == [1, 3, 5, 7]
