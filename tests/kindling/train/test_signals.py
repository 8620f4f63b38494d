"""The signals that a training answers."""

import signal

import pytest

from kindling.train.signals import Interrupts


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("in_a_job", [False, True])
def test_that_of_slurm_is_watched_in_its_jobs_alone(
    in_a_job: bool, windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "SIGUSR1", signal.SIGABRT, raising=False)  # which every system has
    expected = {signal.SIGINT, signal.SIGTERM, *([signal.SIGABRT] if in_a_job and not windows else [])}
    if windows:
        monkeypatch.delattr(signal, "SIGUSR1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if in_a_job:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    interrupts = Interrupts()
    interrupts.watch()
    try:
        assert set(interrupts.before) == expected
    finally:
        interrupts.release()
