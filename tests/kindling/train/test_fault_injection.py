"""A shorter `scripts/kindling/fault_injection.py`: trainings that are killed, a full disk, damaged checkpoints."""

import importlib.util
import sys
from typing import Any

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location(
        "fault_injection", ROOT / "scripts" / "kindling" / "fault_injection.py"
    )
    assert spec
    assert spec.loader
    module = sys.modules["fault_injection"] = importlib.util.module_from_spec(spec)  # where its dataclass looks
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "configuration", "count"),
    [
        ("kills", "mixup", 2),
        ("kills", "plateau", 2),
        ("kills", "one_cycle", 2),
        ("saves", "early_stopping", 2),
        ("disk", "dropout", 2),
        ("corruption", "early_stopping", 40),
    ],
)
def test_nothing_is_lost(part: str, configuration: str, count: int, script: Any) -> None:
    row = script.inject(part, configuration, count)
    assert not row.differences, "\n".join(row.differences)
    assert row.faults >= count
    assert row.resumes
