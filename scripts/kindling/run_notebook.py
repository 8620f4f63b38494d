"""Runs notebooks/first_steps.ipynb and keeps its outputs: `python scripts/kindling/run_notebook.py`.

Needs `pip install nbclient ipykernel`. It runs in a temporary folder, so that its run is always version_0.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "first_steps.ipynb"


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "configs", Path(folder, "configs"))
        Path(folder, "notebooks").mkdir()
        place = {"metadata": {"path": str(Path(folder, "notebooks"))}}
        NotebookClient(notebook, record_timing=False, resources=place).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # of any version
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
