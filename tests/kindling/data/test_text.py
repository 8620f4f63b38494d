"""Text as windows of tokens: what is in which split, what is kept, and what is refused."""

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kindling.data import Text
from kindling.data.text_files import Piece, cut, text_of
from kindling.data.tokens import ByteTokens, LearntTokens

LINES = [f"line {number} of a little büch, {number * number}\n" for number in range(400)]
WHOLE = "".join(LINES)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(WHOLE, encoding="utf-8")
    return "book.txt"


def texts_of(data: Text) -> dict[str, str]:
    """The text of the windows of each split."""
    found = {}
    for split, indices in data.splits.items():
        windows = data.samples[0][indices].tolist()
        assert all(one[-1] == other[0] for one, other in itertools.pairwise(windows))
        text = data.tokens.decode([windows[0][0], *(token for window in windows for token in window[1:])])
        found[split] = text.rstrip("\ufffd")  # of a character that the last window cuts
    return found


def test_the_splits_are_blocks_of_lines(book: str) -> None:
    data = Text(book, length=16, val_fraction=0.2, test_fraction=0.3)
    texts = texts_of(data)
    places = [WHOLE.index(text) for text in texts.values()]
    assert places == sorted(places)
    assert places[0] == 0
    assert all(WHOLE[place - 1] == "\n" for place in places[1:])
    size = len(WHOLE.encode())
    for split, share in {"train": 0.5, "val": 0.2, "test": 0.3}.items():
        assert len(texts[split].encode()) == pytest.approx(share * size, abs=16 + 40)
    ends = [place + len(text) for place, text in zip(places, texts.values(), strict=True)]
    assert all(end <= start < end + 16 for end, start in zip(ends[:-1], places[1:], strict=True))


def test_each_token_but_the_first_is_predicted_once(book: str) -> None:
    data = Text(book, length=16)
    windows = data.samples[0][data.splits["train"]]
    predicted = windows[:, 1:].flatten().tolist()
    assert predicted == list(WHOLE.encode()[1 : 1 + len(predicted)])
    assert data.input_shape == (16,)
    assert (data.vocabulary, data.token_bytes) == (256, [1] * 256)


def test_batches_are_a_function_of_seed_and_epoch(book: str) -> None:
    data = Text(book, length=16, batch_size=8)
    data.setup("fit")
    loader = data.train_dataloader()
    one, other = list(loader), list(loader)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
    loader.sampler.set_epoch(1)  # type: ignore[union-attr]
    assert not torch.equal(next(iter(loader))[0], one[0][0])
    tokens, targets = one[0]
    assert (tokens.shape, tokens.dtype, targets.shape) == ((8, 16), torch.int64, (8, 0))


