"""The commands as a user types them."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import QUICK, Result, child
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kindling.cli.arguments import read_arguments
from kindling.models.base import Model
from kindling.run.saved_split import unchanged_split_of
from my_project.data.digits import Digits

MLP = ["--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK]
RUN = Path("lightning_logs/digits_mlp/version_0")
Run = Callable[..., Result]


def weights(run: Path = RUN, name: str = "best") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def results(path: str = "results.json") -> dict[str, Any]:
    return json.loads((RUN / path).read_text())


def table() -> list[dict[str, str]]:
    with open(RUN / "metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


METRICS = {"loss", "accuracy", "precision", "recall", "f1", "auroc", "calibration_error"}


@pytest.mark.figures
def test_a_run_holds_everything_that_a_training_produced(kindling: Run) -> None:
    finished = kindling("fit", *MLP)
    assert (finished.code, finished.err) == (0, "")
    files = {str(path.relative_to(RUN)) for path in RUN.rglob("*") if path.is_file()}
    events = {name for name in files if "tfevents" in name}
    assert events
    assert files - events == {
        "config.yaml",
        "environment.json",
        "splits.npz",
        "metrics.csv",
        "results.json",
        "summary.json",
        "report.html",
        "lock",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "figures/val_confusion_matrix.png",
        "figures/val_curves.png",
        "figures/test_confusion_matrix.png",
        "figures/test_curves.png",
        "figures/test_worst_images.png",
    }
    found = results()
    assert set(found["val"]) == set(found["test"]) == METRICS
    assert found["epochs"] == 2
    losses = [float(row["val/loss"]) for row in table() if row["val/loss"]]
    assert found["best_epoch"] == losses.index(min(losses)) + 1
    assert found["val"]["loss"] == pytest.approx(min(losses), abs=1e-6)
    assert found["parameters"] == 64 * 32 + 2 * 32 + 33 * 10
    assert found["seconds"] > 0
    assert found["samples_per_second"] > 0

    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["model"]["init_args"]["hidden_sizes"] == [32]
    assert config["trainer"]["gradient_clip_val"] == 1.0
    origin = json.loads((RUN / "environment.json").read_text())
    assert origin["seed"] == 0
    assert origin["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert set(origin) >= {"command", "git_commit", "git_dirty", "cpus", "gpus"}

    rows = table()
    for name in ("train/loss", "train/accuracy", "train/f1", "val/loss", "val/accuracy", "val/f1", "learning_rate"):
        assert sum(bool(row[name]) for row in rows) == 2, name  # once an epoch: an epoch is 18 steps, the interval 50
    assert sum(bool(row["test/accuracy"]) for row in rows) == 1
    scalars = EventAccumulator(str(RUN)).Reload().Tags()["scalars"]
    assert {"train/loss", "val/loss", "val/accuracy", "when trained/test/accuracy"} <= set(scalars)
    assert "hp_metric" not in scalars


def test_the_output_says_what_where_and_what_next(kindling: Run) -> None:
    out = kindling("fit", *MLP).out
    assert (
        "MLP (2,442 parameters, Classification) on Digits (1×8×8 → 10 classes; 1,167 train, 270 val, 360 test)" in out
    )
    assert f"run    {RUN}\n" in out
    assert re.search(r"^epoch 2/2  train/loss \S+  val/loss \S+  val/accuracy \S+$", out, re.MULTILINE)
    assert re.search(r"accuracy +│ +0\.\d{4} +│ +0\.\d{4}", out)
    assert f"in {RUN}: report.html, checkpoints, metrics.csv" in out
    assert f"kindling test --run {RUN}\n" in out


@pytest.mark.slow
def test_variables_that_lightning_would_read_are_named(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    output = kindling("fit", *MLP, "--trainer.fast_dev_run", "1").out
    assert "PL_TRAINER_MAX_EPOCHS: ignored, since only flags and YAML count: use --trainer.max_epochs" in output


@pytest.mark.slow
def test_a_user_sees_no_warning_tip_or_advert(project: Path) -> None:
    finished = child("fit", *MLP, cwd=project)
    assert (finished.code, finished.err) == (0, "")
    assert not re.search("warn|deprecat|tip:|💡|litlogger|GPU available|Restor", finished.out, re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.figures
def test_test_and_validate_repeat_the_results_to_the_last_digit(kindling: Run) -> None:
    kindling("fit", *MLP)
    assert kindling("test", "--run", RUN).code == 0
    assert results("test/results.json")["test"] == results()["test"]
    assert kindling("validate", "--run", "latest").code == 0
    assert results("validate/results.json")["val"] == results()["val"]
    assert (RUN / "test" / "figures" / "test_confusion_matrix.png").is_file()


@pytest.mark.slow
def test_another_process_repeats_them_too(project: Path) -> None:
    child("fit", *MLP, cwd=project)
    assert child("test", "--run", RUN, cwd=project).code == 0
    assert results("test/results.json")["test"] == results()["test"]


def test_a_checkpoint_can_be_chosen(kindling: Run) -> None:
    kindling("fit", *MLP)
    for ckpt in ("last", RUN / "checkpoints" / "last.ckpt"):
        assert kindling("test", "--run", RUN, "--ckpt", ckpt).code == 0
        assert results("test/results.json")["checkpoint"] == str(RUN / "checkpoints" / "last.ckpt")
    path = RUN / "checkpoints" / "best.ckpt"
    assert kindling("test", *MLP, "--ckpt", path).code == 0  # without a run: the config says what the model is


def test_flags_beat_the_run_wherever_they_stand(kindling: Run) -> None:
    kindling("fit", *MLP)
    before = results()["test"]
    flag = ["--model.task", "Classification", "--model.task.label_smoothing", "0.5"]
    for arguments in (["--run", RUN, *flag], [*flag, "--run", RUN]):
        assert kindling("test", *arguments).code == 0
        after = results("test/results.json")["test"]
        assert after["accuracy"] == before["accuracy"]
        assert after["loss"] > before["loss"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(kindling: Run) -> None:
    for seed in (0, 0, 1):
        kindling("fit", *MLP, "--seed_everything", seed)
    first, second, third = (weights(RUN.with_name(f"version_{version}")) for version in range(3))
    assert same(first, second)
    assert not same(first, third)


def test_the_split_is_the_same_for_every_seed(kindling: Run) -> None:
    kindling("fit", *MLP, "--seed_everything", 5)
    before = results()["test"]
    assert kindling("test", "--run", RUN, "--seed_everything", 6).code == 0
    assert results("test/results.json")["test"] == before


def split_of(run: Path = RUN) -> dict[str, list[int]]:
    with np.load(run / "splits.npz") as saved:
        return {name: saved[name].tolist() for name in ("train", "val", "test")}


def test_a_run_keeps_its_split_and_test_uses_it(kindling: Run) -> None:
    kindling("fit", *MLP)
    saved = split_of()
    assert saved == {name: indices.tolist() for name, indices in Digits().splits.items()}
    before = results()["test"]
    with np.load(RUN / "splits.npz") as file:  # as another version of the splitter might have drawn it
        other = dict(file)
    other["test"] = other["test"][:20]
    np.savez(RUN / "splits.npz", **other)
    assert kindling("test", "--run", RUN, "--data.batch_size", 7).code == 0
    (total,) = [line for line in kindling("test", "--run", RUN).out.splitlines() if line.startswith("MLP ")]
    assert "20 test" in total
    assert kindling("test", "--run", RUN, "--data.split_seed", 0).code == 0  # a flag that says how to split wins
    assert results("test/results.json")["test"] == before
    assert yaml.safe_load((RUN / "config.yaml").read_text())["data"]["init_args"]["split_file"] is None


def test_only_what_changes_the_split_lets_go_of_it(kindling: Run) -> None:
    kindling("fit", *MLP)
    overlay = Path("overlay.yaml")
    overlay.write_text("data:\n  init_args:\n    batch_size: 16\n", encoding="utf-8")
    for flags, kept in {
        ("--data.workers", "0"): True,
        ("--config", "overlay.yaml"): True,
        ("--data", "Digits"): True,
        ("--data.val_fraction", "0.2"): False,
        ("--data", "Wine"): False,
    }.items():
        arguments = read_arguments(["test", "--run", str(RUN), *flags])
        split = unchanged_split_of(arguments.run, arguments.settings, arguments.changes)
        assert (split is not None) == kept, flags


def test_a_resumed_run_keeps_its_split_and_says_nothing_of_it(kindling: Run) -> None:
    kindling("fit", *MLP)
    saved = split_of()
    assert kindling("fit", "--resume", RUN, "--trainer.max_epochs", 3).code == 0
    assert split_of() == saved
    assert yaml.safe_load((RUN / "config.yaml").read_text())["data"]["init_args"]["split_file"] is None


def test_a_run_whose_data_has_changed_is_refused(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kindling("fit", *MLP)
    load = Digits.load
    monkeypatch.setattr(Digits, "load", lambda self: tuple(part[:-1] for part in load(self)))
    finished = kindling("test", "--run", RUN)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "the data has changed since the split in " in finished.err


def test_the_split_of_another_run_can_be_taken(kindling: Run) -> None:
    kindling("fit", *MLP, "--data.split_seed", 3)
    flags = ["--data.split_file", RUN / "splits.npz", "--name", "second"]
    assert kindling("fit", *MLP, *flags).code == 0
    assert split_of(Path("lightning_logs/second/version_0")) == split_of() != Digits().splits


def test_classes_are_counted_and_balanced(kindling: Run) -> None:
    flags = ["--model.task", "Classification", "--model.task.class_weights", "balanced"]
    finished = kindling("fit", *MLP, *flags)
    assert (finished.code, finished.err) == (0, "")
    assert "train  0: 115, 1: 119, 2: 115" in finished.out
    counts = results()["class_counts"]
    assert counts["train"]["0"] == 115
    assert sum(counts["test"].values()) == 360
    expected = [1167 / (10 * count) for count in counts["train"].values()]
    assert weights()["task.criterion.weight"].tolist() == pytest.approx(expected)
    assert kindling("test", "--run", RUN).code == 0
    assert results("test/results.json")["test"] == results()["test"]
    texts = EventAccumulator(str(RUN)).Reload().Tags()["tensors"]
    assert "class counts/text_summary" in texts


def test_resume_goes_on_in_the_same_folder(kindling: Run) -> None:
    kindling("fit", *MLP)
    resolved = (RUN / "config.yaml").read_text()
    finished = kindling("fit", "--resume", RUN, "--trainer.max_epochs", 4)
    assert (finished.code, finished.err) == (0, "")
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    assert results()["epochs"] == 4
    steps = [int(row["step"]) for row in table() if row["val/loss"]]
    assert steps == [17, 35, 53, 71]
    assert (RUN / "config.0.yaml").read_text() == resolved
    assert yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]["max_epochs"] == 4
    assert "epoch 3/4" in finished.out
    assert "epoch 2/4" not in finished.out


def test_a_table_whose_last_line_was_cut_off_is_resumed(kindling: Run) -> None:
    kindling("fit", *MLP)
    with open(RUN / "metrics.csv", "a", encoding="utf-8") as file:
        file.write("3,0.1")
    assert kindling("fit", "--resume", RUN, "--trainer.max_epochs", 3).code == 0
    assert [int(row["step"]) for row in table() if row["val/loss"]] == [17, 35, 53]


def test_a_run_that_was_moved_remembers_its_best(kindling: Run) -> None:
    kindling("fit", *MLP, "--trainer.max_epochs", 4)
    best = results()["best_epoch"]
    moved = Path("elsewhere/my best run")
    moved.parent.mkdir()
    RUN.rename(moved)
    flags = ["--trainer.max_epochs", 6, "--checkpoint.mode", "min", "--trainer.limit_val_batches", 1]
    before = weights(moved)
    checkpoint = torch.load(moved / "checkpoints" / "last.ckpt", weights_only=True)
    (key,) = [key for key in checkpoint["callbacks"] if key.startswith("Checkpoint")]
    checkpoint["callbacks"][key]["best_model_score"] = torch.tensor(0.0)  # nothing will be better
    checkpoint["callbacks"][key]["kth_value"] = torch.tensor(0.0)
    (path,) = checkpoint["callbacks"][key]["best_k_models"]
    checkpoint["callbacks"][key]["best_k_models"] = {path: torch.tensor(0.0)}
    del checkpoint["sealed"]  # what follows has no checksum
    torch.save(checkpoint, moved / "checkpoints" / "last.ckpt")
    assert kindling("fit", "--resume", moved, *flags).code == 0
    assert same(weights(moved), before)
    assert json.loads((moved / "results.json").read_text())["best_epoch"] == best


def test_a_finished_run_says_so(kindling: Run) -> None:
    kindling("fit", *MLP)
    before = {path: path.stat().st_mtime_ns for path in RUN.rglob("*") if path.name != "lock"}
    finished = kindling("fit", "--resume", RUN)
    assert (finished.code, finished.err) == (0, "")
    assert finished.out == f"nothing to do: {RUN} has trained its 2 epochs; --trainer.max_epochs 4 trains on\n"
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_a_killed_run_can_be_resumed(project: Path) -> None:
    command = [sys.executable, "-m", "kindling", "fit", *MLP, "--trainer.max_epochs", "500"]
    command += ["--early_stopping.patience", "500"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("epoch 3/"):
            break
    process.kill()
    process.wait()
    epoch = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    assert epoch >= 2
    finished = child("fit", "--resume", "latest", "--trainer.max_epochs", epoch + 1, cwd=project)
    assert (finished.code, finished.err) == (0, "")
    assert f"epoch {epoch + 1}/{epoch + 1}" in finished.out
    assert results()["epochs"] == epoch + 1


@pytest.mark.slow
def test_two_processes_train_one_model_in_one_run(project: Path) -> None:
    finished = child("fit", *MLP, "--trainer.devices", 2, "--trainer.strategy", "ddp", cwd=project)
    assert (finished.code, finished.err) == (0, "")
    assert [path.name for path in RUN.parent.iterdir()] == ["version_0"]
    assert child("test", "--run", "latest", cwd=project).code == 0
    one, two = results("test/results.json")["test"], results()["test"]
    assert one == pytest.approx(two, abs=1e-6)


def test_the_run_is_filed_under_the_experiment_or_a_name(kindling: Run) -> None:
    kindling("fit", *MLP, "--trainer.max_epochs", 1, "--name", "mine")
    kindling("fit", "--model", "MLP", "--data", "Digits", "--trainer.max_epochs", 1)
    assert Path("lightning_logs/mine/version_0/results.json").is_file()
    assert Path("lightning_logs/unnamed/version_0/results.json").is_file()


def test_data_and_task_change_with_one_flag(kindling: Run) -> None:
    assert kindling("fit", *MLP, "--data", "SyntheticRegression").code == 0
    assert set(results()["test"]) == {"loss", "mae", "rmse", "r2"}


def test_the_best_checkpoint_follows_the_metric_asked_for(kindling: Run) -> None:
    worst = ["--checkpoint.mode", "max", "--trainer.max_epochs", 3]  # the highest loss: the first epoch's
    assert kindling("fit", *MLP, *worst).code == 0
    losses = [float(row["val/loss"]) for row in table() if row["val/loss"]]
    assert results()["best_epoch"] == losses.index(max(losses)) + 1 == 1


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy(kindling: Run) -> None:
    """At least 0.985 on the test split, by which no setting was chosen."""
    assert kindling("fit", "--config", "configs/digits_resnet.yaml", "--trainer.accelerator", "cpu").code == 0
    found = json.loads(Path("lightning_logs/digits_resnet/version_0/results.json").read_text(encoding="utf-8"))
    assert found["test"]["accuracy"] >= 0.985


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C in the middle of the epoch after `epochs` epochs."""
    step = Model.training_step

    def interrupted(self: Model, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == epochs and batch_idx == 5:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Model, "training_step", interrupted)


