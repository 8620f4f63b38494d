"""Shows the progress of a loop."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.progress import track


def progress(items: Iterable[Any], description: str, total: int | None = None) -> Iterable[Any]:
    """Go through items with a bar that vanishes at the end; without one where there is no terminal."""
    return track(items, description, total, transient=True, disable=not sys.stdout.isatty())
