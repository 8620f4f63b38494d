"""`kindling board`, asked as a browser asks: TensorBoard runs in this process, on runs that were logged and not trained."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest
from conftest import Result, assert_refused
from tensorboard import program
from torch.utils.tensorboard import SummaryWriter

from kindling.cli.board import start, told
from kindling.run.dashboard import Dashboard
from kindling.run.loggers import run_loggers
from kindling.tasks import Classification

MLP = {"class_path": "MLP", "init_args": {"dropout": 0.1, "hidden": [8], "optimizer": {"lr": 0.001}}}
VIT = {"class_path": "ViT", "init_args": {"depth": 2, "optimizer": {"lr": 0.0003}}}
RUNS = (("mlp/version_0", MLP, 0, 0.5), ("mlp/version_1", MLP, 1, 0.75), ("vit/version_0", VIT, 0, 0.875))
METRICS = ("accuracy", "auroc", "loss")


def log_run(folder: Path, model: dict[str, Any], seed: int, accuracy: float) -> None:
    """Log what a training of two epochs does."""
    loggers = run_loggers(folder, "fit", None)
    config = {
        "model": model,
        "data": {"class_path": "Digits", "init_args": {"batch_size": 64, "fold": 0, "augmentation": "none"}},
        "trainer": {"max_epochs": 2, "gradient_clip_val": 1.0, "accumulate_grad_batches": 1, "precision": "32-true"},
        "seed_everything": seed,
    }
    trainer: Any = SimpleNamespace(loggers=loggers, is_global_zero=True, global_step=0, datamodule=None)
    task = Classification()
    task.build(task.fits, 3)
    module: Any = SimpleNamespace(task=task)
    Dashboard(config).on_train_start(trainer, module)
    (board, _) = loggers
    for step in (0, 1):
        board.log_metrics({"train/loss": 1.0 / (step + 1), "learning_rate": 0.001, "gradient_norm": 2.0}, step)
        board.log_metrics({f"val/{name}": accuracy - step for name in METRICS}, step)
    board.log_metrics({f"test/{name}": 0.25 for name in METRICS}, 2)
    Dashboard.finish(loggers, dict.fromkeys(METRICS, accuracy), {}, 2)
    board.save()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a model and one of another; and one with the tags of an older Kindling, and columns of its own."""
    folder = tmp_path_factory.mktemp("runs")
    for name, model, seed, accuracy in RUNS:
        log_run(folder / name, model, seed, accuracy)
    with SummaryWriter(str(folder / "older")) as older:  # type: ignore[no-untyped-call]
        older.add_hparams({"model": "RNN", "model.cells": 4}, {"best/val_accuracy": 0.625}, run_name=".")  # type: ignore[no-untyped-call]
    return folder


