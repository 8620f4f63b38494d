"""Kindling: a PyTorch Lightning template that trains on real data with one command."""

from typing import Any

__version__ = "0.1.0"


def load(path: Any = "latest", ckpt: str = "best", device: Any = None) -> Any:
    """Load a trained model for use, from a run or a checkpoint file: see `kindling.predictor.load`."""
    from kindling import predictor  # takes seconds to import

    return predictor.load(path, ckpt, device)
