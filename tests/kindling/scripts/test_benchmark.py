"""`scripts/kindling/benchmark.py --quick` runs, and keeps what it finds. How fast anything is, is judged by nobody here."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

SCRIPT = ROOT / "scripts" / "kindling" / "benchmark.py"
STEPS = {"careful loop", "bare loop", "guide's loop", "guide's loop, clipping", "usual Lightning", "Kindling"}


def benchmark(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)


def this_machine() -> dict[str, Any]:
    code = "import json; from benchmarks.machine import describe; print(json.dumps(describe()))"
    finished = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, check=True)
    return json.loads(finished.stdout)


@pytest.mark.slow
def test_cases_are_measured_and_merged_into_what_is_known(tmp_path: Path) -> None:
    rows = [{"name": "import lightning", "samples": [4.0, 5.0]}, {"name": "kindling --help", "samples": [1.0, 2.0]}]
    known = {"startup": {"commands": {"quick": False, "machine": this_machine(), "rows": rows}}}
    (tmp_path / "found.json").write_text(json.dumps({"parts": known}))
    arguments = ["steps:mlp64", "loader:memory", "growth:steps", "--quick", "--output", "found.json"]
    finished = benchmark(tmp_path, *arguments)
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    report: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert report["parts"].pop("startup") == known["startup"]

    found = {part: {name: case["rows"] for name, case in cases.items()} for part, cases in report["parts"].items()}
    assert {row["name"] for row in found["steps"]["mlp64"]} == STEPS
    assert len(found["loader"]["memory"]) == 2
    assert len(found["growth"]["steps"]) == 4
    for cases in report["parts"].values():
        for case in cases.values():
            assert case["quick"]
            assert case["machine"]["cores"] > 0
            for row in case["rows"]:
                assert min(row["samples"]) > 0
                assert row["least"] <= row["median"] <= row["most"]
                assert row["ratio"] > 0
                assert f"| {row['name']} | " in finished.stdout

    targets = {target.pop("what"): target for target in report["targets"]}
    judged = {what: target for what, target in targets.items() if target["met"] != "not judged"}
    help_time = "time of kindling --help ÷ import lightning"
    assert judged == {help_time: {"reached": "0.325", "target": "at most 0.2", "met": "not met"}}
    assert {target["reached"] for target in targets.values()} == {"quick", "not measured", "0.325"}


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    finished = benchmark(tmp_path, "step")
    assert finished.returncode == 2
    assert "unknown part step: expected steps, image_example, " in finished.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_it_is_stopped_nothing_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    mark = f"BENCHMARK_TEST={tmp_path}"
    environment = {**os.environ, "BENCHMARK_TEST": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "steps:mlp64", "--output", "found.json"]
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background ignore it
    started = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=listen,
    )  # fmt: skip
    assert started.stderr
    assert any("warms up" in line for line in started.stderr)
    assert len(running(mark)) > 2  # the program, what forks its workers, and a worker
    started.send_signal(number)
    started.communicate(timeout=600)
    assert started.returncode != 0
    end = time.monotonic() + 600
    while running(mark):
        assert time.monotonic() < end
        time.sleep(0.1)


def running(mark: str) -> list[str]:
    """The processes that have a variable in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environment.read_bytes().split(b"\0"):
                found.append(environment.parent.name)
    return found
