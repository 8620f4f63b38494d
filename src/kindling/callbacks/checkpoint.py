"""Keeps the weights that were best on the validation split."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.callbacks import ModelCheckpoint


class Checkpoint(ModelCheckpoint):
    """Keep `checkpoints/best.ckpt`: Lightning's ModelCheckpoint with fewer arguments. `last.ckpt` is kept besides.

    Args:
        monitor: the metric that says what is best, as it is logged.
        mode: whether lower (min) or higher (max) is better.
    """

    def __init__(self, monitor: str = "val/loss", mode: Literal["min", "max"] = "min") -> None:
        super().__init__(filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was best so far, also in a run that has been moved: Lightning forgets it there."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "", Path(path).name)) if path else ""

        paths = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": kept, "dirpath": self.dirpath})


def last_checkpoint(run: Path) -> ModelCheckpoint:
    """Keep `checkpoints/last.ckpt` in the run at the end of every epoch: what `--resume` goes on from."""
    return ModelCheckpoint(
        run.resolve() / "checkpoints", filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
