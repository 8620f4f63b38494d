"""The commands of docs/scaling.md."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, child

from kindling.cli.arguments import read_arguments
from kindling.core.config_files import read_yaml

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
LINES = re.findall(r"`[^`\n]+`|^    .+$", PAGE, re.MULTILINE)
FITS = [line.strip("` ") for line in LINES if re.search(r"kindling fit --|slurm\.sh --", line)]
IN_THE_TABLE = [line for line in re.findall(r"\| `(kindling fit [^`]+)` \|", PAGE) if "gpu.yaml" not in line]
SHORT = "--trainer.max_epochs 1 --trainer.limit_train_batches 2 --trainer.limit_val_batches 1 --trainer.limit_test_batches 1"
TWO_OF_A_CPU = f"--trainer.accelerator cpu --trainer.devices 2 {SHORT} --figures.enabled false"


@pytest.mark.parametrize("command", FITS)
def test_a_command_has_its_files(command: str) -> None:
    after = re.split(r"kindling fit|scripts/slurm\.sh", command)[1]
    assert read_arguments(["fit", *shlex.split(after)]).configs


def test_there_are_commands() -> None:
    assert len(FITS) >= 9
    assert len(IN_THE_TABLE) == 3


@pytest.mark.slow
@pytest.mark.parametrize("command", IN_THE_TABLE)
def test_a_command_trains_measures_and_exports(command: str, project: Path) -> None:
    _, *arguments = shlex.split(command)
    fit = child(*arguments, *TWO_OF_A_CPU.split(), cwd=project)
    assert fit.code == 0, fit.err
    assert read_yaml(next(project.glob("lightning_logs/*/*/config.yaml")))["trainer"]["devices"] == "2"
    for further in ("test --run latest --trainer.devices 1", "predict --run latest", "export --run latest"):
        one = child(*further.split(), cwd=project)
        assert one.code == 0, one.err


def test_the_script_for_slurm_is_one_that_bash_reads() -> None:
    assert subprocess.run(["bash", "-n", str(ROOT / "scripts" / "slurm.sh")]).returncode == 0
