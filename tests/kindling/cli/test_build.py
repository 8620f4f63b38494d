"""What the command line builds: any module, by name or by import path, also of a run that is older than its names."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import QUICK, Result

Run = Callable[..., Result]
MODULES = """
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Points(L.LightningDataModule):
    def __init__(self, size: int = 64):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(size, 3, generator=generator)
        self.classes = 7  # of its author's making: no list of names

    def loader(self):
        return DataLoader(TensorDataset(self.inputs, self.inputs.sum(dim=1, keepdim=True)), batch_size=16)

    train_dataloader = val_dataloader = test_dataloader = loader


class Plain(L.LightningModule):
    def __init__(self, width: int = 4, classes: int = 10):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 1))
        self.classes = classes

    def loss(self, batch):
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class SquareLoss(torch.nn.Module):  # as the guide writes a loss of its own
    def __init__(self, power: float = 2.0):
        super().__init__()
        self.power = power

    def forward(self, logits, targets):
        return (1 - logits.softmax(dim=1)[torch.arange(len(targets)), targets]).pow(self.power).mean()


class Alone(Plain):
    def train_dataloader(self):
        return Points().loader()


class Pretrained(Plain):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout())
        self.fixed = torch.nn.Linear(1, 1).requires_grad_(False)
        self.body.eval()
        self.fixed.eval()


class Asks(Plain):
    from_data = ("classes", "depth")

    def __init__(self, classes: int, depth: int = 2):
        super().__init__(classes=classes)
        self.depth = depth


class AsksInVain(Plain):
    from_data = ("colours",)

    def __init__(self, colours: int):
        super().__init__()
