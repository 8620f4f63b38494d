import pytest
import torch
from torch import nn

from kindling.tasks import Segmentation
from my_project.models.unet import UNet


def build(height: int = 13, width: int = 22, **arguments: int) -> UNet:
    torch.manual_seed(0)
    return UNet(input_shape=(3, height, width), classes=["a", "b"], **{"width": 4, "depth": 2, **arguments}).eval()


@pytest.mark.parametrize("size", [(16, 16), (13, 22), (1, 7), (5, 64)])
def test_a_mask_is_as_large_as_its_image(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    net = build(*size)
    assert net(images).shape == (2, 2, *size)
    assert net(torch.randn(1, 3, 40, 9)).shape == (1, 2, 40, 9)  # of another size than it was built for
    below = [0, -size[1] % 4, 0, -size[0] % 4]
    padded = net(nn.functional.pad(images, below))[:, :, : size[0], : size[1]]
    torch.testing.assert_close(net(images), padded)


def test_its_widths_double_on_the_way_down() -> None:
    net = build(depth=3)
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [4, 4, 8, 8, 16, 16, 32, 32, 16, 16, 8, 8, 4, 4, 2]
    assert type(net.task) is Segmentation


def test_a_pixel_sees_the_whole_image() -> None:
    image = torch.randn(1, 3, 16, 16, requires_grad=True)
    build(16, 16)(image)[0, 0, 8, 8].backward()
    assert image.grad is not None
    assert (image.grad[0].abs().sum(dim=0) > 0).float().mean() > 0.9


def test_it_compiles_as_one_graph() -> None:
    net, images = build(), torch.randn(2, 3, 13, 22)
    with torch.no_grad():
        compiled = torch.compile(net.forward, backend="aot_eager", fullgraph=True)(images)
        torch.testing.assert_close(compiled, net(images))
