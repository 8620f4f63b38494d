"""The split that a run keeps, so that what it was tested on is never trained on: `splits.npz` in its folder."""

from pathlib import Path
from typing import Any

from kindling.core.files import whole_file
from kindling.core.parts import class_path_of, short_name
from kindling.core.settings import Setting
from kindling.data.splits import fingerprint, save_splits

FILE = "splits.npz"
# Settings that leave the split as it is, if the samples are the same, which its fingerprint tells.
SAME_SPLIT = (
    "data.augment",
    "data.batch_size",
    "data.cache",
    "data.download",
    "data.normalize",
    "data.path",
    "data.root",
    "data.workers",
)


def keep_split(run: Path, data: Any) -> None:
    """Write the split of data that has one."""
    if not hasattr(data, "splits"):
        return
    with whole_file(run / FILE) as part:
        save_splits(part, data.splits, fingerprint(data.samples[-1], data.names))


def split_of(run: Path | None) -> Path | None:
    """The split that a run keeps, if any; for the data's argument `split_file`."""
    path = run / FILE if run else None
    return path if path and path.is_file() else None


def unchanged_split_of(run: Path | None, settings: list[Setting], changes: list[Setting]) -> Path | None:
    """The split that a run keeps, unless other settings than the run's own say what the data is.

    Args:
        run: the run, if any.
        settings: all settings.
        changes: those that are not from the run's config.
    """
    for _, key, _ in changes:
        if key.startswith("data.") and not key.startswith(SAME_SPLIT):
            return None
    classes = {short_name(str(class_path_of(value))) for _, key, value in settings if key == "data"}
    return split_of(run) if len(classes - {"None"}) <= 1 else None
