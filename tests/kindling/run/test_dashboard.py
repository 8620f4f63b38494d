"""What TensorBoard reads of a run, asked of TensorBoard's own code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata

FIT = ["fit", "--config", "configs/digits_mlp.yaml", "--trainer.max_epochs", 1, "--trainer.accelerator", "cpu"]


def events(version: int) -> EventAccumulator:
    return EventAccumulator(f"lightning_logs/digits_mlp/version_{version}").Reload()


def hyperparameters(version: int) -> dict[str, Any]:
    content = events(version).SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def test_a_sweep_by_hand_can_be_compared(kindling: Callable[..., Result]) -> None:
    for rate in (0.001, 0.01):
        assert kindling(*FIT, "--model.optimizer.lr", rate).code == 0
    first, second = hyperparameters(0), hyperparameters(1)
    assert {name for name in first if first[name] != second[name]} == {"model.optimizer.lr"}
    assert (first["model.optimizer.lr"], second["model.optimizer.lr"]) == (0.001, 0.01)
    assert first["model"] == "MLP"
    assert first["data"] == "Digits"
    assert first["model.optimizer"] == "AdamW"
    assert first["trainer.max_epochs"] == 1
    assert first["seed"] == 0
    for version in (0, 1):
        scalars = events(version).Tags()["scalars"]
        assert {f"when trained/{name}" for name in ("best/val_accuracy", "best/val_loss", "test/accuracy")} <= set(
            scalars
        )


def test_a_setting_of_the_command_line_is_shown_if_results_depend_on_it(kindling: Callable[..., Result]) -> None:
    given = ["--early_stopping.patience", 7, "--figures.enabled", "false", "--trainer.enable_progress_bar", "false"]
    assert kindling(*FIT, *given).code == 0
    shown = hyperparameters(0)
    assert shown["early_stopping.patience"] == 7
    assert not {"figures.enabled", "trainer.enable_progress_bar"} & set(shown)


def test_the_final_metrics_are_those_of_the_results(kindling: Callable[..., Result]) -> None:
    import json

    assert kindling(*FIT).code == 0
    results = json.loads(Path("lightning_logs/digits_mlp/version_0/results.json").read_text(encoding="utf-8"))
    for name, expected in [("best/val_f1", results["val"]["f1"]), ("test/f1", results["test"]["f1"])]:
        (scalar,) = events(0).Scalars(f"when trained/{name}")
        assert abs(scalar.value - expected) < 1e-6


def test_losses_share_a_chart(kindling: Callable[..., Result]) -> None:
    assert kindling(*FIT).code == 0
    found = events(0)
    (tensor,) = found.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
    assert charts["loss"] == ["train/loss", "val/loss"]
    logged = set(found.Tags()["scalars"])
    for tags in charts.values():
        assert set(tags) <= logged
    assert {"while training/learning_rate", "while training/gradient_norm"} <= logged


def test_without_a_logger_nothing_is_written(kindling: Callable[..., Result]) -> None:
    told = kindling(*FIT, "--trainer.logger", "false")
    assert (told.code, told.err) == (0, "")
