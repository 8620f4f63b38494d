"""A checkpoint that can't be trusted or does not fit is refused in one sentence, and nothing in it runs."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import QUICK, Result

from kindling.models.mlp import MLP
from kindling.runs import UsageError, read_checkpoint

FIT = ["fit", "--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK]
RUN = Path("lightning_logs/digits_mlp/version_0")
BEST = RUN / "checkpoints" / "best.ckpt"
Run = Callable[..., Result]


@pytest.fixture
def trained(kindling: Run) -> Run:
    assert kindling(*FIT).code == 0
    return kindling


def assert_refused(finished: Result, *parts: str) -> None:
    assert finished.code == 2
    assert finished.err.startswith("kindling: ")
    assert finished.err.count("\n") == 1
    for part in parts:
        assert part in finished.err
    assert "Traceback" not in finished.out + finished.err


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint(share: float, trained: Run) -> None:
    content = BEST.read_bytes()
    BEST.write_bytes(content[: int(share * len(content))])
    assert_refused(trained("test", "--run", RUN), str(BEST), "damaged", "--ckpt")


def test_a_file_that_is_no_checkpoint(trained: Run) -> None:
    BEST.write_text("weights, honestly")
    assert_refused(trained("test", "--run", RUN), str(BEST), "not a checkpoint, or it is damaged")
    torch.save({"weights": torch.zeros(1)}, BEST)
    assert_refused(trained("test", "--run", RUN), str(BEST), "has no state_dict")


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def save_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("save", "message"),
    [(torch.save, "is refused and nothing in it was run"), (save_pickle, "is not a checkpoint, or it is damaged")],
)
@pytest.mark.parametrize("command", [["test", "--run", RUN], ["fit", "--resume", RUN, "--trainer.max_epochs", 5]])
def test_a_malicious_pickle_is_refused_unexecuted(
    save: Callable[..., None], message: str, command: list[object], trained: Run
) -> None:
    for path in BEST.parent.iterdir():
        save({"state_dict": {}, "epoch": Malicious()}, path)
    assert_refused(trained(*command), message)
    assert not Path("pwned").exists()
    torch.load(BEST, weights_only=False) if save is torch.save else pickle.loads(BEST.read_bytes())
    assert Path("pwned").exists()  # it would have run


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--model.hidden_sizes", "[16]"], "hidden_sizes is [32] in the checkpoint and [16] here"),
        (["--model.norm", "null"], "norm is batch in the checkpoint and None here"),
        (["--model", "ResNet"], "the model is kindling.models.mlp.MLP in the checkpoint and kindling.models.resnet.ResNet"),
        (["--data.classes", "[1, 2]"], "classes is ['0', "),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_architecture(flags: list[str], difference: str, trained: Run) -> None:
    assert_refused(trained("test", "--run", RUN, *flags), str(BEST), "does not fit", difference)


def test_weights_that_differ_where_the_settings_agree(tmp_path: Path) -> None:
    model = MLP(input_shape=(4,), classes=["a", "b"], hidden_sizes=[3])
    state = {name: weight.new_zeros(7) for name, weight in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "odd.ckpt")
    with pytest.raises(UsageError, match=r"weight net.1.weight is \(7,\) in the checkpoint and \(3, 4\) here"):
        read_checkpoint(tmp_path / "odd.ckpt", model)


def test_a_refused_resume_loses_nothing(trained: Run) -> None:
    files = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    last = RUN / "checkpoints" / "last.ckpt"
    last.write_bytes(b"")
    assert_refused(trained("fit", "--resume", RUN, "--trainer.max_epochs", 5), str(last), "damaged")
    files[last] = b""
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == files


def test_checkpoints_hold_plain_values_alone(trained: Run) -> None:
    checkpoint = torch.load(BEST, weights_only=True)
    assert checkpoint["hyper_parameters"]["hidden_sizes"] == [32]
    assert checkpoint["hyper_parameters"]["classes"] == [str(digit) for digit in range(10)]
    assert checkpoint["hyper_parameters"]["input_shape"] == (1, 8, 8)
    assert checkpoint["hyper_parameters"]["optimizer"]["class_path"] == "torch.optim.AdamW"
    loaded = MLP.load_from_checkpoint(BEST, weights_only=True)
    assert all(torch.equal(weight, checkpoint["state_dict"][name]) for name, weight in loaded.state_dict().items())