@pytest.mark.parametrize("cache", [None, "cache"])
def test_files_follow_each_other_with_an_empty_line_between(
    cache: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("books/deep").mkdir(parents=True)
    parts = {"books/a.txt": WHOLE[:3000], "books/b.txt": WHOLE[3000:9000], "books/deep/c.txt": WHOLE[9000:]}
    for name, text in parts.items():
        Path(name).write_bytes(text.encode())
    Path("books/empty.txt").touch()
    Path("books/notes.md").write_text("not this", encoding="utf-8")
    data = Text("books", length=16, cache=cache, val_fraction=0.3, test_fraction=0.1)
    joined = "\n\n".join(parts.values())
    texts = texts_of(data)
    assert joined.startswith(texts["train"])
    assert all(text in joined for text in texts.values())
    assert data.notes == ["empty files, which are left out: 1, such as books/empty.txt"]
    assert texts_of(Text(list(parts), length=16, val_fraction=0.3, test_fraction=0.1)) == texts
    if cache:
        kept = {path: path.stat().st_mtime_ns for path in Path(cache).iterdir()}
        assert len(kept) >= 1
        again = Text("books", length=16, cache=cache, val_fraction=0.3, test_fraction=0.1)
        assert texts_of(again) == texts
        assert {path: path.stat().st_mtime_ns for path in Path(cache).iterdir()} == kept


def test_files_called_by_splits_are_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.txt").write_text("a" * 900, encoding="utf-8")
    Path("valid.txt").write_text("b" * 200, encoding="utf-8")
    data = Text(".", length=10, test_fraction=0.5)
    assert {split: set(text) for split, text in texts_of(data).items()} == {"train": {"a"}, "val": {"b"}, "test": {"a"}}
    assert data.notes == ["files are called train, val: they are those splits"]
    assert len(texts_of(data)["test"]) > 440


def test_a_mapped_text_stays_on_the_disk(book: str) -> None:
    data = Text(book, length=16)
    blocks = data.samples[0].blocks
    assert all(isinstance(block, np.memmap) for block in blocks)
    handed = pickle.dumps(data.samples[0])
    assert len(handed) < 4000
    indices = torch.tensor([0, len(data.samples[0]) - 1])
    assert torch.equal(pickle.loads(handed)[indices], data.samples[0][indices])


def test_characters_are_whole_and_wrong_bytes_are_told(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    content = ("ü" * 3_000_000).encode()  # one line of 6 MB
    file.write_bytes(content)
    one, other = cut([Piece(str(file), 0, len(content))], 0.5)
    assert "".join(text_of(one[0])) + "".join(text_of(other[0])) == content.decode()
    file.write_bytes(content[:4_500_001])
    with pytest.raises(ValueError, match="long.txt is not UTF-8, at byte 4,500,000: convert it"):
        list(text_of(Piece(str(file), 0, 4_500_001)))
    file.write_bytes(b"good \xff bad")
    with pytest.raises(ValueError, match="at byte 5:"):
        list(text_of(Piece(str(file), 0, 10)))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"path": "nowhere.txt"}, "path is 'nowhere.txt': there is no such file or folder"),
    ({"path": "folder"}, "path is 'folder': there is no .txt file in it"),
    ({"path": "empty.txt"}, "empty.txt is empty: expected text"),
    ({"path": "book.txt", "length": 1}, "length is 1 and vocabulary is 4096: expected at least 2 and 256"),
    ({"path": "book.txt", "tokens": "none.json"}, "tokens is 'none.json': expected bytes, bpe or a tokenizer.json"),
    (
        {"path": "book.txt", "length": 5000},
        r"book.txt has .* tokens for val, but a window has 5000: use a longer text, or a smaller data.length",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_can_not_be_is_refused(arguments: dict[str, Any], message: str, book: str) -> None:
    Path("folder").mkdir()
    Path("empty.txt").touch()
    with pytest.raises(ValueError, match=message):
        _ = Text(**arguments).samples


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    tokens = ByteTokens()
    assert tokens.decode(tokens.encode("büch")) == "büch"
    assert tokens.decode([98, 0xC3]) == "b\ufffd"


class TestPiecesOfWords:
    """With the library tokenizers."""

    @pytest.fixture(autouse=True)
    def library(self) -> None:
        pytest.importorskip("tokenizers")

    def test_they_are_learnt_from_the_training_split_alone(self, book: str) -> None:
        with open(book, "a", encoding="utf-8") as file:
            file.write("zyzzogeton " * 500 + "\n")
        data = Text(book, length=16, tokens="bpe", vocabulary=300, val_fraction=0.2, test_fraction=0.3)
        known = json.loads(data.tokens.plain)["model"]["vocab"]
        assert data.vocabulary == len(known) == 300
        assert any("line" in token for token in known)
        assert not any("zz" in token for token in known)

    def test_they_are_the_text_again_and_tell_their_bytes(self, book: str) -> None:
        data = Text(book, length=16, tokens="bpe", vocabulary=300)
        tokens = data.tokens.encode(WHOLE)
        assert len(tokens) < 0.7 * len(WHOLE.encode())
        assert data.tokens.decode(tokens) == WHOLE
        assert data.token_bytes is not None
        assert sum(data.token_bytes[token] for token in tokens) == len(WHOLE.encode())
        assert texts_of(data)["train"] in WHOLE
        assert data.preparation == {"tokens": data.tokens.plain}

    def test_they_are_kept_in_the_cache(self, book: str) -> None:
        arguments: dict[str, Any] = {"length": 16, "tokens": "bpe", "vocabulary": 300}
        plain, cached = Text(book, **arguments), Text(book, **arguments, cache="cache")
        again = Text(book, **arguments, cache="cache")
        everything = torch.arange(len(plain.samples[0]))
        for data in (cached, again):
            assert torch.equal(plain.samples[0][everything], data.samples[0][everything])
            assert all(isinstance(block, np.memmap) for block in data.samples[0].blocks)
        assert (
            len([path for path in Path("cache").iterdir() if path.suffix != ".lock"]) == 4
        )  # splits and the tokenizer

    def test_one_s_own(self, book: str) -> None:
        data = Text(book, length=16, tokens="bpe", vocabulary=300)
        Path("tokenizer.json").write_text(data.tokens.plain, encoding="utf-8")
        own = Text(book, length=16, tokens="tokenizer.json")
        assert own.tokens.plain == LearntTokens(data.tokens.plain).plain
        assert texts_of(own) == texts_of(data)
        Path("tokenizer.json").write_text("{}", encoding="utf-8")
        with pytest.raises(ValueError, match=r"tokens is 'tokenizer.json': it is not a tokenizer's JSON"):
            Text(book, tokens="tokenizer.json")

    def test_a_short_text_gives_fewer_and_wrong_bytes_are_told(self, book: str) -> None:
        data = Text(book, length=16, tokens="bpe", vocabulary=50_000)
        assert data.notes == [f"the text is short: it gives {data.vocabulary:,} tokens, not 50,000"]
        content = Path(book).read_bytes()
        Path(book).write_bytes(content[:700] + b"\xff" + content[700:])
        with pytest.raises(ValueError, match="book.txt is not UTF-8, at byte 700"):
            Text(book, tokens="bpe")
