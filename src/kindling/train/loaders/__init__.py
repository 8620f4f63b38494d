"""Makes loaders that are not Kindling's resume with the same batches: read wrap.py first, then wrappers.py."""

from kindling.train.loaders.wrap import Loaders

__all__ = ["Loaders"]
