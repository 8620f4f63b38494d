"""A checkpoint of an older run, whose class paths are gone, is built of what is here; nothing is imported for it."""

import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn.modules.loss import _Loss

from kindling import Model, load
from kindling.core.errors import UsageError
from kindling.use.rebuild import load_weights, rebuilt
from my_project.losses.focal import FocalLoss
from my_project.models.mlp import MLP

FILE = Path("net.ckpt")


class One:
    class Twin(_Loss):
        """Has a double."""


class Other:
    class Twin(_Loss):
        """Has one, too."""


def hparams(**changes: Any) -> dict[str, Any]:
    """What a checkpoint keeps of a small MLP, with changes."""
    return {**MLP(input_shape=(4,), classes=["a", "b"], hidden_sizes=[3]).hparams, **changes}


def task(loss: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": "kindling.tasks.classes.Classification", "init_args": {"loss": loss}}


@pytest.mark.parametrize(
    "path", ["kindling.models.mlp.MLP", "an_older_name.mlp.MLP", "MLP", "my_project.models.mlp.MLP"]
)
def test_a_model_is_found_by_its_last_word(path: str) -> None:
    before = set(sys.modules)
    model = rebuilt(Model, FILE, hparams(_class_path=path))
    assert type(model) is MLP
    assert not {name for name in sys.modules if name.startswith("an_older_name")} - before


def test_so_are_its_parts() -> None:
    focal = {"class_path": "kindling.losses.focal.FocalLoss", "init_args": {"gamma": 1.5}}
    muon = {"class_path": "kindling.optim.Muon", "init_args": {"lr": 0.05}}
    schedule = {"class_path": "an_older_name.optim.WarmupCosine", "init_args": {"warmup": 0.2}}
    model = rebuilt(Model, FILE, hparams(task=task(focal), optimizer=muon, schedule=schedule))
    assert type(model.task.criterion) is FocalLoss
    assert model.task.criterion.gamma == 1.5
    optimizer = model.optimizer(model.parameters())
    assert (type(optimizer).__module__, optimizer.param_groups[0]["lr"]) == ("kindling.models.muon", 0.05)
    assert type(model.schedule(optimizer)).__name__ == "WarmupCosine"


def test_a_predictor_of_an_older_run(tmp_path: Path) -> None:
    model = MLP(input_shape=(4,), classes=["a", "b"], hidden_sizes=[3])
    content = {"state_dict": model.state_dict(), "hyper_parameters": hparams(_class_path="kindling.models.mlp.MLP")}
    torch.save(content, tmp_path / "old.ckpt")
    assert list(load(tmp_path / "old.ckpt", device="cpu")(torch.zeros(2, 4))) == [
        "prediction",
        "probability_a",
        "probability_b",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_path": "kindling.models.old.Perceptron"}, "net.ckpt is of the model kindling.models.old.Perceptron, which is not here; models here: "),
        ({"task": task({"class_path": "kindling.losses.old.Hinge"})}, "Hinge"),
        ({"task": task({"class_path": "gone.Twin"})}, r"net\.ckpt: Twin is the name of several classes: give a path, .*One\.Twin or .*Other\.Twin"),
        ({"task": {"class_path": "gone.Regression"}}, "Regression needs data with numeric targets"),
    ],
)  # fmt: skip
def test_what_is_not_here_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        rebuilt(Model, FILE, hparams(**changes))
    assert "\n" not in str(raised.value)
    assert "net.ckpt" in str(raised.value)


@pytest.mark.parametrize("key", ["optimizer", "schedule"])
def test_what_is_for_training_alone_can_be_missing(key: str) -> None:
    model = rebuilt(Model, FILE, hparams(**{key: {"class_path": "nowhere.Sophia", "init_args": {"rho": 0.1}}}))
    assert model(torch.zeros(2, 4)).shape == (2, 2)


def test_the_hyper_parameters_stay_as_they_are() -> None:
    given = hparams(task=task({"class_path": "kindling.losses.focal.FocalLoss"}))
    copy = dict(given)
    rebuilt(Model, FILE, given)
    assert given == copy


class Lazy(L.LightningModule):
    """Builds its layers late, and lacks one in its checkpoints."""

    strict_loading = False
    loaded: Any = None

    def configure_model(self) -> None:
        self.layer, self.frozen = nn.Linear(2, 1), nn.Linear(2, 1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loaded = checkpoint["mine"]


def test_weights_are_loaded_as_lightning_does() -> None:
    module, weights = Lazy(), {"layer.weight": torch.full((1, 2), 3.0), "layer.bias": torch.zeros(1)}
    load_weights(module, FILE, {"state_dict": weights, "mine": 5})
    assert module.layer.weight.tolist() == [[3.0, 3.0]]
    assert module.loaded == 5
    with pytest.raises(UsageError, match=r"net\.ckpt does not fit this Lazy: .* size mismatch for layer.weight"):
        load_weights(Lazy(), FILE, {"state_dict": {"layer.weight": torch.zeros(1, 3)}, "mine": 5})
