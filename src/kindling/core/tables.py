"""Cells of tables that are written for people, who open them in a spreadsheet."""

from contextlib import suppress

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one


def plain_cell(text: str) -> str:
    """A text as it is; after an apostrophe if a spreadsheet would compute it: names of classes and files are no code.

    Numbers, such as a class -1, stay as they are.
    """
    if not text.startswith(FORMULAS):
        return text
    with suppress(ValueError):
        float(text)
        return text
    return f"'{text}"