def wait_for(true: Callable[[], bool]) -> None:
    """Wait until TensorBoard, which reads in the background, is so far."""
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """A port at which another program listens."""
    with socket.create_server(("localhost", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture(scope="module")
def address(runs: Path, taken: int) -> str:
    url = start(runs, port=taken)
    wait_for(lambda: len(asked(url, "data/runs")) == len(RUNS) + 1)
    return url


def asked(address: str, what: str, **request: Any) -> Any:
    sent = json.dumps(request).encode() if request else None
    with urlopen(Request(address + what, sent, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)


def experiment(address: str) -> dict[str, Any]:
    found: dict[str, Any] = asked(address, "data/plugin/hparams/experiment", experimentName="", hparamsLimit=1000)
    for info in found["hparamInfos"]:
        info.get("domainDiscrete", []).sort(key=str)  # in no order of their own
    return found


def test_the_bare_address_leads_to_the_curves_that_count(address: str) -> None:
    with urlopen(address) as page:
        assert b"TensorBoard" in page.read()
        query = parse_qs(urlsplit(page.url).query)
    assert [card["tag"] for card in json.loads(query["pinnedCards"][0])] == ["train/loss", "val/loss", "val/accuracy"]
    assert query["smoothing"] == ["0"]
    with urlopen(f"{address}?smoothing=0.5") as page:  # what was asked for is not changed
        assert page.url == f"{address}?smoothing=0.5"


def test_curves_come_before_single_values(address: str) -> None:
    tags = asked(address, "data/plugin/timeseries/tags")["scalars"]["runTagInfo"]["vit/version_0"]
    groups = list(dict.fromkeys(tag.partition("/")[0] for tag in sorted(tags)))
    assert groups == ["train", "val", "when trained", "while training"]
    assert {"train/loss", "val/loss", "val/accuracy", "when trained/best/val_loss", "when trained/test/loss"} < set(
        tags
    )
    assert {"while training/learning_rate", "while training/gradient_norm"} < set(tags)


def test_first_columns_are_what_matters(address: str) -> None:
    columns = experiment(address)
    settings = [(info["name"], info["differs"]) for info in columns["hparamInfos"]]
    assert settings[:4] == [(name, True) for name in ("model", "data", "model.optimizer.lr", "data.batch_size")]
    assert settings[4] == ("seed", True)  # the others that differ come next
    assert [name for name, _ in settings[-3:]] == ["model.hidden", "model.cells", "model.depth"]  # which one run has
    assert ("data.fold", False) in settings
    metrics = [info["displayName"] for info in columns["metricInfos"]]
    assert metrics[:5] == ["best/val_accuracy", "best/val_loss", "best/val_auroc", "test/accuracy", "test/auroc"]
    assert metrics[-2:] == ["gradient_norm", "learning_rate"]
    assert len(metrics) == len(set(metrics))


def test_each_run_has_its_values_whatever_wrote_them(address: str) -> None:
    asks = {"metrics": experiment(address)["metricInfos"], "statuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS"]}
    columns = [{"metric": info["name"]} for info in asks["metrics"]]
    found = asked(
        address,
        "data/plugin/hparams/session_groups",
        experimentName="",
        allowedStatuses=asks["statuses"],
        colParams=columns,
        startIndex=0,
        sliceSize=100,
    )["sessionGroups"]
    rows = {row["name"]: row for row in found}
    accuracies = {
        name: value["value"]
        for name, row in rows.items()
        for value in row["metricValues"]
        if value["name"]["tag"] == "when trained/best/val_accuracy"
    }
    assert accuracies == {**{name: accuracy for name, _, _, accuracy in RUNS}, "older": 0.625}
    assert rows["vit/version_0"]["hparams"]["model.depth"] == 2
    assert rows["mlp/version_1"]["hparams"]["model.optimizer.lr"] == 0.001
    assert rows["older"]["hparams"] == {"model": "RNN", "model.cells": 4}


def test_a_taken_port_is_said_and_the_next_one_used(runs: Path, taken: int, address: str) -> None:
    used = urlsplit(address).port or 0
    assert taken < used < taken + 100
    shown = f"{runs} is shown at http://localhost:{used}/    (Ctrl-C ends it)"
    assert told(runs, "localhost", taken, address, {}) == [f"port {taken} is taken, so it is {used}", shown]


def test_over_ssh_and_in_a_notebook_it_says_what_to_type() -> None:
    ssh = {"SSH_CONNECTION": "10.0.0.9 51000 10.0.0.2 22", "USER": "ada"}
    _, *lines = told(Path("logs"), "localhost", 6006, "http://localhost:6006/", ssh)
    assert lines[-1] == "  ssh -N -L 6006:localhost:6006 ada@10.0.0.2"
    ssh["SSH_CONNECTION"] = "10.0.0.9 51000 10.0.0.2 2222"
    _, *lines = told(Path("logs"), "0.0.0.0", 0, "http://node7:6007/", ssh)
    assert lines[0] == "whoever reaches this computer can see it"
    assert lines[-1] == "  ssh -N -L 6007:localhost:6007 -p 2222 ada@10.0.0.2"
    _, *lines = told(Path("my logs"), "localhost", 6006, "http://localhost:6006/", {"JPY_PARENT_PID": "1"})
    assert lines[-1] == "  %load_ext tensorboard\n  %tensorboard --logdir 'my logs'"


def test_what_can_not_be_shown_is_refused(
    kindling: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = "there is no run to show in {}: expected TensorBoard's events, as fit writes in lightning_logs/"
    assert_refused(kindling("board"), nothing.format("lightning_logs"))
    assert_refused(kindling("board", "configs"), nothing.format("configs"))
    assert_refused(kindling("board", "x" * 300), "xxx")  # whose name no file system takes
    assert_refused(kindling("board", "--port", 70000), "--port is 70000: expected 0 to 65535")
    assert_refused(kindling("board", "--port", "x"), "--port: invalid int value: 'x'")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/events.out.tfevents.1.host.2").touch()
    assert_refused(kindling("board", "run", "--host", "203.0.113.7"), "can't listen at 203.0.113.7, port 6006: ")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert_refused(kindling("board", "run"), "): pip install --upgrade tensorboard")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no process there can press another's Ctrl-C")
def test_ctrl_c_ends_it_quietly_and_it_needs_no_torch(runs: Path) -> None:
    code = "import signal, sys; from kindling import main; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"  # in the background SIGINT is ignored
    command = [sys.executable, "-c", code, "board", str(runs / "mlp"), "--port", "0"]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(f"{runs / 'mlp'} is shown at http://localhost:")
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "\n0 False\n", "")


@pytest.mark.slow
def test_tensorboards_own_reader_does_as_well(
    runs: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise program.server_ingester.NoDataServerError

    monkeypatch.setattr(program.server_ingester, "get_server_binary", missing)  # where there is none for the platform
    url = start(runs, port=0)
    wait_for(lambda: len(asked(url, "data/runs")) == len(RUNS) + 1)
    assert experiment(url) == experiment(address)
    assert capsys.readouterr().err == ""
