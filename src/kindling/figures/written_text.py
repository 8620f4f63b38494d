"""A text that a language model writes, to be read beside its curves."""

from typing import Any

from kindling.tasks import NextToken
from kindling.tasks.next_token import continued

BEGINNING = "\n"
WRITTEN = 150  # tokens
TEMPERATURE = 0.8  # slightly likelier tokens than as learnt, since such text reads better


def written_text(module: Any) -> str | None:
    """A text by a module as it is now, the same for the same weights; None if it writes none.

    It leaves a training as it is: modes and random numbers alike.
    """
    preprocessing = getattr(module, "preprocessing", None) or {}
    kept = preprocessing.get("tokens")
    if not isinstance(getattr(module, "task", None), NextToken) or not kept:
        return None
    from kindling.data.tokens import tokens_of  # slow to import with all data

    tokens = tokens_of(kept)
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        written = continued(module, tokens.encode(BEGINNING), WRITTEN, TEMPERATURE)
    finally:
        for part, was_training in training.items():
            part.training = was_training
    return tokens.decode(written)
