"""Configs as editors and shells of other systems write them."""

from pathlib import Path

import pytest

from kindling.core.config_files import read_yaml
from kindling.core.errors import UsageError

CONTENT = "model: MLP  # 1×8×8 → 10\ndata.path: Größe\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])  # the last is that of PowerShell's >
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_config_is_unicode_whatever_the_system(encoding: str, ends: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(CONTENT.replace("\n", ends).encode(encoding))
    assert read_yaml(path) == {"model": "MLP", "data.path": "Größe"}


def test_a_path_with_backslashes_is_kept_and_in_double_quotes_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one: C:\\data\\new\ntwo: 'C:\\data\\new'\n", encoding="utf-8")
    assert read_yaml(path) == {"one": "C:\\data\\new", "two": "C:\\data\\new"}
    path.write_text('model: MLP\none: "C:\\data\\new"\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"a\.yaml, line 2: .*a path with \\ stands in single quotes, or has / in its"):
        read_yaml(path)
