"""The callbacks that watch, and those that average the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Result, child
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from simple_modules import QUIET, Gan, Plain, Stream, loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from kindling.train.callbacks.gradient_norm import GradientNorm
from kindling.train.callbacks.tensorboard_extras import TensorboardExtras
from kindling.train.callbacks.weight_averaging import WeightAveraging
from kindling.train.trainer import Trainer
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
    steps = [[event.step for event in events.Scalars(tag)] for tag in ("train/loss", "while training/gradient_norm")]
    assert steps[0] == steps[1] == [1, 3, 5, 7]


def fit_plain(module: Any, *callbacks: L.Callback, data: Any = None, **settings: Any) -> Trainer:
    settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **QUIET, **settings}
    trainer = Trainer(callbacks=list(callbacks), **settings)
    trainer.fit(module, loader() if data is None else data)
    return trainer


def logged_by(module: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[int, float]]:
    """What is logged from now on, by name and batch."""
    values: dict[str, dict[int, float]] = {}

    def log(name: str, value: Any, *_: Any, **__: Any) -> None:
        values.setdefault(name, {})[module.trainer.fit_loop.batch_idx] = float(value)

    monkeypatch.setattr(module, "log", log)
    return values


@pytest.mark.parametrize("kind", [Trainer, L.Trainer])
def test_a_plain_modules_gradient_is_logged_where_the_loggers_take_it(kind: Any, monkeypatch: Any) -> None:
    module, norms = Plain(), Norms()
    values = logged_by(module, monkeypatch)
    settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **QUIET, "log_every_n_steps": 3}
    trainer = kind(callbacks=[GradientNorm(), norms], **settings)
    trainer.fit(module, loader())
    assert values["gradient_norm"] == {step: pytest.approx(float(norms.seen[step])) for step in (2, 5, 8)}


def test_each_of_two_optimisers_has_its_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Gan()
    values = logged_by(module, monkeypatch)
    fit_plain(module, GradientNorm(), log_every_n_steps=5)
    assert values["gradient_norm_1"].keys() == values["gradient_norm_2"].keys() == {4, 9}
    # The discriminator's are as they were; the generator's have grown since, in the pass for the discriminator.
    gradients = [each.grad for each in module.discriminator.parameters() if each.grad is not None]
    assert values["gradient_norm_2"][9] == pytest.approx(float(torch.nn.utils.get_total_norm(gradients)))


def test_switched_off_in_python_neither_does_anything() -> None:
    module, average = Plain(), WeightAveraging(enabled=False, decay=0.5)
    trainer = fit_plain(module, GradientNorm(enabled=False), average, log_every_n_steps=1)
    assert "gradient_norm" not in trainer.callback_metrics
    assert average._average_model is None
    other = Plain()
    fit_plain(other)
    assert torch.equal(module.net.weight, other.net.weight)
    assert average.state_dict() == {}


class HasFunctions(Plain):
    """Has functions among its attributes, and a method and a property of names that a recipe has."""

    def __init__(self) -> None:
        super().__init__()
        self.make_optimizer = Unshared()

    def optimizer(self) -> str:
        return "mine"

    schedule = property(lambda self: "mine too")


class Unshared:
    """Is not to be copied, as what the command line has built."""

    def __call__(self) -> None: ...

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("copied")


def test_averaging_leaves_a_plain_module_as_it_was() -> None:
    module, weights = HasFunctions(), PlainWeights()
    before = set(vars(module))
    fit_plain(module, weights, WeightAveraging(enabled=True, decay=None))
    set_by_lightning = {"_trainer", "_hparams"}
    assert set(vars(module)) - set_by_lightning == before - set_by_lightning
    assert (module.optimizer(), module.schedule) == ("mine", "mine too")
    torch.testing.assert_close(module.net.weight.detach(), torch.stack(weights.seen).mean(0))


class PlainWeights(L.Callback):
    """Keeps the weights after every step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        part = module.generator if isinstance(module, Gan) else module.net
        self.seen.append(part.weight.detach().clone())


def test_of_two_optimisers_a_batch_counts_once() -> None:
    module, weights = Gan(), PlainWeights()
    fit_plain(module, weights, WeightAveraging(enabled=True, decay=None, start=0.5))
    torch.testing.assert_close(module.generator.weight.detach(), torch.stack(weights.seen[5:]).mean(0))


def test_a_run_without_a_length_has_no_fraction_to_start_at() -> None:
    stream = loader(Stream())
    with pytest.raises(
        MisconfigurationException, match=r"weight_averaging.start is 0.5, .*: set trainer.max_steps, or"
    ):
        fit_plain(Plain(), WeightAveraging(enabled=True, start=0.5), data=stream)
    module, weights = Plain(), PlainWeights()
    fit_plain(module, weights, WeightAveraging(enabled=True, decay=None), data=stream)
    torch.testing.assert_close(module.net.weight.detach(), torch.stack(weights.seen).mean(0))
    module, weights = Plain(), PlainWeights()
    fit_plain(module, weights, WeightAveraging(enabled=True, decay=None, start=0.5), data=stream, max_steps=6)
    torch.testing.assert_close(module.net.weight.detach(), torch.stack(weights.seen[3:]).mean(0))


def test_the_graph_of_a_module_without_an_example_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit_plain(Plain(), TensorboardExtras(graph=True, histograms=True), logger=logger)
    assert "note   no graph: Plain has no example_input_array of tensors\n" in capsys.readouterr().out
    events = EventAccumulator(str(logger.log_dir)).Reload()
    assert [event.step for event in events.Histograms("weights/net.weight")] == [9]


def test_the_histograms_of_two_optimisers_are_at_the_step_of_the_metrics(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit_plain(Gan(), TensorboardExtras(histograms=True), logger=logger, max_epochs=2)
    events = EventAccumulator(str(logger.log_dir), size_guidance={"histograms": 0}).Reload()
    assert [event.step for event in events.Histograms("weights/generator.weight")] == [9, 19]
