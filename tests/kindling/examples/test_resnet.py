from typing import Any

import pytest
import torch

from my_project.models.resnet import ResidualBlock, ResNet

CLASSES = [str(i) for i in range(10)]


def test_the_default_is_the_guides_resnet() -> None:
    assert ResNet(input_shape=(3, 32, 32), classes=CLASSES).num_parameters == 11_173_962


def test_a_block_with_a_stride_halves_the_image() -> None:
    assert ResidualBlock(4, 8, stride=2)(torch.randn(2, 4, 8, 8)).shape == (2, 8, 4, 4)


def test_a_block_without_one_passes_its_input_on() -> None:
    block = ResidualBlock(4, 4)
    torch.nn.init.zeros_(block.norm2.weight)
    inputs = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(block(inputs), inputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (10,)}, "ResNet takes images: the data has vectors .10,."),
        ({"input_shape": (1, 8, 8), "depths": []}, "expected positive integers"),
        ({"input_shape": (1, 8, 8), "width": 0}, "expected positive integers"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(classes=CLASSES, **arguments)
