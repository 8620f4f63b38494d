"""A run's page: what it says of a run's files, whatever is in them, and that it loads nothing."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kindling.cli import run_page
from kindling.cli.run_page import write_run_page
from kindling.report.page import LARGEST, LARGEST_TEXT, PNG, write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EVIL = "<script>document.title = 'run'</script>\"'><img src=x onerror=\"document.title = 'run'\">"
SUMMARY = {
    "model": "Net", "parameters": 1234, "task": "Classification", "data": "Cats", "inputs": "3×8×8",
    "targets": "2 classes", "splits": {"train": 1000, "val": 20, "test": 30}, "batch_size": 64, "device": "cpu",
    "precision": "32-true", "notes": ["labels begin at 1"], "settings": {"model.width": 16, "trainer.max_epochs": 9},
    "ended": None, "monitor": "val/loss", "mode": "min",
}  # fmt: skip
RESULTS = {
    "val": {"loss": 0.25, "accuracy": 0.9}, "test": {"loss": 0.5, "accuracy": 0.85, "auroc": None},
    "notes": {"test/auroc": "undefined: one class"}, "best_epoch": 7, "epochs": 9, "parameters": 1234,
    "seconds": 3725.0, "samples_per_second": 1234.5,
    "class_counts": {"train": {"cat": 600, "dog": 400}, "val": {"cat": 12, "dog": 8}, "test": {"cat": 30}},
}  # fmt: skip
ENVIRONMENT = {
    "command": "kindling fit --config cats.yaml", "started": "2030-01-02 03:04:05+00:00", "seed": 5, "slurm_job": None,
    "git_commit": "abc", "git_dirty": True, "python": "3.11.7", "packages": {"torch": "2.10"}, "platform": "Linux",
    "cpus": 8, "threads": 4, "gpus": [],
}  # fmt: skip
METRICS = "epoch,step,train/loss,val/loss\n0,9,1.5,\n0,9,,0.75\n1,19,1.25,\n1,19,,0.25\n"


class Page(HTMLParser):
    """What a browser would make of a page: its texts, its tables and its elements."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.html = (run / "report.html").read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(self.html)
        self.cells = [each for each in self.cells if each]
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("tr", "dl", "p"):
            self.cells.append([])

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        if self.elements and self.elements[-1][0] in ("td", "th", "dt", "dd", "code") and data.strip() and self.cells:
            self.cells[-1].append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def make(folder: Path, **files: Any) -> Path:
    """A run with these files; `results_json` is results.json."""
    run = folder / "cats" / "version_3"
    run.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (run / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return run


def whole(folder: Path) -> Path:
    return make(
        folder, summary_json=SUMMARY, results_json=RESULTS, environment_json=ENVIRONMENT, metrics_csv=METRICS,
        config_yaml="model: Net\n",
    )  # fmt: skip


def page(run: Path, commands: list[tuple[str, str]] | None = None) -> Page:
    write_page(run, commands or [])
    return Page(run)


def test_it_says_what_was_trained_on_what_and_how_it_went(tmp_path: Path) -> None:
    found = page(whole(tmp_path), [("kindling test --run R", "measures"), ("kindling predict", "")])
    assert found.cells[0] == [
        *("validation accuracy", "0.9000", "test accuracy", "0.8500", "best epoch", "7 of 9"),
        *("training time", "62 min 5 s", "parameters", "1,234"),
    ]
    assert found.cells[1] == [
        *("model", "Net", "parameters", "1,234", "task", "Classification", "data", "Cats", "inputs", "3×8×8"),
        *("targets", "2 classes", "samples", "1,000 train, 20 validation, 30 test", "batch size", "64"),
        *("device", "cpu", "precision", "32-true", "samples per second", "1,234.5"),
        *("chosen by", "the lowest val/loss"),
    ]
    tables = found.cells[2:]
    assert tables[:3] == [
        ["class", "train", "validation", "test"],
        ["cat", "600", "12", "30"],
        ["dog", "400", "8", "0"],
    ]
    assert tables[3:7] == [
        ["metric", "validation", "test"],
        ["loss", "0.2500", "0.5000"],
        ["accuracy", "0.9000", "0.8500"],
        ["auroc", "undefined"],
    ]
    assert tables[7] == ["kindling test --run R", "measures", "kindling predict"]
    assert tables[8:11] == [["setting", "value"], ["model.width", "16"], ["trainer.max_epochs", "9"]]
    assert tables[11:] == [
        ["kindling fit --config cats.yaml"],
        [
            *("started", "2030-01-02 03:04:05+00:00", "git commit", "abc, with uncommitted changes", "seed", "5"),
            *("machine", "Linux", "CPU cores", "8, threads: 4", "GPUs", "none", "Python", "3.11.7", "torch", "2.10"),
        ],
    ]
    for text in ("Net on Cats", "labels begin at 1", "test/auroc is undefined: one class", "model: Net"):
        assert text in found.text
    assert "kindling fit --config cats.yaml" in found.text
    assert "Stopped early" not in found.text
    assert "Not finished" not in found.text
    (curve,) = found.all("svg")
    assert curve["aria-label"] == "loss by epoch: training from 1.5000 to 1.2500; validation from 0.7500 to 0.2500"


def test_of_a_run_that_holds_nothing_it_says_that(tmp_path: Path) -> None:
    found = page(make(tmp_path))
    assert "Not finished. There are no results yet." in found.text
    assert "Nothing was logged." in found.text
    assert found.text.count("cats/version_3") == 2  # title and heading


@pytest.mark.parametrize(
    "content",
    [
        "{", "[1]", "null", "[" * 10_000, '{"val": 3, "notes": [], "class_counts": {"train": 2}}',
        '{"notes": 5, "settings": [1], "monitor": ["a"], "mode": {}, "gpus": true}',
    ],
)  # fmt: skip
def test_damaged_files_are_no_reason_to_write_none(content: str, tmp_path: Path) -> None:
    run = make(tmp_path, summary_json=content, results_json=content, environment_json=content, metrics_csv="\0,\n")
    assert "cats/version_3" in page(run).text


def test_why_it_ended_before_its_time(tmp_path: Path) -> None:
    run = make(whole(tmp_path).parents[1], summary_json=SUMMARY | {"ended": "val/loss did not improve"})
    assert "Stopped early: val/loss did not improve" in page(run).text
    (run / "results.json").unlink()
    found = page(run)
    assert "Not finished. val/loss did not improve" in found.text
    assert found.cells[0] == ["parameters", "1,234"]


def test_what_is_measured_later_stands_beside_it(tmp_path: Path) -> None:
    run = whole(tmp_path)
    (run / "test").mkdir()
    (run / "test" / "results.json").write_text(json.dumps({"checkpoint": "a/best.ckpt", "test": RESULTS["test"]}))
    assert ["metric", "validation", "test"] in page(run).cells
    later = {"checkpoint": "a/last.ckpt", "test": {"loss": 0.125}}
    (run / "test" / "results.json").write_text(json.dumps(later))
    cells = page(run).cells
    assert ["metric", "validation", "test", "test, kindling test of last.ckpt"] in cells
    assert ["loss", "0.2500", "0.5000", "0.1250"] in cells


def test_a_run_without_a_metric_to_choose_by_has_no_best_epoch(tmp_path: Path) -> None:
    results = {name: value for name, value in RESULTS.items() if name not in ("val", "test")}
    run = make(tmp_path, results_json=results)
    assert page(run).cells[0] == ["epochs", "9", "training time", "62 min 5 s", "parameters", "1,234"]


def test_each_start_is_told(tmp_path: Path) -> None:
    run = whole(tmp_path)
    for number in (0, 10, 9):
        command = {"command": f"start {number}", "git_commit": None}
        (run / f"environment.{number}.json").write_text(json.dumps(ENVIRONMENT | command))
    text = page(run).text
    places = [text.index(each) for each in ("First start start 0", "start 9", "start 10", "kindling fit --config cats")]
    assert places == sorted(places)
    assert text.count("Resumed") == 3


def test_pictures_are_in_it_but_for_those_that_are_large_or_none(tmp_path: Path) -> None:
    run = whole(tmp_path)
    for folder in ("figures", "test/figures"):
        (run / folder).mkdir(parents=True)
    (run / "figures" / "test_curves.png").write_bytes(PNG + b"of the training")
    (run / "figures" / "val_curves.png").write_bytes(PNG + b"of the validation")
    (run / "figures" / "val_page.png").write_bytes(b"<html>")
    (run / "figures" / "val_#1.png").write_bytes(PNG + bytes(LARGEST))
    (run / "figures" / "val_text.txt").write_text("once <b>upon</b> a time")
    (run / "test" / "figures" / "test_curves.png").write_bytes(PNG + b"of later")
    (run / "test" / "figures" / "test_worst_images.png").write_bytes(PNG + b"worst")
    found = page(run)
    sources = [base64.b64decode(str(each["src"]).partition("base64,")[2]) for each in found.all("img")]
    assert sources == [PNG + b"of the validation", PNG + b"of the training", PNG + b"worst"]
    assert [each["alt"] for each in found.all("img")] == ["curves, validation", "curves, test", "worst images, test"]
    assert [each["href"] for each in found.all("a")] == ["figures/val_%231.png", "figures/val_page.png"]
    assert "once <b>upon</b> a time" in found.text
    assert found.all("b") == []


def test_of_figures_that_are_no_files_and_of_endless_texts_there_is_no_more_than_a_beginning(tmp_path: Path) -> None:
    run = whole(tmp_path)
    (run / "figures" / "val_folder.png").mkdir(parents=True)
    (run / "figures" / "val_loop.png").symlink_to("val_loop.png")
    (run / "figures" / "val_gone.txt").symlink_to("nowhere")
    (run / "figures" / "val_text.txt").write_text("é" * (LARGEST_TEXT + 1), encoding="utf-8")
    found = page(run)
    assert found.all("img") == []
    assert found.html.count("é") == LARGEST_TEXT


def hostile(folder: Path) -> Path:
    """A run whose every text is markup."""

    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {f"{name}{EVIL}" if name not in known else name: spoilt(each) for name, each in value.items()}
        return (
            [spoilt(each) for each in value] if isinstance(value, list) else EVIL if isinstance(value, str) else value
        )

    known = {*SUMMARY, *RESULTS, *ENVIRONMENT, "train", "val", "test", "loss"}
    run = make(
        folder, summary_json=spoilt(SUMMARY) | {"ended": EVIL}, results_json=spoilt(RESULTS), environment_json=spoilt(ENVIRONMENT),
        metrics_csv=METRICS.replace("train/loss", '"train/' + EVIL.replace('"', '""') + '"'), config_yaml=EVIL,
    )  # fmt: skip
    (run / "figures").mkdir()
    (run / "figures" / "val_<script>1<").with_suffix(".png").write_bytes(PNG)
    (run / "figures" / "val_text.txt").write_text(EVIL)
    return run


def test_markup_in_names_and_values_shows_as_text(tmp_path: Path) -> None:
    found = page(hostile(tmp_path), [(EVIL, EVIL)])
    assert found.all("script") == []
    assert all(str(each["src"]).startswith("data:") for each in found.all("img"))
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert found.text.count("<script>document.title") >= 25
    classes = next(cells for cells in found.cells if cells[0] == "class")
    assert classes == ["class", "train", "validation", "test"]


def test_it_asks_nothing_of_a_network_and_runs_nothing(tmp_path: Path) -> None:
    found = page(whole(tmp_path), [("kindling", "")])
    (policy,) = [each["content"] for each in found.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not re.search(r"https?:|url\(|@import|<script|<iframe", found.html)
    assert {str(each["href"]) for each in found.all("link")} == {"data:,"}


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    command = "kindling fit --trainer.logger.api_key=hidden1 --x.token hidden2 --data.tokens bytes"
    settings = {"model.token": "hidden4", "trainer.logger": [{"init_args": {"api_key": "hidden5"}}], "secret": None}
    run = make(
        tmp_path, config_yaml="logger:\n  api_key: hidden3\n  password: null\n",
        environment_json=ENVIRONMENT | {"command": command}, summary_json={"settings": settings},
    )  # fmt: skip
    text = page(run).text
    assert "hidden" not in text
    assert "api_key: (not shown) password: null" in text
    assert "model.token (not shown) trainer.logger [{'init_args': {'api_key': (not shown)}}] secret None" in text
    assert "--trainer.logger.api_key=(not shown) --x.token (not shown) --data.tokens bytes" in text


def test_headings_tables_and_pictures_can_be_heard(tmp_path: Path) -> None:
    found = page(whole(tmp_path))
    assert found.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in found.elements if re.fullmatch("h[12]", tag)] == ["h1", *["h2"] * 5]
    assert {each["scope"] for each in found.all("th")} == {"col", "row"}
    sections = {each["aria-labelledby"] for each in found.all("section")}
    assert sections == {each["id"] for each in found.all("h2")}


def test_a_fault_is_told_and_costs_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run_page(SimpleNamespace(), tmp_path)  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert said.startswith(f"warning: can't write {tmp_path}/report.html, and goes on without: AttributeError: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_written_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_page, "has_stage", lambda *_: True)
    monkeypatch.setattr(run_page, "next_commands", lambda *_: [])
    (tmp_path / "report.html").mkdir()
    write_run_page(SimpleNamespace(), tmp_path)  # type: ignore[arg-type]
    assert capsys.readouterr().out == f"warning: can't write {tmp_path}/report.html: it is a folder\n"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_shows_it_without_a_request_or_an_error(tmp_path: Path) -> None:
    run = hostile(tmp_path)
    write_page(run, [(EVIL, EVIL)])
    file = (run / "report.html").as_uri()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", file]
    shown = subprocess.run([str(CHROMIUM), *options], capture_output=True, encoding="utf-8", timeout=120)
    assert "<title>cats/version_3</title>" in shown.stdout  # no script has changed it
    assert shown.stdout.count("<svg") == 2
    assert "CONSOLE" not in shown.stderr  # nor was one refused, or anything loaded
