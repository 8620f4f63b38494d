"""What was true of a run before it was resumed is kept under a number, and no longer passes for what is."""

import json
from pathlib import Path

from kindling.run.record import Record


def test_what_was_measured_before_a_resume_stays_under_a_number(tmp_path: Path) -> None:
    before = {"environment": "first", "results": "trained", "test/results": "tested", "validate/results": "validated"}
    for name, content in before.items():
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"told": content}), encoding="utf-8")
    Record(tmp_path, {}, 0).keep(7)
    left = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*.json")}
    assert {*left} == {f"{name}.0.json" for name in before} | {"environment.json"}
    for name, content in before.items():
        assert json.loads(left[f"{name}.0.json"].read_text(encoding="utf-8")) == {"told": content}
