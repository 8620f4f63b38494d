"""The split that a run keeps, so that what it was tested on is never trained on: `splits.npz` in its folder."""

from pathlib import Path
from typing import Any

from kindling.core.errors import UsageError
from kindling.core.files import whole_file
from kindling.core.parts import class_path_of, short_name
from kindling.core.settings import Setting
from kindling.data.base import Data
from kindling.data.fingerprint import differ, fingerprint, has_look
from kindling.data.splits import SPLITS, read_saved, save_splits

FILE = "splits.npz"
# Settings that leave the split as it is if the samples are the same, which is known by their fingerprint.
SAME_SPLIT = (
    "data.augment",
    "data.batch_size",
    "data.cache",
    "data.download",
    "data.masks",
    "data.normalize",
    "data.path",
    "data.root",
    "data.table",
    "data.workers",
)


def keep_split(run: Path, data: Any) -> None:
    """Write the split of data that has one, unless it is there already, as on a resume."""
    if isinstance(data, Data) and not split_of(run):
        with whole_file(run / FILE) as part:
            save_splits(
                part, data.splits, fingerprint(data.samples[-1], data.names), **data.look_of_inputs(data.samples[0])
            )


def split_of(run: Path | None) -> Path | None:
    """The split that a run keeps, if any; for the data's argument `split_file`."""
    path = run / FILE if run else None
    return path if path and path.is_file() else None


def unchanged_split_of(run: Path | None, settings: list[Setting], changes: list[Setting]) -> Path | None:
    """The split that a run keeps, unless settings other than the run's own change what the data is.

    Args:
        run: the run, if any.
        settings: all settings.
        changes: those that do not come from the run's config.
    """
    if _changes_of_data(changes):
        return None
    classes = {short_name(str(class_path_of(value))) for _, key, value in settings if key == "data"}
    return split_of(run) if len(classes - {"None"}) <= 1 else None


def _changes_of_data(changes: list[Setting]) -> list[str]:
    """The settings that can change the data or its split."""
    return [key for _, key, _ in changes if key.startswith("data.") and not key.startswith(SAME_SPLIT)]


def compare_with_run(run: Path, data: Data, changes: list[Setting], trains: bool) -> None:
    """Check that a run's data and split are those that it was trained on; refuse or note what differs.

    Args:
        run: the run.
        data: as the settings describe it now.
        changes: the settings that do not come from the run's config.
        trains: whether the run is resumed.

    Raises:
        UsageError: if a resumed run would train on other data, or not on its own training split.
    """
    path = split_of(run)
    if path is None:
        return
    kept, changed = read_saved(str(path)), _changes_of_data(changes)
    cause = f" ({', '.join(changed)} is given)" if changed else ""
    if int(kept["samples"]) != fingerprint(data.samples[-1], data.names):
        if trains:
            raise UsageError(
                f"the data is not what {run} was trained on{cause}: leave it as it was, or start a new run with "
                "kindling fit"
            )
        return
    _compare_splits(run, data, kept, cause, trains)
    if trains and not changed and has_look(kept):
        _compare_inputs(run, data, kept)


def _compare_splits(run: Path, data: Data, kept: dict[str, Any], cause: str, trains: bool) -> None:
    """Refuse to train on other samples than before; note how many held-out samples a run was trained on."""
    own = {name: {*kept[name].tolist()} for name in SPLITS}
    now = {name: {*data.splits[name].tolist()} for name in SPLITS}
    if trains and own != now:
        held_out = len(now["train"] & (own["val"] | own["test"]))
        raise UsageError(
            f"the split is not that of {run}{cause}: it would train on {held_out:,} samples that the run was validated "
            "or tested on: leave the split as it was, or start a new run with kindling fit"
        )
    for name in ("val", "test"):
        if seen := len(now[name] & own["train"]):
            told = f"{run} was trained on {seen:,} of {len(now[name]):,} {name} samples, so those metrics are too good"
            data.notes = [*data.notes, told]


def _compare_inputs(run: Path, data: Data, kept: dict[str, Any]) -> None:
    """Refuse to train on other inputs than before; in all other cases Data itself notes the change."""
    if differ(kept, data.look_of_inputs(data.samples[0])):
        raise UsageError(
            f"the inputs have changed since {run} was trained: bring the old files back, or start a new run with "
            "kindling fit"
        )
