"""`--help all` says types and defaults in words, and is as wide as the terminal."""

from typing import Literal

import pytest
from jsonargparse import ArgumentParser

from kindling.cli.full_help import InWords, type_in_words, value_in_words


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        ("int", "a whole number"),
        ("float | null", "a number or null"),
        ("Optional[Literal['min', 'max']]", "one of min, max or null"),
        ("Union[list[int], str, int]", "a text or a whole number or a list, each a whole number"),
        ("Union[null, bool, Literal['warn']]", "true or false or one of warn or null"),
        ("dict[str, Union[int, float]]", "keys with values"),
        ("tuple[int, ...]", "a list, each a whole number"),
        ("Callable[[Iterable], Optimizer]", "Optimizer"),
        ("Union[Precision, list[Union[Precision, int]], null]", "Precision or a list, each Precision or a whole number or null"),
        ("list", "a list"),
    ],
)  # fmt: skip
def test_types(type_: str, words: str) -> None:
    assert type_in_words(type_) == words


def test_values() -> None:
    optimizer = "{'class_path': 'torch.optim.AdamW', 'init_args': {'lr': 0.002, 'weight_decay': 0.01}}"
    assert value_in_words(optimizer) == "AdamW(lr: 0.002, weight_decay: 0.01)"
    assert value_in_words("{'class_path': 'kindling.models.Constant'}") == "Constant"
    assert [value_in_words(value) for value in ("True", "null", "[1, 2]", "auto")] == ["true", "null", "[1, 2]", "auto"]


def test_a_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = ArgumentParser("x", formatter_class=InWords)
    long = "how the words go on. " * 12 + "See :class:`a.b.Trainer` (or ``this``). Default: ``None``."
    parser.add_argument("--mode", type=Literal["min", "max"] | None, default="min", help=long)
    parser.add_argument("-c", "--count", type=int, required=True, help="how many (at most)")
    parser.add_argument("--sizes", type=list[int], default=[1], help="of layers.")
    for columns in (70, 110):
        monkeypatch.setenv("COLUMNS", str(columns))
        told = parser.format_help()
        assert max(map(len, told.splitlines()[3:])) in range(columns - 12, columns + 1)
        assert "  --mode  one of min, max or null (min)\n      how the words go on. how" in told
        assert "See `Trainer` (or `this`).\n" in " ".join(told.split(" ")).replace("\n      ", " ") + "\n"
        assert "  --count  a whole number\n      how many (at most)\n" in told
        assert "  --sizes  a list, each a whole number ([1])\n      of layers.\n" in told
