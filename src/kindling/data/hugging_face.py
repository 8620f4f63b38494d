"""Data sets of Hugging Face: `kindling fit --model CNN --data HuggingFace --data.path NAME --data.inputs image …`.

They need `pip install -e '.[hub]'`. No code of a data set is run: the library has refused to since version 4.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from kindling.data.records import _Records

# What the splits of a data set are called, by Kindling's names.
NAMES = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk leaves in a folder


class HuggingFace(_Records):
    """A data set of the Hugging Face hub, or of a folder: Arrow files, from which a batch reads its rows by number.

    Its splits train, validation and test are taken as they are, and those that it lacks are drawn. Classes come from a
    ClassLabel, or from the values. Pictures are decoded when a batch asks for them.

    Args:
        path: a folder, from `save_to_disk` or of files such as Parquet, CSV or images; or a name on the hub, such as
            ylecun/mnist.
        inputs: the column of a picture, of numbers or of an array; or several of numbers.
        download: whether to download what is not in the library's cache yet.
        subset: which configuration of the data set, if it has several; null for its only one.
        revision: a commit or tag on the hub, so that the data stay the same; null for the newest.
        splits: the data set's names for train, val and test, or for parts of splits, such as
            {train: 'train[:90%]', val: 'train[90%:]'}; null to go by their names.
        **records: target, kind, image_size, colour, resize, batch_size …: see _Records.

    Raises:
        ValueError: if the data set can't be loaded, or lacks a column.
    """

    def __init__(
        self,
        path: str,
        inputs: str | list[str],
        download: bool = False,
        subset: str | None = None,
        revision: str | None = None,
        splits: dict[str, str] | None = None,
        **records: Any,
    ) -> None:
        super().__init__(inputs, **records)
        self.path = path
        library = library_of_the_hub()
        loaded = load_splits(library, path, download, subset, revision, splits)
        parts, self.notes = (loaded, []) if splits else by_split(loaded)
        parts = {split: part for split, part in parts.items() if self._has_labels(split, part)}
        if "train" not in parts:
            raise ValueError(f"path is {path!r}, which has no split for training: name one with data.splits")
        self.own_val, self.own_test = (len(parts.get(split, ())) for split in ("val", "test"))
        whole = library.concatenate_datasets([parts[split] for split in NAMES if split in parts])
        self.features = whole.features
        there = [name for name in self.inputs if name in self.features]
        records = without_decoding(library, whole.select_columns(there))
        columns = whole.with_format("numpy")
        self.take(records, list(self.features), lambda name: self._column(columns, name))

    def _has_labels(self, split: str, part: Any) -> bool:
        """Whether a split has labels: on the hub, tests of competitions have -1 instead."""
        names = [name for name in self.target if hasattr(part.features.get(name), "names")]
        if split == "train" or not any((np.asarray(part.with_format("numpy")[name][:]) < 0).any() for name in names):
            return True
        self.notes = [*self.notes, f"the split for {split} has no labels (-1), and is left out"]
        return False

    def _column(self, columns: Any, name: str) -> pa.Array:
        """The values of a column; of a ClassLabel the names of the classes."""
        values = np.asarray(columns[name][:])
        names = getattr(self.features[name], "names", None)
        if names is None:
            return pa.array(values)
        if (values < 0).any():
            raise ValueError(f"target {name} has no label (-1) in record {(values < 0).argmax()}: leave those out")
        return pa.DictionaryArray.from_arrays(values, names)

    def source_files(self) -> list[str]:
        """The Arrow files of a folder of `save_to_disk`; those of the library's own cache are rewritten at times."""
        return sorted(map(str, Path(self.path).rglob("*.arrow"))) if is_saved(self.path) else []


def library_of_the_hub() -> ModuleType:
    """Hugging Face's `datasets`, which takes half a second to import; a ValueError if it is missing."""
    try:
        import datasets
    except ImportError:
        raise ValueError("HuggingFace needs the library datasets: pip install -e '.[hub]'") from None
    if not sys.stderr.isatty():  # a log needs no bars
        datasets.disable_progress_bars()
    return datasets


def is_saved(path: str) -> bool:
    return any(Path(path, name).is_file() for name in SAVED)


def load_splits(
    library: ModuleType,
    path: str,
    download: bool = False,
    subset: str | None = None,
    revision: str | None = None,
    splits: dict[str, str] | None = None,
) -> Any:
    """The splits of a data set by their names, or a single data set.

    Raises:
        ValueError: if there is no such data set, or it can't be reached.
    """
    if splits is not None and not {"train"} <= {*splits} <= {*NAMES}:
        raise ValueError(f"splits is {splits}: expected a name for train, and perhaps for val and test")
    if "://" in path and not download:
        raise ValueError(f"path is {path!r}, which is not a folder here: --data.download true reads it anyway")
    try:
        if is_saved(path):
            saved = library.load_from_disk(path)
            return {split: saved[name] for split, name in splits.items()} if splits else saved
        with _network(library, allowed=download):
            load = partial(library.load_dataset, path, subset, revision=revision)
            return {split: load(split=part) for split, part in splits.items()} if splits else load()
    except Exception as error:  # of a network, a hub, a file or its content
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"path is {path!r}, which can't be loaded ({reason}){_way_out(path, download)}") from None


@contextmanager
def _network(library: ModuleType, allowed: bool) -> Iterator[None]:
    """Let the library use the network or not, by its public setting, whatever a data set's files refer to."""
    before = library.config.HF_HUB_OFFLINE
    library.config.HF_HUB_OFFLINE = before or not allowed
    try:
        yield
    finally:
        library.config.HF_HUB_OFFLINE = before


def _way_out(path: str, download: bool) -> str:
    """What to do where there is no such folder."""
    if Path(path).exists():
        return ""
    if not download:
        return ": there is no such folder, and --data.download true downloads it from the hub"
    return f": where there is a network, hf download {path} --repo-type dataset --local-dir FOLDER makes a folder of it"


def by_split(loaded: Any) -> tuple[dict[str, Any], list[str]]:
    """The parts of a data set by Kindling's names for splits, and what is left out; all is for train without splits."""
    if not isinstance(loaded, dict):
        return {"train": loaded}, []
    called = {split: next((name for name in names if name in loaded), None) for split, names in NAMES.items()}
    parts = {split: loaded[name] for split, name in called.items() if name}
    if len(loaded) == 1 and not parts:
        return {"train": next(iter(loaded.values()))}, []
    left = [name for name in loaded if name not in called.values()]
    return parts, [f"splits that are left out: {', '.join(left)} (data.splits can name them)"] * bool(left)


def without_decoding(library: ModuleType, part: Any) -> Any:
    """A data set whose pictures stay files until they are asked for; its numbers and arrays as NumPy arrays."""
    pictures = [name for name, feature in part.features.items() if isinstance(feature, library.Image)]
    for name in pictures:
        part = part.cast_column(name, library.Image(decode=False))
    return part if pictures else part.with_format("numpy")
