"""What the target of a table is: classes, several classes per sample, or numbers."""

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kindling.data.column_values import Values
from kindling.data.labels import is_one_hot
from kindling.data.precision import notes_of_precision

FEW = 20  # whole numbers with at most this many different values are read as classes
AMOUNT = re.compile(r"[^\w\s]?\s?\d")  # how texts such as 45%, $25, 12 kg and 13:30 begin

Kind = Literal["classification", "regression", "one_hot"]


@dataclass
class Target:
    """The target of N rows: class indices (N,) int64, 0/1 labels (N, K), or numbers (N, T) float32.

    Attributes:
        values: one of these.
        classes: the names of the classes, None for numbers.
        targets: the names of the numbers, None for classes.
        multilabel: whether a row can have several classes.
        notes: what was guessed.
    """

    values: Tensor
    classes: list[str] | None = None
    targets: list[str] | None = None
    multilabel: bool = False
    notes: list[str] = field(default_factory=list)


def read_target(
    columns: list[Values], kind: Kind | None, rows: np.ndarray | list[str], label_separator: str | None = None
) -> Target:
    """Read columns as what `kind` says, or else as what their values look like.

    Args:
        columns: of the target, without missing values.
        kind: what they are; None to decide by their values.
        rows: the numbers of their rows in the file, or their names, for messages.
        label_separator: the text between several classes in a value; None for one class.

    Raises:
        ValueError: if they can't be read so.
    """
    names = [column.name for column in columns]
    if label_separator is not None:
        return _several_labels(columns, kind, label_separator)
    numbers = np.stack([column.numbers for column in columns], axis=1)  # (N, T), NaN for what is not a number
    several = len(columns) > 1
    is_few = not several and not np.any(numbers % 1) and len(np.unique(numbers)) <= FEW
    are_amounts = kind is None and not is_few and all(column.is_numeric() for column in columns)
    if kind == "one_hot":
        target = _one_hot(names, numbers)
    elif several and kind != "regression" and np.isin(numbers, (0, 1)).all():
        target = Target(torch.from_numpy(numbers).long(), classes=names, multilabel=True)
    elif kind == "regression" or are_amounts:
        target = _amounts(columns, numbers, rows)
    elif several:
        raise ValueError(
            f"target is {', '.join(names)!r}: expected one column of classes, or several of 0 and 1 or of numbers"
        )
    else:
        target = _classes(columns[0], kind)
    if kind is None:
        target.notes += _notes_of_guess(target, names, numbers)
    return target


def _several_labels(columns: list[Values], kind: Kind | None, separator: str) -> Target:
    """Several classes per row, written in one column, such as cat;dog."""
    if len(columns) > 1 or kind not in (None, "classification") or not separator:
        raise ValueError(
            f"label_separator is {separator!r}: expected a character such as ';', one column as target, and no kind "
            "other than classification"
        )
    column = columns[0]
    labels = [[label.strip() for label in word.split(separator)] for word in column.words.words]
    classes = sorted({label for several in labels for label in several} - {""}, key=_by_number)
    if not classes:
        raise ValueError(f"target is {column.name!r}, which has no label in any row")
    of_words = np.array([[name in several for name in classes] for several in labels])  # (different values, K)
    target = Target(torch.from_numpy(of_words[column.words.places]).long(), classes=classes, multilabel=True)
    if max(map(len, labels)) == 1:
        target.notes = [
            f"label_separator is {separator!r}, which is in no value of {column.name}: each row has one class"
        ]
    return target


def _one_hot(names: list[str], numbers: np.ndarray) -> Target:
    if not is_one_hot(numbers):
        raise ValueError(
            f"target is {', '.join(names)!r}, and data.kind is one_hot: expected several columns of 0 and 1, of "
            "which one is 1 in each row"
        )
    return Target(torch.from_numpy(numbers.argmax(axis=1)), classes=names)


def _amounts(columns: list[Values], numbers: np.ndarray, rows: np.ndarray | list[str]) -> Target:
    names = [column.name for column in columns]
    missing = np.argwhere(np.isnan(numbers))
    if len(missing):
        row, place = missing[0].tolist()
        columns[place].refuse_other_decimal()
        raise ValueError(
            f"target is {', '.join(names)!r}, where row {rows[row]} (from 0) has {columns[place].text(row)!r}: "
            "expected finite numbers, or data.kind classification"
        )
    notes = [
        note
        for name, values in zip(names, numbers.T, strict=True)
        for note in notes_of_precision(f"target {name}", values)
    ]
    return Target(torch.from_numpy(numbers).float(), targets=names, notes=notes)


def _classes(column: Values, kind: Kind | None) -> Target:
    """One class per row: the values as text, in the order of the numbers among them."""
    if kind is None:
        column.refuse_other_decimal()
    classes = sorted(column.words.words, key=_by_number)
    if len(classes) < 2:
        raise ValueError(f"target is {column.name!r}, which is {classes[0]} in every row: expected several classes")
    return Target(torch.from_numpy(column.words.numbered(classes)).long(), classes=classes)


def _notes_of_guess(target: Target, names: list[str], numbers: np.ndarray) -> list[str]:
    """What the columns are taken for, where their values could mean something else."""
    if target.multilabel and is_one_hot(numbers):
        return [
            f"of {', '.join(names)} exactly one is 1 in each row: taken for classes of which a row can have several; "
            "if each has only one (one-hot labels), set --data.kind one_hot"
        ]
    if len(names) > 1:
        return []
    if not np.any(numbers % 1):
        count = len(target.classes or np.unique(numbers))
        taken, other = ("classes", "regression") if target.classes else ("numbers", "classification")
        return [f"target {names[0]} holds {count} whole numbers: taken for {taken}; else --data.kind {other}"]
    classes = target.classes or []
    amounts = [name for name in classes if AMOUNT.match(name) and np.isinf(_by_number(name)[0])]
    if len(amounts) > len(classes) / 2:
        return [
            f"target {names[0]} holds texts such as {amounts[0]!r}, and is taken for classes: write bare numbers for "
            "amounts"
        ]
    return []


def _by_number(word: str) -> tuple[float, str]:
    """Sorts words that are numbers by size, and all others after them."""
    try:
        return float(word), word
    except ValueError:
        return np.inf, word
