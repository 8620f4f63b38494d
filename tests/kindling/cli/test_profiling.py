"""Profilers show what they found, or write it into the run and say where."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import QUICK, Result, assert_refused

MLP = ["--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK, "--trainer.max_epochs", "1"]
RUN = Path("lightning_logs/digits_mlp/version_0")


class Shown(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_the_simple_profiler_shows_the_table_of_the_training(kindling: Callable[..., Result]) -> None:
    logger, shown = logging.getLogger("lightning.pytorch"), Shown()
    logger.addHandler(shown)
    try:
        assert kindling("fit", *MLP, "--trainer.profiler", "simple").code == 0
    finally:
        logger.removeHandler(shown)
    (table,) = shown.texts  # none of the validation and the test afterwards
    assert table.startswith("FIT Profiler Report")
    assert "optimizer_step" in table
    assert not (RUN / "profile").exists()


@pytest.mark.parametrize(("profiler", "names"), [
    ("advanced", ["fit-profile.txt"]), ("pytorch", ["fit-profile.txt", "fit-profile-[Strategy]SingleDeviceStrategy"]),
])  # fmt: skip
def test_the_others_write_into_the_run_and_say_where(
    profiler: str, names: list[str], kindling: Callable[..., Result]
) -> None:
    finished = kindling("fit", *MLP, "--trainer.profiler", profiler)
    assert finished.code == 0, finished.err
    assert f"profile {RUN / 'profile'}\n" in finished.out
    written = [path.name for path in (RUN / "profile").iterdir()]
    assert all(any(name.startswith(start) for name in written) for start in names)
    assert (RUN / "profile" / "fit-profile.txt").read_text().startswith("FIT Profiler Report")


def test_device_statistics_without_psutil(kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.callbacks.device_stats_monitor._PSUTIL_AVAILABLE", False)
    finished = kindling("fit", *MLP, "--trainer.callbacks", "DeviceStatsMonitor")
    needs = "DeviceStatsMonitor needs a package that is not installed: pip install psutil"
    assert_refused(finished, f"trainer.callbacks: {needs}")
