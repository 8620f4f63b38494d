"""Reads a column of times: numbers, or dates however they are written."""

import re
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from kindling.data.column_values import Values

# How dates may be written; {} lets pandas infer it from the first one.
ISO: dict[str, Any] = {"format": "ISO8601"}
OTHERS: list[dict[str, Any]] = [{}, {"dayfirst": True}, {"format": "%m/%d/%y"}, {"format": "%d/%m/%y"}]
MONTH_NAME = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DAY = r"\d{1,2}(st|nd|rd|th|\.)?"
# A date as text, whatever follows it, such as a time: 2024-01-31, 31.1.24, 31 Jan 2024, January 31, 2024.
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?"
    r"|\d{1,2}([-/.])\d{1,2}\3(\d{4}|\d\d)"
    rf"|{DAY}[ -]{MONTH_NAME}[ -,]+\d{{2,4}}"
    rf"|{MONTH_NAME} {DAY},? \d{{4}})([T ,].*|Z)?",
    re.IGNORECASE,
)
MONTH = re.compile(r"(0?[1-9]|1[0-2])\.(19|20)\d\d")  # such as 03.2015, which is a number too


def are_dates(words: list[str]) -> bool:
    """Whether all values look like dates."""
    return all(map(DATE.fullmatch, words))


def are_dates_as_numbers(numbers: np.ndarray) -> bool:
    """Whether all numbers, except missing ones, are dates such as 20240131, from 1900 to 2099."""
    known = numbers[np.isfinite(numbers)]
    return len(known) > 0 and _are_days(known[:100]) and _are_days(known)  # nearly always the first few tell


def _are_days(numbers: np.ndarray) -> bool:
    month, day = numbers // 100 % 100, numbers % 100
    is_date = (numbers >= 19000101) & (numbers < 21000101) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return bool((is_date & (numbers % 1 == 0)).all())


def read_times(values: Values, date_format: str | None = None) -> np.ndarray:
    """Numbers as they are, NaN for any other value; or dates as most of them are written, datetime64 (N,), else NaT.

    Args:
        values: of the column.
        date_format: how the dates are written, such as %d/%m/%Y; None to find out.

    Raises:
        ValueError: if they can be read in more than one way, or there is no such format.
    """
    if date_format:
        try:
            return _dates(values, {"format": date_format})
        except ValueError as error:
            raise ValueError(f"time_format is {date_format!r}: {error}") from None
    if values.is_numeric():
        if all(MONTH.fullmatch(word) for word in values.words.words[:1000]):
            raise _ambiguous(values, 0, "as a number or as a month: set data.time_format to %m.%Y, or write 2024-12")
        return values.numbers
    found = _dates(values, ISO)
    for options in OTHERS:
        dates = _dates(values, options)
        gaps, fewest = np.isnat(dates).sum(), np.isnat(found).sum()
        differ = ~((dates == found) | np.isnat(dates) | np.isnat(found))
        if gaps == fewest and differ.any():
            how = (
                "in more than one way: set data.time_format, such as %d/%m/%Y for the day first, %m/%d/%Y for the month"
            )
            raise _ambiguous(values, int(differ.argmax()), how)
        if gaps < fewest:
            found = dates
    return found


def _ambiguous(values: Values, row: int, how: str) -> ValueError:
    return ValueError(f"time is {values.name!r}, where {values.text(row)!r} can be read {how}")


def _dates(values: Values, options: dict[str, Any]) -> np.ndarray:
    """Dates that are written in one way, NaT for any other, and for all if pandas would have to guess for each."""
    import pandas as pd  # takes half a second

    words = pd.Series(values.words.words, dtype=object)
    with catch_warnings(record=True) as warnings:
        simplefilter("always")
        dates = pd.to_datetime(words, errors="coerce", utc=True, **options).to_numpy("datetime64[us]")
    if any(issubclass(warning.category, UserWarning) for warning in warnings):  # that guess would mix 3/4 and 4/3
        dates = np.full_like(dates, "NaT")
    return np.append(dates, np.datetime64("NaT", "us"))[values.words.places]
