"""Columns of text as the weights of their words (TF-IDF), a checkpoint keeps the words and their weights."""

from typing import Any

import numpy as np

from kindling.data.column_values import Values

LONG = 4  # a value of this many words, or more, is a text rather than the name of a category


def fit_text(values: Values, rows: Any, limit: int) -> dict[str, Any]:
    """What to keep of a column of text, as plain values: its `limit` most frequent words, and their weights.

    A word has at least two letters or digits; a missing text has no words.

    Raises:
        ValueError: if the training rows have no words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, places = _texts(values)
    vectorizer = TfidfVectorizer(max_features=limit)
    try:
        vectorizer.fit([texts[place] for place in places[rows]])
    except ValueError:
        raise ValueError(
            f"column {values.name} has no word of two letters in the training split: leave it out with data.drop"
        ) from None
    words = vectorizer.get_feature_names_out().tolist()
    return {"name": values.name, "words": words, "idf": vectorizer.idf_.tolist()}


def encode_text(values: Values, column: dict[str, Any]) -> np.ndarray:
    """The weight of each word in each text, as scikit-learn has it: float32 (N, words). Unknown words don't count."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, places = _texts(values)
    vectorizer = TfidfVectorizer(vocabulary=column["words"])
    vectorizer.idf_ = np.array(column["idf"])
    weights = vectorizer.transform(texts).astype(np.float32)  # sparse, of each different text once
    return weights[places].toarray()


def are_texts(words: list[str]) -> bool:
    """Whether most values of a column are texts of several words."""
    return sum(len(word.split()) >= LONG for word in words) > len(words) / 2


def _texts(values: Values) -> tuple[list[str], np.ndarray]:
    """The different texts of a column, the last of which is empty, and which of them each row has, (N,)."""
    words = values.words
    return [*words.words, ""], np.where(words.places < 0, len(words.words), words.places)
