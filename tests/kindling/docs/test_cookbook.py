"""Each page of the cookbook runs as it stands, and says what it promises."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result
from cookbook_pages import COOKBOOK, PAGES, commands_of, run
from fastapi.testclient import TestClient
from PIL import Image
from sklearn.datasets import load_digits

from kindling import load as kindling_load
from kindling.run.checkpoint_files import load_checkpoint


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"\((\w+)\.md\)", (COOKBOOK / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == PAGES


def test_a_page_fits_on_a_screen() -> None:
    for page in PAGES:
        assert len((COOKBOOK / f"{page}.md").read_text(encoding="utf-8").splitlines()) <= 60, page


def test_own_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("own_metric")
    metrics = names["trainer"].callback_metrics
    assert 1 - metrics["val/accuracy"] <= metrics["val/mean_cost"] <= 10 * (1 - metrics["val/accuracy"])


def test_own_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("own_loss")["share_below"] > 0.75


def test_own_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("own_callback")
    assert 64 / (256 + 128) <= names["trainer"].callback_metrics["val/dead_units"] < 0.5


@pytest.mark.slow
def test_class_imbalance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("class_imbalance")["found"]
    for name in ("class_weights", "both"):
        assert found[name]["val/recall"] > found["plain"]["val/recall"] + 0.15
        assert found[name]["val/accuracy"] < found["plain"]["val/accuracy"]


def test_own_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("own_dataset")
    data, trainer = names["data"], names["trainer"]
    assert trainer.callback_metrics["val/iou"] > 0.7
    image, mask = data.lazy_samples[0]
    changed = [data.change((image, mask)) for _ in range(20)]
    flipped = [not torch.equal(each, image) for each, _ in changed]
    assert flipped == [not torch.equal(each, mask) for _, each in changed]
    assert any(flipped)
    assert not all(flipped)


class Accident(Exception):
    """Nothing is prepared for it, and nothing is saved."""


def test_stream(mine: Any, kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    module = mine("stream")
    fit, resume = commands_of("stream")
    assert kindling(*fit, "--name", "whole").code == 0

    step = module.Line.training_step

    def fall(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 120:
            raise Accident
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(module.Line, "training_step", fall)
        with pytest.raises(Accident):
            kindling(*fit, "--name", "broken")

    places: list[int] = []
    load = module.Readings.load_state_dict
    monkeypatch.setattr(
        module.Readings, "load_state_dict", lambda self, state: (places.append(state["place"]), load(self, state))
    )
    assert kindling(*resume).code == 0
    assert len(places) == 1
    assert 0 < places[0] <= 100 * 8  # the last checkpoint is from step 100
    whole, broken = (
        load_checkpoint(Path("lightning_logs", name, "version_0/checkpoints/last.ckpt")) for name in ("whole", "broken")
    )
    assert whole["global_step"] == broken["global_step"] == 200
    torch.testing.assert_close(whole["state_dict"], broken["state_dict"], rtol=0, atol=0)


def test_lightning_module(mine: Any, kindling: Callable[..., Result]) -> None:
    mine("lightning_module")
    fit, resume, compare = commands_of("lightning_module")
    results = Path("lightning_logs/unnamed/version_0/results.json")
    found = []
    for command in (fit, resume):
        assert kindling(*command).code == 0
        found.append(json.loads(results.read_text(encoding="utf-8")))
    assert found[0]["val"]["accuracy"] > 0.8
    assert (found[0]["epochs"], found[1]["epochs"]) == (5, 8)
    assert "lightning_logs/unnamed/version_0" in kindling(*compare).out


@pytest.mark.slow
def test_serving(project: Path, kindling: Callable[..., Result]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    for command in commands_of("serving"):
        assert kindling(*command).code == 0
    client = TestClient(run("serving")["app"])
    assert client.get("/").json()["names"] == json.dumps([str(digit) for digit in range(10)])
    images, predict = load_digits().images[:20], kindling_load(project / "lightning_logs/digits_mlp/version_0")
    for image in (images * 255 / 16).round().astype(np.uint8):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        answer = client.post("/predict", content=file.getvalue(), headers={"Content-Type": "image/png"}).json()
        expected = predict(image[None, None].astype(np.float32) / 255)
        assert answer["class"] == expected["prediction"][0]
        assert answer["probability"] == pytest.approx(float(expected[f"probability_{answer['class']}"][0]), abs=1e-5)
    refused = client.post("/predict", content=b"no image", headers={"Content-Type": "image/png"})
    assert (refused.status_code, refused.json()["detail"][:25]) == (422, "expected a PNG or a JPEG:")


@pytest.mark.slow
def test_ensemble(project: Path, kindling: Callable[..., Result]) -> None:
    (command,) = commands_of("ensemble")
    assert kindling(*command, "--trainer.max_epochs", 5).code == 0
    names = run("ensemble")
    assert len(names["models"]) == 3
    assert names["log_loss"](names["ensemble"]) <= sum(names["losses"]) / 3