"""
PLAIN = ["--model", "modules_of_nobody.Plain", "--data", "modules_of_nobody.Points", *QUICK]
RUN = Path("lightning_logs/unnamed/version_0")


@pytest.fixture(autouse=True)
def modules(project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "modules_of_nobody.py").write_text(MODULES)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("modules_of_nobody", None)


def assert_told(finished: Result, *parts: str) -> None:
    """It ended in one sentence, with these parts."""
    assert (finished.code, finished.err.count("\n")) == (2, 1), finished
    assert all(part in finished.err for part in parts), finished.err


def config(run: Path = RUN) -> dict[str, dict[str, object]]:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_a_plain_module_trains_by_its_import_path(kindling: Run) -> None:
    finished = kindling("fit", *PLAIN)
    assert (finished.code, finished.err) == (0, "")
    assert "Plain (21 parameters) on Points" in finished.out
    assert "left out, with what would switch it on: test (test_step and a test_dataloader)" in finished.out
    assert config()["model"] == {"class_path": "modules_of_nobody.Plain", "init_args": {"width": 4, "classes": 10}}
    assert config()["trainer"]["gradient_clip_val"] is None  # it trains as its author wrote it
    assert (RUN / "results.json").is_file()


def test_a_network_that_learns_in_eval_mode_is_told(kindling: Run) -> None:
    told = kindling("fit", *PLAIN, "--model", "modules_of_nobody.Pretrained").out
    assert "note   body: trained in eval mode as built, without dropout; .train() changes that\n" in told
    assert "eval mode" not in kindling("fit", *PLAIN).out


def test_a_module_with_its_own_loaders_needs_no_data(kindling: Run) -> None:
    finished = kindling("fit", "--model", "modules_of_nobody.Alone", *QUICK)
    assert (finished.code, finished.err) == (0, "")
    assert "with loaders of its own" in finished.out
    assert config()["data"] is None


def test_only_arguments_that_a_module_names_come_from_the_data(kindling: Run) -> None:
    assert kindling("fit", *PLAIN, "--model", "modules_of_nobody.Asks").code == 0
    assert config()["model"] == {"class_path": "modules_of_nobody.Asks"}  # the data is asked again on every start
    assert_told(
        kindling("fit", *PLAIN, "--model", "modules_of_nobody.AsksInVain"),
        "Points has no colours, which AsksInVain takes from the data: give it that attribute",
    )
    assert_told(kindling("fit", "--model", "MLP", *QUICK), "MLP takes input_shape", "name one with --data")


def test_a_module_that_is_not_there(kindling: Run) -> None:
    assert_told(kindling("fit", *PLAIN, "--model", "nowhere.Net"), "there is no module nowhere: install it, or put")
    assert_told(kindling("fit", *PLAIN, "--model", "modules_of_nobody.Plane"), "modules_of_nobody has no Plane")


def test_a_run_of_a_foreign_module_asks_for_it_again(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kindling("fit", *PLAIN).code == 0
    del sys.modules["modules_of_nobody"]
    refused = kindling("fit", "--resume", RUN, "--trainer.max_epochs", 3)
    assert_told(
        refused,
        "needs modules_of_nobody.Plain, which is in no installed project: name it again, --model modules_of_nobody.Plain",
    )
    assert "modules_of_nobody" not in sys.modules  # a run can come from anyone
    again = ["--model", "modules_of_nobody.Plain"]  # and the data, which is beside it
    assert kindling("fit", "--resume", RUN, *again, "--trainer.max_epochs", 3).code == 0
    assert config()["trainer"]["max_epochs"] == 3


def test_a_module_without_a_stage_can_not_be_measured(kindling: Run) -> None:
    assert kindling("fit", *PLAIN).code == 0
    again = ["--run", RUN, "--model", "modules_of_nobody.Plain"]
    assert kindling("validate", *again).code == 0
    assert_told(kindling("test", *again), "Plain can't be measured: test needs a test_step")


def test_a_config_keeps_short_names(kindling: Run) -> None:
    assert kindling("fit", "--config", "configs/digits_mlp.yaml", "--model.task", "Classification", *QUICK).code == 0
    kept = config(Path("lightning_logs/digits_mlp/version_0"))
    assert kept["model"]["class_path"] == "MLP"
    assert kept["data"]["class_path"] == "Digits"
    arguments = kept["model"]["init_args"]
    assert isinstance(arguments, dict)
    assert arguments["task"]["class_path"] == "Classification"
    assert arguments["optimizer"]["class_path"] == "torch.optim.AdamW"


def test_a_loss_is_any_module(kindling: Run) -> None:
    importlib.import_module("modules_of_nobody")
    loss = ["--model.task", "Classification", "--model.task.loss", "SquareLoss", "--model.task.loss.power", "1.5"]
    assert kindling("fit", "--config", "configs/digits_mlp.yaml", *loss, *QUICK).code == 0
    arguments = config(Path("lightning_logs/digits_mlp/version_0"))["model"]["init_args"]
    assert isinstance(arguments, dict)
    assert arguments["task"]["init_args"]["loss"] == {
        "class_path": "modules_of_nobody.SquareLoss",
        "init_args": {"power": 1.5},
    }
    assert_told(
        kindling("fit", "--config", "configs/digits_mlp.yaml", *loss[:3], "SquareLos", *QUICK),
        "did you mean SquareLoss",
    )


def test_what_to_type_next_names_a_loss_of_nobody_again(kindling: Run) -> None:
    loss = ["--model.task.loss", "modules_of_nobody.SquareLoss"]
    told = kindling("fit", "--config", "configs/digits_mlp.yaml", *loss, "--name", "a", *QUICK).out
    again = f"--run lightning_logs/a/version_0 {' '.join(loss)}"
    assert f"  kindling test {again}\n" in told
    assert kindling("test", *again.split()).code == 0
    assert_told(kindling("test", "--run", "latest"), f"in no installed project: name it again, {' '.join(loss)}")


@pytest.mark.parametrize("owner", ["kindling.models.mlp", "galaxies.models.mlp"])
def test_a_run_from_before_a_renaming_goes_on(owner: str, kindling: Run) -> None:
    assert kindling("fit", "--config", "configs/digits_mlp.yaml", *QUICK).code == 0
    run = Path("lightning_logs/digits_mlp/version_0")
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("class_path: MLP", f"class_path: {owner}.MLP"))
    assert kindling("test", "--run", run).code == 0
    assert kindling("fit", "--resume", run, "--trainer.max_epochs", 3).code == 0
    assert config(run)["model"]["class_path"] == "MLP"


def test_a_run_whose_model_is_gone_is_refused(kindling: Run) -> None:
    assert kindling("fit", "--config", "configs/digits_mlp.yaml", *QUICK).code == 0
    run = Path("lightning_logs/digits_mlp/version_0")
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("class_path: MLP", "class_path: kindling.models.mlp.Perceptron"))
    assert_told(kindling("test", "--run", run), "which names no LightningModule here")
