"""W&B without its server and MLflow with sqlite through a training that is killed twice, and a test.

What they hold is read by their own libraries: MLflow's client, and the records that W&B writes to its log.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

pytest.importorskip("wandb")
pytest.importorskip("mlflow")

RUN = Path("lightning_logs/digits_mlp/version_0")
FIT = [
    "fit", "--config", "configs/digits_mlp.yaml", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu",
    "--checkpoint.every_steps", "10", "--trainer.log_every_n_steps", "1",
    "--trainer.logger=[WandbLogger, MLFlowLogger]",
]  # fmt: skip
STEPS = 54
# A command that is killed at the beginning of a step, when W&B has written something.
KILLED_AT = """
import os, signal, sys, time
from pathlib import Path
from kindling import main
from kindling.run.record import Record

def fall(self, trainer, model, batch, batch_idx):
    if trainer.global_step == int(sys.argv[1]):
        while not any(log.stat().st_size > 1000 for log in Path("lightning_logs").rglob("latest-run/*.wandb")):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

Record.on_train_batch_start = fall
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def offline(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, with a home of its own and no network."""
    settings = {
        "HOME": project / "home", "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
    }  # fmt: skip
    (project / "home").mkdir()
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return project


def command(*argv: str) -> Result:
    """Runs Python, and ends what it has started, whatever happens."""
    with subprocess.Popen(
        [sys.executable, *argv], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=600)
        finally:
            _end_services_of(process.pid)
            process.kill()
    return Result(process.returncode, out, err)


def _end_services_of(process: int) -> None:
    """End W&B's background process, if it did not end with the process that it serves."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"wandb-core" in arguments[0] and str(process).encode() in arguments:
            os.kill(int(path.parent.name), 9)


def wandb_records(log: Path) -> Iterator[Any]:
    """The records of a log of W&B: LevelDB's format, in blocks of 32 KiB, after seven bytes of W&B's own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, begun = log.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left_in_block = 2**15 - place % 2**15
        if left_in_block < 7:
            place += left_in_block
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        begun += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record()
            record.ParseFromString(begun)
            begun = b""
            yield record


@pytest.mark.slow
@pytest.mark.figures
def test_what_they_hold_after_two_kills_a_resume_and_a_test(offline: Path) -> None:
    for step, arguments in ((29, FIT), (24, ["fit", "--resume", str(RUN)])):
        killed = command("-c", KILLED_AT, str(step), *arguments)
        assert killed.code == -9, killed.err
    for arguments in (["fit", "--resume", str(RUN)], ["test", "--run", str(RUN)]):
        finished = command("-m", "kindling", *arguments)
        assert finished.code == 0, finished.err
    assert sorted(path.name for path in offline.iterdir()) == ["configs", "home", "lightning_logs"]
    assert not (offline / "home" / ".netrc").exists()
    _check_mlflow()
    _check_wandb()


def _check_mlflow() -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient("sqlite:///lightning_logs/mlflow.db")
    (experiment,) = (each for each in client.search_experiments() if each.name == "lightning_logs")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("digits_mlp/version_0", "FINISHED")
    assert run.data.params["model.optimizer"] == "AdamW"

    def steps(metric: str) -> list[int]:
        return [each.step for each in client.get_metric_history(run.info.run_id, metric)]

    assert steps("train/loss") == steps("learning_rate") == list(range(STEPS))
    assert steps("val/loss") == [17, 35, 53]
    assert steps("best/val_loss") == [STEPS]
    assert steps("test/loss") == [STEPS, STEPS]  # of the training, and of the command
    images = [Path(each.path).name for each in client.list_artifacts(run.info.run_id, "images")]
    drawn = Counter(name.partition("+timestamp")[0] for name in images if name.endswith("png"))
    assert {drawn[f"val~confusion_matrix+step+{step}"] for step in (17, 53)} == {1}
    assert drawn[f"test~confusion_matrix+step+{STEPS}"] == 2


def _check_wandb() -> None:
    logs = sorted(RUN.glob("wandb/offline-run-*/*.wandb"))
    assert len(logs) == 4
    assert len({log.name for log in logs}) == 1  # of one run
    assert not [
        path for path in (RUN / "wandb").rglob("*") if path.is_symlink() and RUN.resolve() not in path.resolve().parents
    ]
    records = [record for log in logs for record in wandb_records(log)]
    assert {record.run.display_name for record in records if record.HasField("run")} == {"digits_mlp/version_0"}
    rows = [
        {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    logged = Counter((int(row["trainer/global_step"]), name) for row in rows for name in row)
    assert max(logged[step, "train/loss"] for step in range(STEPS)) == 1
    # What the kills have cut off, at most, are the last rows before the first of them.
    assert {step for step in range(STEPS) if (step, "train/loss") not in logged} <= set(range(29))
    assert [step for step in range(29, STEPS) if (step, "val/loss") in logged] == [35, 53]
    assert (logged[STEPS, "best/val_loss"], logged[STEPS, "test/loss"]) == (1, 2)
    settings = [update.key for record in records if record.HasField("config") for update in record.config.update]
    assert settings.count("model.optimizer.lr") <= 1  # unless the first kill came before it was written