def test_a_stopped_and_resumed_run_ends_as_one_that_was_not(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [*MLP, "--trainer.max_epochs", 4]
    kindling("fit", *flags)
    whole, rows = weights(name="last"), table()
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        assert kindling("fit", *flags, "--name", "stopped").code == 130
    run = Path("lightning_logs/stopped/version_0")
    assert kindling("fit", "--resume", run).code == 0
    assert same(weights(run, "last"), whole)
    assert (run / "metrics.csv").read_text().count("\n") == len(rows) + 1
    seconds = [json.loads((path / "results.json").read_text())["samples_per_second"] > 0 for path in (RUN, run)]
    assert all(seconds)


def test_ctrl_c_says_how_to_go_on(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(1, monkeypatch)
    assert kindling("fit", *MLP).err == f"kindling: stopped; to go on: kindling fit --resume {RUN}\n"
    page = (RUN / "report.html").read_text(encoding="utf-8")
    assert f"<strong>Not finished.</strong> stopped; to go on: kindling fit --resume {RUN}</p>" in page
    assert "validation: " in page  # of the one epoch


def test_a_run_killed_before_its_test_is_tested_on_resume(kindling: Run) -> None:
    kindling("fit", *MLP)
    before = results()
    (RUN / "results.json").unlink()
    assert kindling("fit", "--resume", RUN).code == 0
    assert results()["test"] == before["test"]


@pytest.mark.parametrize("setting", [["--trainer.check_val_every_n_epoch", 2], ["--trainer.val_check_interval", 5]])
def test_the_last_checkpoint_is_the_last(setting: list[object], kindling: Run) -> None:
    kindling("fit", *MLP, "--trainer.max_epochs", 3, *setting)
    assert torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3 * 18


def test_a_run_that_stopped_early_trains_on_when_told_to(kindling: Run) -> None:
    never = ["--early_stopping.min_delta", 100, "--early_stopping.patience", 1, "--trainer.max_epochs", 9]
    out = kindling("fit", *MLP, *never).out
    assert "stopped early: " in out
    assert results()["epochs"] == 2
    kindling("fit", "--resume", RUN, "--early_stopping.patience", 3)
    assert results()["epochs"] == 5
    assert "stopped early" not in kindling("fit", "--resume", RUN, "--early_stopping.patience", "null").out
    assert results()["epochs"] == 9


def test_a_refused_resume_leaves_the_run_as_it_was(kindling: Run) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in RUN.rglob("*") if path.suffix in (".yaml", ".json", ".ckpt")}

    kindling("fit", *MLP)
    before = content()
    more = ["--trainer.max_epochs", "4"]
    for flags, message in (
        (["--model.optimizer.weight_decay", "0.5"], "a resumed run keeps its optimizer"),
        (["--model.schedule", "null"], "a resumed run keeps its schedule"),
        (["--trainer.max_epochs", "1"], "has trained 2 epochs: give a larger --trainer.max_epochs"),
        ([*more, "--early_stopping.monitor", "val_loss"], "EarlyStopping monitors val_loss"),
    ):
        finished = kindling("fit", "--resume", RUN, *flags)
        assert finished.code == 2
        assert message in finished.err
        assert content() == before
    assert kindling("fit", "--resume", RUN, *more).code == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--trainer.enable_progress_bar", "false", "--trainer.limit_test_batches", "0"],
        ["--trainer.callbacks+=EMAWeightAveraging", "--trainer.enable_model_summary", "false"],
        ["--model.optimizer", "SGD", "--model.optimizer.lr", "0.1", "--model.schedule", "null"],
        ["--trainer.callbacks+=TQDMProgressBar", "--model.schedule", "StepLR", "--model.schedule.step_size", "1"],
        ["--trainer.precision", "bf16-mixed", "--trainer.accumulate_grad_batches", "2"],
        ["--trainer.precision", "64-true", "--trainer.gradient_clip_val", "null"],
        ["--trainer.limit_val_batches", "0", "--trainer.num_sanity_val_steps", "0"],
    ],
    ids=lambda flags: flags[0],
)
def test_settings_that_users_change(flags: list[str], kindling: Run) -> None:
    finished = kindling("fit", *MLP, *flags)
    assert (finished.code, finished.err) == (0, "")
    assert results()["epochs"] == 2


def test_no_logger_and_no_checkpoints(kindling: Run) -> None:
    assert kindling("fit", *MLP, "--trainer.logger", "false", "--trainer.enable_checkpointing", "false").code == 0
    files = {"config.yaml", "environment.json", "lock", "report.html", "results.json", "splits.npz", "summary.json"}
    assert {path.name for path in RUN.iterdir()} == files


def test_a_run_of_a_few_steps(kindling: Run) -> None:
    assert kindling("fit", *MLP, "--trainer.max_steps", 10).code == 0
    assert results()["test"]["loss"] > 0


def test_accumulation_counts_every_sample_and_logs_a_step_once(kindling: Run) -> None:
    kindling("fit", *MLP, "--trainer.accumulate_grad_batches", 4)
    checkpoint = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)
    (record,) = [state for name, state in checkpoint["callbacks"].items() if "Record" in name]
    assert record["samples"] == 2 * 18 * 64
    steps = [row["step"] for row in table() if row["learning_rate"]]
    assert len(steps) == len(set(steps)) == 2


def test_help_of_a_command_shows_the_models_arguments(kindling: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        kindling("fit", "--model.help", "MLP")
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "share of hidden units zeroed in training" in out
    assert "--model.optimizer" in out
