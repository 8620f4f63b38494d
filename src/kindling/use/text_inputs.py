"""Text files for a language model, in windows of tokens as in its training."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from kindling.data.text import encoded
from kindling.data.text_files import Piece, find_texts
from kindling.data.tokens import Tokens
from kindling.use.input_batches import InputBatch, InputBatches
from kindling.use.predictor import Predictor


def read_text(path: Path, predictor: Predictor, size: int) -> InputBatches:
    """The windows of a text file, or of all .txt in a folder, in batches of at most `size`; the last may be shorter.

    Each is named after its file and the place of its first token, and begins with the last token of the previous one.
    """
    pieces, _ = find_texts(str(path))
    tokens, (length,) = predictor.tokens(), predictor.preprocessing.shape

    def batches() -> Iterator[InputBatch]:
        for piece in pieces:
            name = str(Path(piece.path).relative_to(path)) if path.is_dir() else path.name
            names: list[str] = []
            windows: list[list[int]] = []
            for start, window in _windows(piece, tokens, length):
                if windows and (len(windows) == size or len(window) < length):
                    yield InputBatch(names, [""] * len(names), (torch.tensor(windows),))
                    names, windows = [], []
                names.append(f"{name}:{start}")
                windows.append(window)
            if windows:
                yield InputBatch(names, [""] * len(names), (torch.tensor(windows),))

    return InputBatches(None, batches())


def _windows(piece: Piece, tokens: Tokens, length: int) -> Iterator[tuple[int, list[int]]]:
    """The windows of a text, each of which shares a token with the next, and where each begins."""
    start, waiting = 0, list[int]()
    for part in encoded(tokens, piece):
        waiting += np.asarray(part).tolist()
        first = 0
        while len(waiting) - first >= length:
            yield start + first, waiting[first : first + length]
            first += length - 1
        start, waiting = start + first, waiting[first:]
    if len(waiting) > 1:
        yield start, waiting
