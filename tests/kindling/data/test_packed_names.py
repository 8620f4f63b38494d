"""Names of files by the million: what they are equal to, what they weigh, and what a damaged file of them does."""

import os
import pickle
import random
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from kindling.data.fingerprint import fingerprint
from kindling.data.packed_names import BLOCK, PackedNames

NAMES = ["cat/1.png", "", "dög/2.png", os.fsdecode(b"caf\xe9.png"), "x"]
MANY = [f"class {number % 7}/{number}.jpg" for number in range(2 * BLOCK + 5)]


def test_they_are_a_sequence() -> None:
    packed = PackedNames.joined([PackedNames(NAMES[:2]), PackedNames(), PackedNames(NAMES[2:])])
    assert [*packed] == packed[:] == NAMES
    assert (packed[-1], packed[1], len(packed)) == ("x", "", 5)
    assert packed[1:4:2] == NAMES[1:4:2]
    assert packed[::-1] == NAMES[::-1]
    with pytest.raises(IndexError):
        packed[5]
    assert [*pickle.loads(pickle.dumps(packed))] == NAMES
    assert [*PackedNames()] == []


def test_they_have_the_fingerprint_of_a_list() -> None:
    for names in (NAMES, MANY):
        assert fingerprint(torch.arange(5), PackedNames(names)) == fingerprint(torch.arange(5), names)


def test_a_file_holds_them_without_memory(tmp_path: Path) -> None:
    PackedNames(MANY).write(tmp_path / "names", {"one": [1]})
    before = pa.total_allocated_bytes()
    names, about = PackedNames.read(tmp_path / "names")
    assert pa.total_allocated_bytes() - before < 10_000
    assert about == {"one": [1]}
    assert [*names] == MANY
    assert [names[place] for place in (0, BLOCK, -1)] == [MANY[0], MANY[BLOCK], MANY[-1]]


def test_a_damaged_file_is_refused_or_has_other_letters(tmp_path: Path) -> None:
    path, draw = tmp_path / "names", random.Random(0)
    PackedNames(NAMES * 20).write(path, {})
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content[: draw.choice([None, None, draw.randrange(len(content))])])
        try:
            names, _ = PackedNames.read(path)
            assert len([*names]) <= 100
        except (OSError, ValueError):
            refused += 1
    assert refused > 100
