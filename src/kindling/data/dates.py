"""Reads a column of dates, however they are written."""

from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np

from kindling.data.columns import Values

if TYPE_CHECKING:  # it takes half a second to import
    import pandas as pd

# How dates may be written; {} lets pandas infer it from the first one.
DATE_FORMATS: list[dict[str, Any]] = [
    {"format": "ISO8601"},
    {},
    {"dayfirst": True},
    {"format": "%m/%d/%y"},
    {"format": "%d/%m/%y"},
]


def read_dates(values: Values) -> np.ndarray:
    """Dates as they are written in most of the rows, datetime64 (N,), NaT for any that is written otherwise."""
    import pandas as pd

    words = values.words
    found = np.full(len(words.places), np.datetime64("NaT", "us"))
    for options in DATE_FORMATS:
        of_words = _read(pd.Series(words.words, dtype=object), options)
        if of_words is None:
            continue
        dates = np.append(of_words, np.datetime64("NaT", "us"))[words.places]
        if np.isnat(dates).sum() < np.isnat(found).sum():
            found = dates
    return found


def _read(words: "pd.Series", options: dict[str, Any]) -> np.ndarray | None:
    """Dates that are written in one way, NaT for any other; None if pandas would have to guess for each of them."""
    import pandas as pd

    with catch_warnings():
        simplefilter("error", UserWarning)  # that guess would mix 3/4 and 4/3
        try:
            return pd.to_datetime(words, errors="coerce", utc=True, **options).to_numpy("datetime64[us]")
        except UserWarning:
            return None
