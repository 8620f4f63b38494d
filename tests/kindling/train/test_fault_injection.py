"""A shorter `scripts/kindling/fault_injection.py`: trainings that are killed, a full disk, damaged checkpoints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "configuration", "count"),
    [
        ("kills", "mixup", 2),
        ("kills", "plateau", 2),
        ("kills", "one_cycle", 2),
        ("ranks", "lightning", 1),
        ("ranks", "torchrun, 2 nodes", 1),
        ("saves", "early_stopping", 2),
        ("disk", "dropout", 2),
        ("corruption", "early_stopping", 40),
    ],
)
def test_nothing_is_lost(part: str, configuration: str, count: int, tmp_path: Path) -> None:
    script = ROOT / "scripts" / "kindling" / "fault_injection.py"
    command = [sys.executable, str(script), part, "--only", configuration, "--count", str(count)]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    _, row = finished.stdout.splitlines()
    told_part, told_configuration, faults, resumes, _, identical = re.split(r" {2,}", row.strip())
    assert (told_part, told_configuration, identical) == (part, configuration, "yes")
    assert int(faults) >= count
    assert int(resumes)
