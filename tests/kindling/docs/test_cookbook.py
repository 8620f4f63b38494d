"""Each page of the cookbook runs as it stands, and says what it promises."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

COOKBOOK = ROOT / "docs" / "cookbook"
PAGES = sorted(path.stem for path in COOKBOOK.glob("*.md") if path.stem != "README") if COOKBOOK.is_dir() else []


def run(page: str) -> dict[str, Any]:
    """What the code of a page leaves: its names."""
    text = (COOKBOOK / f"{page}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    names: dict[str, Any] = {"__name__": f"page_{page}"}
    exec(compile(code, f"{page}.md", "exec"), names)
    return names


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"\((\w+)\.md\)", (COOKBOOK / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == PAGES


def test_a_page_fits_on_a_screen() -> None:
    for page in PAGES:
        assert len((COOKBOOK / f"{page}.md").read_text(encoding="utf-8").splitlines()) <= 60, page


def test_own_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("own_metric")
    metrics = names["trainer"].callback_metrics
    assert 1 - metrics["val/accuracy"] <= metrics["val/mean_cost"] <= 10 * (1 - metrics["val/accuracy"])


def test_own_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("own_loss")["share_below"] > 0.75


def test_own_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("own_callback")
    assert 64 / (256 + 128) <= names["trainer"].callback_metrics["val/dead_units"] < 0.5


def test_class_imbalance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("class_imbalance")["found"]
    for name in ("class_weights", "both"):
        assert found[name]["val/recall"] > found["plain"]["val/recall"] + 0.15
        assert found[name]["val/accuracy"] < found["plain"]["val/accuracy"]


def test_own_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("own_dataset")
    data, trainer = names["data"], names["trainer"]
    assert trainer.callback_metrics["val/loss"] < 0.6  # a coin would have 0.69
    image, mask = data.lazy_samples[0]
    changed = [data.change((image, mask)) for _ in range(20)]
    flipped = [not torch.equal(each, image) for each, _ in changed]
    assert flipped == [not torch.equal(each, mask) for _, each in changed]
    assert any(flipped)
    assert not all(flipped)
