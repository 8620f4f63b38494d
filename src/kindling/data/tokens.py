"""Text as tokens and back: bytes, or pieces of words by a tokenizer of the library `tokenizers`.

A checkpoint keeps what they are as text: `bytes`, or the tokenizer's JSON. So it can generate by itself, offline.
"""

from collections.abc import Iterable
from typing import Any

BYTES = "bytes"


class ByteTokens:
    """One token per byte of UTF-8: nothing to learn, and nothing that can't be written."""

    plain, size = BYTES, 256

    @property
    def token_bytes(self) -> list[int]:
        """How many bytes each token has."""
        return [1] * self.size

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: list[int]) -> str:
        return bytes(tokens).decode(errors="replace")


class LearntTokens:
    """Tokens of a tokenizer of the library.

    Args:
        plain: its JSON.

    Raises:
        ValueError: if it can't be used, or the library is missing.
    """

    def __init__(self, plain: str) -> None:
        self.plain = plain
        try:
            self.tokenizer: Any = library().Tokenizer.from_str(plain)
        except ValueError:
            raise
        except Exception as error:  # the library has no errors of its own
            raise ValueError(f"it is not a tokenizer's JSON ({' '.join(str(error).split())[:100]})") from None
        self.size: int = self.tokenizer.get_vocab_size()

    @property
    def token_bytes(self) -> list[int] | None:
        """How many bytes each token has, where each character of its name stands for one; None elsewhere."""
        if not isinstance(self.tokenizer.decoder, library().decoders.ByteLevel):
            return None
        return [len(self.tokenizer.id_to_token(number) or "") for number in range(self.size)]

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return tokens

    def decode(self, tokens: list[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=False)
        return text


Tokens = ByteTokens | LearntTokens


def tokens_of(plain: str) -> Tokens:
    """The tokens that a checkpoint keeps: `bytes`, or a tokenizer's JSON; a ValueError if they can't be used."""
    return ByteTokens() if plain == BYTES else LearntTokens(plain)


def learnt_bpe(texts: Iterable[str], size: int) -> str:
    """Learn pieces of words from texts (byte pair encoding: Sennrich et al., 2016): a tokenizer's JSON.

    Any bytes can be written with it, as in GPT-2.

    Args:
        texts: parts of a text.
        size: number of different tokens at most, at least 256.
    """
    tokenizers = library()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    plain: str = tokenizer.to_str()
    return plain


def library() -> Any:
    """The package `tokenizers`, its parts imported; a ValueError if it is missing."""
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise ValueError("tokens other than bytes need tokenizers: pip install -e '.[text]'") from None
    return tokenizers
