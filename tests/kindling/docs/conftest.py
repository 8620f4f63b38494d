"""What the tests of the documents share."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from cookbook_pages import code_of


@pytest.fixture
def mine(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Makes the code of a page the module `mine`."""

    def write(page: str) -> ModuleType:
        (project / "mine.py").write_text(code_of(page), encoding="utf-8")
        monkeypatch.syspath_prepend(project)
        return import_module("mine")

    yield write
    sys.modules.pop("mine", None)
