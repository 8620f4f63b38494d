from typing import Any

import pytest
import torch

from my_project.models.fast_resnet import Block, FastResNet

CLASSES = [str(i) for i in range(10)]


def test_every_stage_halves_the_image() -> None:
    net = FastResNet(input_shape=(1, 28, 28), classes=CLASSES, channels=[4, 4, 6], blocks=[1, 0, 2]).eval()
    assert net.stages(torch.randn(2, 1, 28, 28)).shape == (2, 6, 4, 4)  # 28, 14, 7, 4
    assert sum(isinstance(layer, Block) for layer in net.stages) == 3


def test_a_block_passes_its_input_on() -> None:
    block = Block(4)
    torch.nn.init.zeros_(block.norm.weight)
    inputs = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(block(inputs), inputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": []}, "expected positive channels, blocks for each"),
        ({"channels": [4, 0], "blocks": [1, 1]}, "expected positive channels, blocks for each"),
        ({"channels": [4, 8], "blocks": [1]}, "expected positive channels, blocks for each"),
        ({"channels": [4], "blocks": [-1]}, "expected positive channels, blocks for each"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FastResNet(input_shape=(1, 8, 8), classes=CLASSES, **arguments)
