"""Image networks of torchvision and timm without their last layer, pretrained if wanted."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from kindling.models.hyperparameters import WEIGHTS_FOLLOW

TIMM = "timm/"  # before the name of a network of timm
# These two have further outputs in training.
TORCHVISION = sorted({*models.list_models(module=models)} - {"googlenet", "inception_v3"})
CLASSES = 1000  # of ImageNet, by which the last layer is recognised


class Wanted(NamedTuple):
    """What a network was trained with: the side of its images in pixels, and what they were normalised by."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def statistics(self, channels: int) -> tuple[Tensor, Tensor]:
        """Mean and std of each channel, (C, 1, 1): those of red, green and blue, or else their mean for all."""
        found = [values if channels == len(values) else [sum(values) / len(values)] * channels for values in self[1:]]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in found)
        return mean, std


def network_without_head(name: str, channels: int, pretrained: bool) -> tuple[nn.Module, Wanted]:
    """A network that turns images (B, C, H, W) into features (B, F).

    Its first convolution takes any number of channels: one gets the sum of the weights of three, other numbers repeat
    them in proportion. Weights are read from torch's cache, and downloaded if they are not there; neither if those of
    a checkpoint will follow.

    Args:
        name: of a network in torchvision.models, or, after timm/, of one in timm.
        channels: of the images.
        pretrained: whether to load the library's weights for it.

    Raises:
        ValueError: if there is no such network, timm is missing, or the weights can't be read.
    """
    make = _timm if name.startswith(TIMM) else _torchvision
    return make(name, channels, pretrained and not WEIGHTS_FOLLOW.get())


def _torchvision(name: str, channels: int, pretrained: bool) -> tuple[nn.Module, Wanted]:
    if name not in TORCHVISION:
        raise ValueError(f"name is {name!r}, which torchvision doesn't have{_near(name, TORCHVISION)}")
    network, weights = models.get_model(name), models.get_model_weights(name).DEFAULT
    if pretrained:
        try:
            network.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
        except Exception as error:  # of the network, the file or its content
            raise _unreadable(name, weights.url, _place(weights.url), error) from None
    layers = dict(network.named_modules())
    network.set_submodule([path for path, layer in layers.items() if _outputs(layer) == CLASSES][-1], nn.Identity())
    _adapt(next(layer for layer in layers.values() if isinstance(layer, nn.Conv2d)), channels)
    preset = weights.transforms()
    return network, Wanted(preset.crop_size[0], tuple(preset.mean), tuple(preset.std))


def _outputs(layer: nn.Module) -> int | None:
    return getattr(layer, "out_features", getattr(layer, "out_channels", None))


def _adapt(conv: nn.Conv2d, channels: int) -> None:
    """Let a convolution of colour images take others, as timm does."""
    if channels == conv.in_channels:
        return
    weight = conv.weight.detach()
    repeated = weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels] * (3 / channels)
    conv.weight = nn.Parameter(weight.sum(1, keepdim=True) if channels == 1 else repeated)
    conv.in_channels = channels


def _timm(name: str, channels: int, pretrained: bool) -> tuple[nn.Module, Wanted]:
    try:
        import timm
    except ImportError:
        raise ValueError(f"name is {name}, which needs timm: pip install -e '.[timm]'") from None
    own = name.removeprefix(TIMM)
    if not timm.is_model(own):
        raise ValueError(f"name is {name!r}, which timm doesn't have{_near(own, timm.list_models(), TIMM)}")
    network = timm.create_model(own, in_chans=channels, num_classes=0)
    about: dict[str, Any] = network.pretrained_cfg
    if pretrained:
        url = about.get("url") or f"https://huggingface.co/{about.get('hf_hub_id')}/resolve/main/model.safetensors"
        place = _place(f"{own}.{url.rpartition('.')[2]}")
        file = {"file": str(place)} if place.is_file() else None
        sizes: dict[str, Any] = {"in_chans": channels, "num_classes": 0}
        try:
            network = timm.create_model(own, pretrained=True, pretrained_cfg_overlay=file, **sizes)
        except Exception as error:  # of a hub, or of a file
            raise _unreadable(name, url, place, error) from None
    return network, Wanted(about["input_size"][-1], tuple(about["mean"]), tuple(about["std"]))


def _near(name: str, names: list[str], prefix: str = "") -> str:
    near = get_close_matches(name, names, n=3) or names[:3]
    return f": did you mean {' or '.join(prefix + each for each in near)}?"


def _place(url: str) -> Path:
    """Where torch keeps a file of weights."""
    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])


def _unreadable(name: str, url: str, place: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200]
    return ValueError(f"pretrained is true, but {name}'s weights can't be read ({reason}): put {url} at {place}")
