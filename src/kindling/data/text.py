"""Your own text, for a language model: `kindling fit --config configs/text.yaml --data Text --data.path book.txt`."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.core.files import make_if_missing
from kindling.core.progress import progress
from kindling.data.base import Data
from kindling.data.lazy_inputs import LazyInputs, as_place, from_place
from kindling.data.splits import SPLITS
from kindling.data.text_files import Piece, by_name, bytes_of, cut, find_texts, text_of
from kindling.data.tokens import BYTES, ByteTokens, LearntTokens, Tokens, learnt_bpe, tokens_of

BETWEEN = "\n\n"  # two files
BPE = "bpe"


class Text(Data):
    """Text files as windows of tokens, (length,) int64, without targets: for a task such as NextToken.

    The text, its files one after the other with an empty line between, is cut at the ends of two lines: the first part
    is for the training, the next for validation, the last for the test. Where all files (or their folders) are called
    `train`, `val` or `test`, those are the splits. A window begins with the last token of the one before it, so that
    each token of a split but the first is predicted once; what fills no window at a split's end is left out.

    Args:
        path: a file, several, or a folder, whose .txt files are all taken.
        length: tokens of a window; each but the first is predicted from those before it.
        tokens: bytes (256 of them), or bpe for pieces of words that are learnt from the training split, or the path of
            a tokenizer.json of the library tokenizers.
        vocabulary: with bpe, the number of different tokens at most.
        cache: folder to keep the tokens in, memory-mapped, so that a text may be larger than memory; null to keep
            them in memory. A single file's bytes are mapped without it.
        **data: batch_size, val_fraction, test_fraction, workers: see Data.

    Raises:
        ValueError: if a file is missing or not UTF-8, a split is shorter than a window, or the tokens can't be used.
    """

    def __init__(
        self,
        path: str | list[str],
        length: int = 128,
        tokens: str = BYTES,
        vocabulary: int = 4096,
        cache: str | None = None,
        **data: Any,
    ) -> None:
        super().__init__(**data)
        if length < 2 or vocabulary < 256:
            raise ValueError(f"length is {length} and vocabulary is {vocabulary}: expected at least 2 and 256")
        self.length, self.cache = length, cache
        self.texts = self._split(*find_texts(path))
        self.tokens = self._tokens(tokens, vocabulary)
        self.vocabulary, self.token_bytes = self.tokens.size, self.tokens.token_bytes
        self.preparation = {"tokens": self.tokens.plain}

    def _split(self, pieces: list[Piece], empty: list[str]) -> dict[str, list[Piece]]:
        """The text of each split."""
        if empty:
            self.notes = [f"empty files, which are left out: {len(empty):,}, such as {empty[0]}"]
        texts = by_name(pieces) or {"train": pieces}
        if len(texts) > 1:
            self.notes = [*self.notes, f"files are called {', '.join(texts)}: they are those splits"]
        rest = 1.0
        if "test" not in texts:
            texts["train"], texts["test"] = cut(texts["train"], self.test_fraction)
            rest -= self.test_fraction
        if "val" not in texts:
            texts["train"], texts["val"] = cut(texts["train"], self.val_fraction / rest)
        return {split: texts[split] for split in SPLITS}

    def _tokens(self, tokens: str, vocabulary: int) -> Tokens:
        """The tokens of the text; where a checkpoint is measured, those that it has learnt."""
        learnt = (self.learnt or {}).get("tokens")
        if learnt or tokens == BYTES:
            return tokens_of(learnt or BYTES)
        if tokens == BPE:
            return self._learnt_bpe(vocabulary)
        try:
            return LearntTokens(Path(tokens).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(
                f"tokens is {tokens!r}: expected bytes, bpe or a tokenizer.json ({error.strerror})"
            ) from None
        except ValueError as error:
            raise ValueError(f"tokens is {tokens!r}: {error}") from None

    def _learnt_bpe(self, vocabulary: int) -> Tokens:
        kept = self._kept("train", f"bpe {vocabulary}", ".json")
        if kept:
            make_if_missing(kept, lambda part: part.write_text(self._learn_bpe(vocabulary), encoding="utf-8"))
            plain = kept.read_text(encoding="utf-8")
        else:
            plain = self._learn_bpe(vocabulary)
        tokens = LearntTokens(plain)
        if tokens.size < vocabulary:
            self.notes = [*self.notes, f"the text is short: it gives {tokens.size:,} tokens, not {vocabulary:,}"]
        return tokens

    def _learn_bpe(self, vocabulary: int) -> str:
        parts = chain.from_iterable(map(text_of, self.texts["train"]))
        return learnt_bpe(progress(parts, "learning tokens"), vocabulary)

    def _kept(self, split: str, tokens: str, ending: str) -> Path | None:
        """The file of the cache for these tokens of a split, its files being as they are now."""
        if not self.cache:
            return None
        states = [(os.path.abspath(path), os.stat(path).st_mtime_ns, *place) for path, *place in self.texts[split]]
        digest = hashlib.sha256(json.dumps([states, tokens]).encode()).hexdigest()[:16]
        return Path(self.cache, f"{split}-{digest}{ending}")

    def load(self) -> tuple["Windows", Tensor]:
        windows = Windows([self._encoded(split) for split in SPLITS], self.length)
        for split, count in zip(SPLITS, windows.counts, strict=True):
            if not count:
                size = len(windows.blocks[SPLITS.index(split)])
                raise ValueError(
                    f"{self._place(split)} has {size:,} tokens for {split}, but a window has {self.length}: use a "
                    "longer text, or a smaller data.length"
                )
        _, self.own_val, self.own_test = windows.counts
        return windows, torch.zeros(len(windows), 0)  # no number each

    def _place(self, split: str) -> str:
        return self.texts[split][0].path if self.texts[split] else self.texts["train"][0].path

    def _encoded(self, split: str) -> np.ndarray:
        """The tokens of a split, (M,); mapped if there is a cache, or if they are a file as it is."""
        pieces = self.texts[split]
        dtype = np.dtype(
            np.uint8 if self.tokens.size <= 2**8 else np.uint16 if self.tokens.size <= 2**16 else np.uint32
        )
        if isinstance(self.tokens, ByteTokens) and len(pieces) == 1:
            ((path, start, stop),) = pieces
            return np.memmap(path, dtype, "r", offset=start, shape=(stop - start,))
        encoded = (np.asarray(tokens, dtype) for tokens in _encode(self.tokens, pieces))
        kept = self._kept(split, self.tokens.plain, ".tokens")
        if not kept:
            return np.concatenate([np.empty(0, dtype), *progress(encoded, f"encoding the text for {split}")])

        def keep(part: Path) -> None:
            with part.open("wb") as file:
                for tokens in progress(encoded, f"encoding the text for {split}"):
                    file.write(tokens.data)

        make_if_missing(kept, keep)
        with suppress(ValueError):  # of an empty file
            return np.memmap(kept, dtype, "r")
        return np.empty(0, dtype)

    def source_files(self) -> list[str]:
        return list(dict.fromkeys(piece.path for pieces in self.texts.values() for piece in pieces))


def _encode(tokens: Tokens, pieces: Sequence[Piece]) -> Iterator[Any]:
    """The tokens of a text, part by part."""
    for number, piece in enumerate(pieces):
        if number:
            yield tokens.encode(BETWEEN)
        yield from encoded(tokens, piece)


def encoded(tokens: Tokens, piece: Piece) -> Iterator[Any]:
    """The tokens of a piece, part by part: its bytes as they are, in whatever encoding, or those of its UTF-8."""
    if isinstance(tokens, ByteTokens):
        return (np.frombuffer(part, np.uint8) for part in bytes_of(piece))
    return map(tokens.encode, text_of(piece))


class Windows(LazyInputs):
    """The windows of several blocks of tokens, (N, length) int64: each begins with the last token of the one before it.

    Args:
        blocks: of tokens, (M,) each, which can be mapped.
        length: of a window.
    """

    dtype = torch.int64

    def __init__(self, blocks: list[np.ndarray], length: int) -> None:
        self.blocks, self.length = blocks, length
        self.counts = [max(0, len(block) - 1) // (length - 1) for block in blocks]
        self.ends = np.cumsum(self.counts)
        self.shape = (int(self.ends[-1]), length)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Some windows: indices (B,) → (B, length)."""
        rows = indices.numpy()
        batch = np.empty((len(rows), self.length), np.int64)
        for block, end, count in zip(self.blocks, self.ends, self.counts, strict=True):
            inside = (rows < end) & (rows >= end - count)
            starts = (rows[inside] - (end - count)) * (self.length - 1)
            batch[inside] = block[starts[:, None] + np.arange(self.length)]
        return torch.from_numpy(batch)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "blocks": list(map(as_place, self.blocks))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.blocks = list(map(from_place, self.blocks))
