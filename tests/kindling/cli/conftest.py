"""What several tests of the command line use."""

from pathlib import Path

import pytest
from conftest import QUICK, ROOT

from kindling.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (
            main(["fit", "--config", str(ROOT / "configs/digits_mlp.yaml"), *QUICK, "--figures.enabled", "false"]) == 0
        )
    return folder / "lightning_logs/digits_mlp/version_0"
