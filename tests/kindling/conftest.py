"""What the engine's tests share besides tests/conftest.py."""

import os

import pytest

# TensorBoard speaks gRPC, which would start threads in each forked process: a signal would end a loader's worker.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures, which take seconds a run, only in the tests that are marked so."""
    if "figures" not in request.keywords:
        monkeypatch.setattr("kindling.figures.callback.Figures._draw", lambda *_: None)
