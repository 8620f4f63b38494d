"""Prints what the user of a training should know, in one of several processes."""

import lightning as L


def warn(trainer: L.Trainer, sentence: str) -> None:
    """Print what may go wrong."""
    _print_once(trainer, f"warning: {sentence}")


def note(trainer: L.Trainer, sentence: str) -> None:
    """Print what the engine does, or leaves out."""
    _print_once(trainer, f"note   {sentence}")


def _print_once(trainer: L.Trainer, line: str) -> None:
    if trainer.is_global_zero:
        print(line, flush=True)
