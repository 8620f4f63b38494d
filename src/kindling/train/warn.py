"""Says what the user of a training should know."""

import lightning as L


def warn(trainer: L.Trainer, sentence: str) -> None:
    """Print a warning; of several processes one does."""
    if trainer.is_global_zero:
        print(f"warning: {sentence}", flush=True)
