"""Every notebook runs from its first cell to its last, and shows what it showed in small pictures."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from conftest import ROOT, end_process_group

NOTEBOOKS = sorted(path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=str)
def test_a_notebook_runs(notebook: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells are plain Python, so that no kernel is needed; they begin in the notebook's folder, as in Jupyter."""
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    monkeypatch.setitem(plt.rcParams, "backend", "agg")
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)
    plt.close("all")
    end_process_group()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=str)
def test_a_notebook_is_small_and_says_nothing_of_a_machine(notebook: Path) -> None:
    text = (ROOT / notebook).read_text(encoding="utf-8")
    assert len(text.encode()) < 200_000
    assert str(Path.home()) not in text
