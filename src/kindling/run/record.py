"""What a run remembers besides its weights and curves: config, origin, split and results."""

import os
import platform
import shutil
import sys
import time
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output
from typing import Any

import lightning as L
import torch
import yaml
from torch.nn.parameter import is_lazy

from kindling import __version__
from kindling.core.config_files import FAST_LOADER
from kindling.core.consoles import typed
from kindling.core.files import read_json, whole_file, write_json
from kindling.core.growing_file import going_on
from kindling.core.parts import load_projects
from kindling.core.settings import flatten
from kindling.data.batches import batch_size_of
from kindling.run.checkpoint_names import REST
from kindling.run.saved_split import keep_split

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "numpy", "scikit-learn")


class Record(L.Callback):
    """Write the resolved config and where the run comes from; measure its training time, over all resumes.

    Args:
        run: the run's folder.
        config: every setting.
        seed: the run's seed.
    """

    def __init__(self, run: Path, config: dict[str, Any], seed: Any) -> None:
        self.run, self.config, self.seed = run, config, seed
        self.changes = changes(run / "config.yaml", config)  # that a resume makes
        self.summary: dict[str, Any] = {}  # what is trained on what, in a few words and numbers: for `summary.json`
        self.summary_before = read_json(run / "summary.json")  # a resume
        self.seconds, self.samples = 0.0, 0  # spent and seen in training, validation included in the seconds

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.start = time.monotonic() - self.seconds
        if not trainer.is_global_zero:
            return
        self.keep(trainer.global_step)
        write_json(self.run / "environment.json", environment(self.seed))
        write_json(self.run / "summary.json", self.summary)
        keep_split(self.run, trainer.datamodule)  # type: ignore[attr-defined]

    def end(self, early: str | None, monitor: str | None, mode: str | None) -> None:
        """Note how the training has ended.

        Args:
            early: why, if it was before its time.
            monitor: the metric that chose the best checkpoint; None if that was not told in this start.
            mode: whether the lowest (min) or the highest (max) was best.
        """
        if not monitor:
            monitor, mode = (self.summary_before.get(key) for key in ("monitor", "mode"))
        self.summary |= {"ended": early, "monitor": monitor, "mode": mode}
        with going_on(self.run / "summary.json"):
            write_json(self.run / "summary.json", self.summary)

    def keep(self, step: int) -> None:
        """Write the config. What was true before a resume stays under a number, the config if the resume changes it."""
        number = len(list(self.run.glob("environment.*.json")))
        # The first marks a run as finished; the others are what `kindling validate` and `test` measured of it.
        results = [self.run / "results.json", *(self.run / split / "results.json" for split in ("validate", "test"))]
        for path in (self.run / "environment.json", *results):
            if path.exists():
                shutil.copy(path, path.with_suffix(f".{number}{path.suffix}"))
        for path in results:
            path.unlink(missing_ok=True)
        config, head = self.run / "config.yaml", ""
        if config.exists():
            if not self.changes:
                return
            head = f"# resumed after step {step}; before it: config.{number}.yaml; changed: {'; '.join(self.changes)}\n"
            shutil.copy(config, config.with_suffix(f".{number}.yaml"))  # at no instant is the run without a config
        with whole_file(config) as part:
            part.write_text(head + yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def on_train_batch_end(self, trainer: L.Trainer, model: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds = time.monotonic() - self.start
        self.samples += batch_size_of(batch) * trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.samples = state_dict["seconds"], state_dict["samples"]

    def results(self, trainer: L.Trainer, best: Path | None) -> dict[str, Any]:
        """What is known of a training at its end. Ask before loading its `best` checkpoint, which resets the time."""
        epochs = best_epoch = trainer.current_epoch
        if best:  # memory-mapped, so that the weights are not read for one number
            file = best / REST if best.is_dir() else best
            best_epoch = torch.load(file, mmap=True, map_location="cpu", weights_only=True)["epoch"] + 1
        return {
            "best_epoch": best_epoch,
            "epochs": epochs,
            "parameters": count_parameters(trainer.lightning_module),
            "seconds": round(self.seconds, 1),
            "samples_per_second": round(self.samples / max(self.seconds, 1e-9), 1),
            "class_counts": getattr(trainer.datamodule, "class_counts", {}),  # type: ignore[attr-defined]
        }


def count_parameters(model: L.LightningModule) -> int:
    """The number of parameters whose size is known, trained or not."""
    return sum(parameter.numel() for parameter in model.parameters() if not is_lazy(parameter))


def changes(path: Path, config: dict[str, Any]) -> list[str]:
    """What a config changes in the one in a file, as `trainer.max_epochs: 10 → 20`; nothing if there is no file."""
    if not path.exists():
        return []
    kept = yaml.load(path.read_text(encoding="utf-8"), FAST_LOADER)
    before, now = dict(flatten(kept)), dict(flatten(config))
    keys = [key for key in before | now if before.get(key) != now.get(key)]
    return [f"{key}: {before.get(key, 'null')} → {now.get(key, 'null')}" for key in keys]


def environment(seed: Any) -> dict[str, Any]:
    """Where a run comes from: command line, time, seed, code, package versions and hardware."""
    return {
        "command": typed("kindling", *sys.argv[1:]),
        "started": datetime.now().astimezone().isoformat(" ", "seconds"),
        "seed": seed,
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": None if (changes := git("status", "--porcelain")) is None else bool(changes),
        "python": platform.python_version(),
        "packages": {"kindling": __version__} | {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def git(*args: str) -> str | None:
    """What git says of the project, or of the working folder if none is installed; None if it is not a repository."""
    projects = load_projects()
    folder = sys.modules[projects[0]].__path__[0] if projects else Path.cwd()
    with suppress(OSError, CalledProcessError):
        return check_output(["git", *args], cwd=folder, stderr=DEVNULL, encoding="utf-8", errors="replace").strip()
    return None
