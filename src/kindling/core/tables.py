"""Names and numbers where people read them: on a terminal and in a spreadsheet, which must treat names as text."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO
from unicodedata import category

if TYPE_CHECKING:  # it takes 0.1 s to import
    from rich.console import Console

CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # including lone surrogates, which can't be printed, and line separators
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of a formula


def plain_cell(text: str) -> str:
    """A text as it is; after an apostrophe if a spreadsheet would compute it: names of classes and files are not code.

    Numbers, such as a class -1, stay as they are. Lone surrogates, which stand for the bytes of a file's name that are
    no text, become escapes, such as \\udce9: no file could hold them.
    """
    if not text.isascii():
        text = text.encode(errors="backslashreplace").decode()
    if not text.startswith(FORMULAS):
        return text
    with suppress(ValueError):
        float(text)
        return text
    return f"'{text}"


def printable(text: str) -> str:
    """A text with the control characters that would command a terminal written as escapes, such as \\x1b."""
    return "".join(each.encode("unicode_escape").decode() if category(each) in CONTROLS else each for each in text)


def shown(value: float) -> str:
    """Four decimals, or four digits where those would hide a number that is small or large."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"


def shown_mean(mean: float, deviation: float) -> str:
    """A mean and its standard deviation, with the same number of decimals."""
    ends = ".4f" if shown(mean) == f"{mean:.4f}" else ".4g"
    return f"{mean:{ends}} ±{deviation:{ends}}"


def console(wide: bool = False) -> "Console":
    """Where tables go: a console that never takes a name for markup, an emoji or a number to colour."""
    from rich.console import Console

    width = 1000 if wide and not sys.stdout.isatty() else None
    return Console(width=width, markup=False, emoji=False, highlight=False)


def print_plain(text: str, file: TextIO | None = None) -> None:
    """Print lines that hold names from a data set."""
    print("\n".join(map(printable, text.split("\n"))), file=file, flush=True)
