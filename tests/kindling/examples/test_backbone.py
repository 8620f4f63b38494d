"""Networks of torchvision and timm: what they see, where their weights come from, and what a checkpoint needs."""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from conftest import Result, assert_refused
from torch import Tensor, nn
from torch.optim import SGD
from torchvision import models

import kindling
from kindling.models.hyperparameters import weights_follow
from kindling.models.pretrained import network_without_head
from my_project.models.backbone import Backbone

SMALL = "shufflenet_v2_x0_5"
URL = models.get_model_weights(SMALL).DEFAULT.url
FIT = ["fit", "--config", "configs/digits_backbone.yaml", "--model.name", SMALL, "--trainer.accelerator", "cpu"]
FIT += ["--trainer.max_epochs", 2, "--trainer.limit_train_batches", 3, "--figures.enabled", "false"]
RUN = Path("lightning_logs/digits_backbone/version_0")


def build(channels: int = 3, side: int = 32, **arguments: Any) -> Backbone:
    torch.manual_seed(0)
    arguments = {"name": SMALL} | arguments
    return Backbone(input_shape=(channels, side, side), classes=["a", "b", "c"], **arguments)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Weights where torch keeps those that it has downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.manual_seed(1)
    state = models.get_model(SMALL).state_dict()
    file = tmp_path / "torch" / "hub" / "checkpoints" / URL.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    return state


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no internet: where the weights would have to be."""

    def fail(*_: Any, **__: Any) -> None:
        raise URLError("no internet")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return tmp_path / "empty" / "hub" / "checkpoints" / URL.rpartition("/")[2]


SMALL_NETWORKS = ["resnet18", "mobilenet_v3_small", "squeezenet1_1"]
LARGE_NETWORKS = ["convnext_tiny", "densenet121", "efficientnet_b0", "maxvit_t", "swin_v2_t", "vgg11", "vit_b_32"]


@pytest.mark.parametrize(
    "name", [*SMALL_NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE_NETWORKS)]
)
def test_a_network_of_torchvision_ends_before_its_last_layer(name: str) -> None:
    torch.manual_seed(0)
    whole = models.get_model(name).eval()
    network, _ = network_without_head(name, 3, pretrained=False)
    network.eval().load_state_dict(whole.state_dict(), strict=False)
    layers = dict(whole.named_modules())
    last = [layer for layer in layers.values() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    images, seen = torch.randn(2, 3, 224, 224), list[Tensor]()
    last.register_forward_hook(lambda layer, inputs, outputs: seen.append(inputs[0]))
    with torch.no_grad():
        whole(images)
        features = network(images)
    expected = seen[0] if seen[0].dim() == 2 else seen[0].relu().mean(dim=(2, 3))  # SqueezeNet ends in a convolution
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_the_first_convolution_takes_the_channels_of_the_data(channels: int, weights: dict[str, Tensor]) -> None:
    network, _ = network_without_head(SMALL, channels, pretrained=True)
    plain, _ = network_without_head(SMALL, 3, pretrained=True)
    colour, own = (next(layer for layer in each.modules() if isinstance(layer, nn.Conv2d)) for each in (plain, network))
    torch.testing.assert_close(colour.weight, weights["conv1.0.weight"])
    grey = torch.randn(2, 1, 16, 16)
    if channels in (1, 6):  # of channels that are alike it makes what it makes of a grey picture in colour
        expected = colour(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(own(grey.expand(-1, channels, -1, -1)), expected, rtol=1e-4, atol=1e-5)
    else:
        repeated = torch.cat([colour.weight, colour.weight[:, :1]], dim=1)[:, :channels]
        torch.testing.assert_close(own.weight, repeated * 3 / channels)


def test_a_pretrained_network_has_its_weights_and_a_new_head(weights: dict[str, Tensor]) -> None:
    model = build(pretrained=True)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert model.head.weight.shape == (3, 1024)
    assert model.size == 224
    assert model.notes == [
        f"images are resized from 32 × 32 to 224 × 224, as {SMALL}'s weights expect (--model.size for another)"
    ]
    assert build(pretrained=True, size=32).notes == []


def test_it_sees_pixels_as_its_weights_do(
    weights: dict[str, Tensor], kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = kindling(*FIT, "--model.pretrained", "true", "--trainer.max_epochs", 1)
    assert (finished.code, finished.err) == (0, "")
    predictor = _load(RUN)
    pixels = torch.rand(5, 1, 8, 8)
    inputs, seen = predictor.preprocessing(pixels), list[Tensor]()
    predictor.model.backbone.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0]))
    predictor.model(inputs)
    mean, std = sum((0.485, 0.456, 0.406)) / 3, sum((0.229, 0.224, 0.225)) / 3  # of a single channel
    resized = nn.functional.interpolate(pixels, (32, 32), mode="bilinear")
    torch.testing.assert_close(seen[0], (resized - mean) / std, rtol=1e-4, atol=1e-5)


def _load(run: Path) -> Any:
    return kindling.load(run, device="cpu")


def test_without_internet_a_sentence_says_where_the_file_goes(offline: Path, kindling: Callable[..., Result]) -> None:
    finished = kindling(*FIT, "--model.pretrained", "true")
    sentence = f"model.pretrained is true, but {SMALL}'s weights can't be read (<urlopen error no internet>)"
    assert_refused(finished, f"{sentence}: put {URL} at {offline}")


def test_a_damaged_file_of_weights_is_refused(weights: Any, tmp_path: Path, kindling: Callable[..., Result]) -> None:
    file = next((tmp_path / "torch" / "hub" / "checkpoints").iterdir())
    file.write_bytes(file.read_bytes()[:1000])
    assert_refused(kindling(*FIT, "--model.pretrained", "true"), "weights can't be read (")
    torch.save({"conv.weight": torch.zeros(1)}, file)
    assert_refused(kindling(*FIT, "--model.pretrained", "true"), "Missing key(s)")


@pytest.mark.slow
def test_a_run_needs_no_weights_but_its_own(
    weights: Any, kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert kindling(*FIT, "--model.pretrained", "true", "--model.size", 32).code == 0
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))  # the internet is not there either
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("it downloads"))
    np.save("images.npy", np.random.default_rng(0).random((4, 8, 8), dtype=np.float32))
    for command in (
        ["test", "--run", RUN],
        ["predict", "--run", RUN, "--input", "images.npy"],
        ["export", "--run", RUN],
        ["fit", "--resume", RUN, "--trainer.max_epochs", 3],
    ):
        finished = kindling(*command)
        assert finished.code == 0, finished.err
    assert Backbone.load_from_checkpoint(RUN / "checkpoints" / "best.ckpt", map_location="cpu").size == 32


def test_a_run_that_has_saved_nothing_begins_with_the_weights(
    weights: dict[str, Tensor], kindling: Callable[..., Result]
) -> None:
    assert kindling(*FIT, "--model.pretrained", "true", "--model.freeze", "all", "--model.size", 32).code == 0
    for file in (RUN / "checkpoints").glob("*.ckpt"):
        file.unlink()
    (RUN / "results.json").unlink()
    assert kindling("fit", "--resume", RUN).code == 0
    assert torch.equal(_load(RUN).model.backbone.stage2[0].branch1[0].weight, weights["stage2.0.branch1.0.weight"])


def test_a_model_that_is_loaded_reads_no_weights(offline: Path) -> None:
    with weights_follow():
        assert build(pretrained=True).size == 224


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model.name", "resnet81"], "command line: model.name is 'resnet81', which torchvision doesn't have: did you mean resnet18"),
        (["--model.name", "vit_b_16"], "model.name is vit_b_16, which can't take these images (Wrong image height!"),
        (["--model.layer_decay", "1.5"], "command line: model.layer_decay is 1.5: expected a factor in (0, 1]"),
        (["--model.freeze", "1.5"], "Backbone.frozen is wrong: 1.5 is not all, a share of the run"),
        (["--model.pretrained", "true", "--model.init", "guide"], "init is guide: pretrained weights would be lost"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(flags: list[str], message: str, kindling: Callable[..., Result]) -> None:
    assert_refused(kindling(*FIT, *flags), message)


def test_timm_is_asked_for_where_it_is_missing(
    kindling: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert_refused(kindling(*FIT, "--model.name", "timm/resnet18"), "which needs timm: pip install -e '.[timm]'")


def test_the_rate_falls_from_layer_to_layer() -> None:
    model = build(layer_decay=0.5, optimizer=partial(SGD, lr=0.8), groups={"backbone.conv5": {"lr": 0.3}})
    rates: dict[str, float] = {}
    for group in model.configure_optimizers()["optimizer"].param_groups:
        for name, parameter in model.named_parameters():
            if any(parameter is each for each in group["params"]):
                rates[re.match(r"(?:backbone\.)?[^.]+", name)[0]] = group["lr"]  # type: ignore[index]
    assert rates == pytest.approx(
        {
            "head": 0.8,
            "backbone.conv5": 0.3,  # what a user says comes first
            "backbone.stage4": 0.2,
            "backbone.stage3": 0.1,
            "backbone.stage2": 0.05,
            "backbone.conv1": 0.025,
        }
    )


@pytest.mark.parametrize(("freeze", "trains"), [("head", False), ("all", False), (0.5, True), (1, True), (None, True)])
def test_the_backbone_is_frozen(freeze: Any, trains: bool, kindling: Callable[..., Result]) -> None:
    flags = [] if freeze is None else ["--model.freeze", freeze]
    finished = kindling(*FIT, *flags)
    assert (finished.code, finished.err) == (0, "")
    assert ("note   backbone is frozen" in finished.out) == (freeze is not None)
    assert ("note   backbone trains from here on: epoch 2" in finished.out) == (trains and freeze is not None)
    state = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert (int(state["backbone.conv1.1.num_batches_tracked"]) > 0) == trains


def test_larger_images_are_made_smaller_without_aliasing() -> None:
    model = build(side=64, size=32).eval()
    stripes = (torch.arange(64) % 2).float().expand(1, 3, 64, 64)
    seen = list[Tensor]()
    model.backbone.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0]))
    model(stripes)
    torch.testing.assert_close(seen[0][..., 4:-4], torch.full((1, 3, 32, 24), 0.5), atol=0.05, rtol=0)


def test_networks_of_timm(kindling: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install -e '.[timm]'")
    name = "timm/test_resnet"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert_refused(kindling(*FIT, "--model.name", "timm/resnet_of_mine"), "which timm doesn't have: did you mean timm/")
    finished = kindling(*FIT, "--model.name", name, "--model.pretrained", "true")
    file = tmp_path / "torch" / "hub" / "checkpoints" / "test_resnet.safetensors"
    assert_refused(finished, f"/resolve/main/model.safetensors at {file}")
    file.parent.mkdir(parents=True)
    torch.manual_seed(3)
    state = timm.create_model("test_resnet").state_dict()
    pytest.importorskip("safetensors.torch").save_file(state, file)
    assert torch.equal(
        build(name=name, pretrained=True).backbone.state_dict()["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"]
    )
    finished = kindling(*FIT, "--model.name", name, "--model.pretrained", "true", "--model.size", 32)
    assert finished.code == 0, finished.err
    file.unlink()
    assert kindling("test", "--run", RUN).code == 0


def test_a_run_that_is_cut_off_at_the_thaw_goes_on_exactly(kindling: Callable[..., Result]) -> None:
    flags = [*FIT, "--model.freeze", 1, "--model.schedule", "null", "--weight_averaging.enabled", "true"]
    assert kindling(*flags, "--name", "whole").code == 0
    assert kindling(*flags, "--name", "parts", "--trainer.max_epochs", 1).code == 0
    parts = Path("lightning_logs/parts/version_0")
    assert kindling("fit", "--resume", parts, "--trainer.max_epochs", 2).code == 0
    expected, found = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        for run in (Path("lightning_logs/whole/version_0"), parts)
    )
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(found[part][name], value) for name, value in expected[part].items())
    torch.testing.assert_close(found["optimizer_states"], expected["optimizer_states"], rtol=0, atol=0)
