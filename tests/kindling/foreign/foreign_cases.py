"""The modules of `modules/` and how a command names them; what a run leaves that nothing on its way may change."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kindling.run.checkpoint_files import load_checkpoint

MODULES = Path(__file__).parent / "modules"
# Few batches, and a checkpoint after every third step.
SETTINGS = ("--trainer.max_epochs=3", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=2")
SETTINGS += ("--checkpoint.every_steps=3", "--figures.enabled=false")
# Times, and counters that Lightning keeps and that nothing depends on.
MAY_DIFFER = re.compile(
    r"\.(seconds|samples_per_second|total\.started|scheduler_progress\.\w+\.\w+|val_loop\.batch_progress\.total\.\w+"
    r"|current_score|last_model_path|logged\..*\._update_count)$"
)


@dataclass(frozen=True)
class Case:
    """A module, its data, and what a training of it must leave.

    Args:
        model: its import path.
        data: that of its datamodule; None if it has loaders of its own.
        batch: before which a training of three epochs is broken off, in the middle of the second or third.
        val: metrics of the validation in results.json.
        test: those of the test.
        left_out: what the engine must say that it does without.
        flags: more settings.
        repeats: whether it measures the same each time: not if its own steps draw random numbers.
    """

    model: str
    data: str | None
    batch: int
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    repeats: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """What names module and data, also to a run that is there already."""
        return ("--model", self.model, *(("--data", self.data) if self.data else ()))


CASES = {
    "gan": Case("foreign_gan.GAN", "foreign_gan.Images", 10, test=("gap",), left_out=("validation",), repeats=False),
    "autoencoder": Case(
        "foreign_autoencoder.LitAutoEncoder", "foreign_autoencoder.DigitsDataModule", 12, ("loss",), ("loss",)
    ),
    "segmentation": Case(
        "foreign_segmentation.SegmentationNet",
        "foreign_segmentation.ShapesDataModule",
        13,
        ("loss", "iou"),
        ("loss", "iou"),
    ),
    "reinforce": Case(
        "foreign_reinforce.Reinforce", None, 20, test=("reward",), left_out=("validation",), repeats=False
    ),
    "finetune": Case(
        "foreign_finetune.TransferLearningModel",
        "foreign_finetune.DigitsDataModule",
        8,
        ("loss", "acc"),
        ("loss",),
        flags=("--trainer.callbacks+=foreign_finetune.ThawAt",),
    ),
    "two_loaders": Case(
        "foreign_loaders.TwoLoaders",
        "foreign_loaders.TwoHospitals",
        15,
        ("loss/dataloader_idx_0", "loss/dataloader_idx_1"),
        ("mae/dataloader_idx_0", "mae/dataloader_idx_1"),
        flags=("--data.bs=24",),
    ),
    "own_loaders": Case("foreign_loaders.OwnLoaders", None, 15, ("mae",), left_out=("test",)),
    "pairs": Case("foreign_loaders.PairNet", "foreign_loaders.PairsDataModule", 13, ("loss",), ("loss",)),
    "predict": Case(
        "foreign_predict.FrequencyNet", "foreign_predict.SignalsDataModule", 13, ("rmse",), left_out=("test",)
    ),
    "predict_tensors": Case(
        "foreign_predict.TensorNet", "foreign_predict.SignalsDataModule", 13, ("rmse",), left_out=("test",)
    ),
    "callbacks": Case("foreign_callbacks.OwnCallbacks", "foreign_callbacks.Flowers", 11, ("loss", "acc"), ("acc",)),
    "objects": Case("foreign_objects.HandmadeHyperparameters", "foreign_objects.Wines", 12, ("loss",), ("loss",)),
    "inheritor": Case("foreign_objects.Inheritor", "foreign_objects.Wines", 12, ("loss",), ("loss",)),
    "late": Case("foreign_objects.LateNet", "foreign_objects.Wines", 12, ("loss", "samples_seen"), ("loss",)),
    "stream": Case(
        "foreign_stream.StreamNet",
        "foreign_stream.StreamDataModule",
        33,
        ("loss",),
        ("loss",),
        flags=("--trainer.max_steps=50",),
    ),
    "manual": Case("foreign_manual.Accumulates", "foreign_manual.Tumours", 19, ("loss",), ("loss",)),
    "second_order": Case("foreign_manual.SecondOrder", "foreign_manual.Tumours", 19, ("loss_epoch",), ("loss",)),
    "semi": Case("foreign_semi.MeanTeacher", "foreign_semi.FewLabels", 18, ("accuracy",), ("loss",)),
}


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Nested values by name, a tensor as its bytes."""
    if isinstance(value, torch.Tensor):
        yield name, (value.dtype, value.shape, value.numpy().tobytes())
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{name}.{key}")
    else:
        yield name, str(value)


def contents(run: Path) -> dict[str, Any]:
    """All that a training leaves, by name."""
    checkpoints = {name: load_checkpoint(run / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt")}
    everything = {**checkpoints, "results.json": json.loads((run / "results.json").read_text())}
    values = {without(run, name): without(run, value) for name, value in leaves(everything, "")}
    values["metrics.csv"] = (run / "metrics.csv").read_bytes()
    return {name: value for name, value in values.items() if not MAY_DIFFER.search(name)}


def without(run: Path, value: Any) -> Any:
    """A text without the path of the run."""
    below_root = str(Path(*run.parts[-3:]))  # as it is called from the working folder
    return value.replace(str(run.resolve()), "…").replace(below_root, "…") if isinstance(value, str) else value


def differences(expected: dict[str, Any], run: Path) -> list[str]:
    """The names of what a run has left differently."""
    left = contents(run)
    return [name for name in expected | left if expected.get(name) != left.get(name)]
