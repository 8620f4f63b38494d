"""What the documents say of files is true."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

ENGINE = ROOT / "src" / "kindling"


@pytest.mark.parametrize("name", ["engine.md", "guide.md"])
def test_the_files_that_a_document_names_are_there(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", text))
    assert len(named) > 8
    homes = (ENGINE, ROOT / "src" / "my_project", *(room for room in ENGINE.iterdir() if room.is_dir()))
    missing = [path for path in sorted(named) if not any((home / path).exists() for home in homes)]
    assert not missing


def test_the_page_of_the_engine_names_every_room() -> None:
    text = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    rooms = {path.name for path in ENGINE.iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^\| `([a-z]+)/` \|", text, re.MULTILINE)) == rooms


def test_the_parts_of_files_that_the_page_of_the_engine_names_are_in_them() -> None:
    text = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    items = re.findall(r"^\d\. `([a-z_/]+\.py)` — (.*(?:\n   .*)*)", text, re.MULTILINE)
    assert len(items) == 14
    for file, sentence in items:
        source = (ENGINE / file).read_text(encoding="utf-8")
        first = re.findall(r"`([A-Za-z_]{3,})`", sentence)[0]
        assert re.search(rf"^ *(class|def) {first}\b", source, re.MULTILINE), f"{file} has no {first}"


def test_documents_hold_no_path_of_a_machine() -> None:
    for path in Path(ROOT / "docs").rglob("*.md"):
        assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work)/", path.read_text(encoding="utf-8"))
