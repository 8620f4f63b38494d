"""The signals that a training answers."""

import signal

import pytest

from kindling.train.signals import Interrupts


@pytest.mark.parametrize("in_a_job", [False, True])
def test_that_of_slurm_is_watched_in_its_jobs_alone(in_a_job: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if in_a_job else [])}
    if in_a_job:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    else:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        monkeypatch.delattr(signal, "SIGUSR1")  # as on Windows
    interrupts = Interrupts()
    interrupts.watch()
    try:
        assert set(interrupts.before) == expected
    finally:
        interrupts.release()
