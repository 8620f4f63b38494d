"""Loaders that are not Kindling's, made to go on with the same batches: wrap.py first, then wrappers.py."""

from kindling.train.loaders.wrap import Loaders

__all__ = ["Loaders"]
