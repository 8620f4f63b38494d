"""Image files of every format and mode, against PIL, numpy and torchvision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from kindling.data.image_files import pixels, read_images, read_pixels, resized, restored

# Four squares, so that what compresses with loss keeps their middles.
COLOURS = np.array([[[200, 30, 60], [20, 180, 90]], [[240, 240, 240], [0, 0, 0]]], np.uint8)
SQUARES = COLOURS.repeat(8, axis=0).repeat(8, axis=1)  # (16, 16, 3)
GREY = np.asarray(Image.fromarray(SQUARES).convert("L"))
COLOUR, SHAPE = (3, 16, 16), (1, 16, 16)


def middles(image: np.ndarray) -> np.ndarray:
    return image[:, 4::8, 4::8].astype(int)


def opaque(mode: str) -> Image.Image:
    return Image.fromarray(SQUARES).convert(mode)


def sixteen(mode: str) -> Image.Image:
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    return image if mode == "I;16" else image.convert(mode)


FILES: dict[str, tuple[Image.Image, dict[str, Any], int]] = {  # what is written how, and how much can be lost
    "rgb.png": (opaque("RGB"), {}, 0),
    "rgb.bmp": (opaque("RGB"), {}, 0),
    "rgb.webp": (opaque("RGB"), {"lossless": True}, 0),
    "rgb.ppm": (opaque("RGB"), {}, 0),
    "rgb.tiff": (opaque("RGB"), {"compression": "tiff_lzw"}, 0),
    "rgb.JPG": (opaque("RGB"), {"quality": 95}, 6),
    "loss.webp": (opaque("RGB"), {"quality": 95}, 6),
    "progressive.jpeg": (opaque("RGB"), {"quality": 95, "progressive": True}, 6),
    "cmyk.jpg": (opaque("CMYK"), {"quality": 95}, 8),
    "cmyk.tif": (opaque("CMYK"), {}, 0),
    "palette.png": (Image.fromarray(SQUARES).quantize(4), {}, 0),
    "palette.gif": (Image.fromarray(SQUARES).quantize(4), {}, 0),
    "palette.bmp": (Image.fromarray(SQUARES).quantize(4), {}, 0),
    "alpha.png": (opaque("RGBA"), {}, 0),
    "alpha.webp": (opaque("RGBA"), {"lossless": True}, 0),
    "alpha.tiff": (opaque("RGBA"), {}, 0),
}
GREYS: dict[str, tuple[Image.Image, dict[str, Any], int]] = {
    "grey.png": (opaque("L"), {}, 0),
    "grey.bmp": (opaque("L"), {}, 0),
    "grey.jpg": (opaque("L"), {"quality": 95}, 3),
    "grey.pgm": (opaque("L"), {}, 0),
    "grey.gif": (opaque("L"), {}, 0),
    "grey-alpha.png": (opaque("LA"), {}, 0),
    "16.png": (sixteen("I;16"), {}, 0),
    "16.tiff": (sixteen("I;16"), {}, 0),
    "16.pgm": (sixteen("I"), {}, 0),
    "32.tiff": (sixteen("I"), {}, 0),
}


@pytest.mark.parametrize("name", FILES)
def test_colour_is_read_from_every_format(name: str, tmp_path: Path) -> None:
    image, options, loss = FILES[name]
    image.save(tmp_path / name, **options)
    found = read_pixels(tmp_path / name, COLOUR, "crop")
    assert (found.shape, found.dtype) == (COLOUR, np.uint8)
    np.testing.assert_allclose(middles(found), COLOURS.transpose(2, 0, 1), atol=loss)
    grey = read_pixels(tmp_path / name, SHAPE, "crop")
    np.testing.assert_allclose(middles(grey), GREY[None, 4::8, 4::8], atol=loss)


@pytest.mark.parametrize("name", GREYS)
def test_grey_is_read_from_every_format(name: str, tmp_path: Path) -> None:
    image, options, loss = GREYS[name]
    image.save(tmp_path / name, **options)
    found = read_pixels(tmp_path / name, SHAPE, "crop")
    np.testing.assert_allclose(middles(found), GREY[None, 4::8, 4::8], atol=loss)
    as_colour = read_pixels(tmp_path / name, COLOUR, "crop")
    assert as_colour.shape == COLOUR
    assert (as_colour == found).all()  # three times the same


def test_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "bits.png")
    assert (read_pixels(tmp_path / "bits.png", SHAPE, "crop")[0] == (GREY > 100) * 255).all()


def test_sixteen_bits_keep_their_range() -> None:
    values = np.array([[0, 255, 256, 257, 30_000, 65_278, 65_534, 65_535]], np.uint16)
    found = pixels(Image.fromarray(values), (1, 1, 8), "crop")
    assert found[0].tolist() == (values // 257).tolist() == [[0, 0, 0, 1, 116, 254, 254, 255]]
    big = Image.frombytes("I;16B", (8, 1), values.astype(">u2").tobytes())  # as some cameras write them
    assert (pixels(big, (1, 1, 8), "crop") == found).all()


def on_white(colour: int, alpha: int) -> float:
    return (colour * alpha + 255 * (255 - alpha)) / 255


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
def test_what_is_transparent_becomes_white(alpha: int, tmp_path: Path) -> None:
    expected = [on_white(value, alpha) for value in (200, 30, 60)]
    for suffix in ("png", "webp", "tiff"):
        path = tmp_path / f"colour.{suffix}"
        options = {"lossless": True, "exact": True} if suffix == "webp" else {}
        Image.new("RGBA", (4, 4), (200, 30, 60, alpha)).save(path, **options)
        np.testing.assert_allclose(read_pixels(path, (3, 4, 4), "crop")[:, 0, 0], expected, atol=1)
    Image.new("LA", (4, 4), (90, alpha)).save(tmp_path / "grey.png")
    np.testing.assert_allclose(read_pixels(tmp_path / "grey.png", (1, 4, 4), "crop"), on_white(90, alpha), atol=1)


@pytest.mark.parametrize(
    ("image", "transparent"),
    [(Image.fromarray(SQUARES).quantize(4), 1), (opaque("RGB"), (20, 180, 90)), (opaque("L"), int(GREY[0, 15]))],
    ids=["palette", "colour", "grey"],
)
def test_one_colour_can_be_the_transparent_one(image: Image.Image, transparent: Any, tmp_path: Path) -> None:
    if image.mode == "P":
        transparent = image.getpixel((15, 0))  # the square on the upper right
    image.save(tmp_path / "a.png", transparency=transparent)
    found = middles(read_pixels(tmp_path / "a.png", COLOUR, "crop"))
    expected = middles(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    expected[:, 0, 1] = 255
    assert (found == expected).all()


TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # what is to be done to an image that says so
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_a_photo_is_turned_as_its_exif_data_says(orientation: int, suffix: str, tmp_path: Path) -> None:
    stored = SQUARES[:, 4:]  # (16, 12, 3): the left squares are narrower
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif, quality=100)
    upright = TURNED[orientation](stored)
    found = read_pixels(tmp_path / f"a.{suffix}", (3, *upright.shape[:2]), "crop")
    middle = np.abs(found.transpose(1, 2, 0).astype(int) - upright)[2:-2:4, 2:-2:4]
    assert np.median(middle) < 4


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8))  # 40 wide


def test_stretching_is_torchvisions() -> None:
    expected = np.asarray(v2.functional.resize(NOISE, [12, 10]))
    assert (pixels(NOISE, (3, 12, 10), "stretch").transpose(1, 2, 0) == expected).all()


def test_cropping_takes_the_middle() -> None:
    expected = np.asarray(NOISE.resize((10, 10), Image.Resampling.BILINEAR, box=(10, 0, 30, 20)))
    assert (pixels(NOISE, (3, 10, 10), "crop").transpose(1, 2, 0) == expected).all()


@pytest.mark.parametrize("shape", [(3, 10, 12), (3, 11, 12), (3, 20, 10), (3, 30, 50)])
def test_padding_is_that_of_pil(shape: tuple[int, ...]) -> None:
    expected = np.asarray(ImageOps.pad(NOISE, (shape[2], shape[1]), Image.Resampling.BILINEAR))
    assert (pixels(NOISE, shape, "pad").transpose(1, 2, 0) == expected).all()


def test_padding_puts_black_on_both_sides() -> None:
    found = pixels(NOISE, (3, 10, 12), "pad").transpose(1, 2, 0)
    assert (found[2:8] == np.asarray(NOISE.resize((12, 6), Image.Resampling.BILINEAR))).all()
    assert not found[:2].any()
    assert not found[8:].any()


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 5)])
def test_any_size_becomes_the_models(size: tuple[int, int], resize: str) -> None:
    found = pixels(Image.new("L", size, 77), (1, 8, 6), resize)
    assert found.shape == (1, 8, 6)
    assert found.max() == 77
    assert resize == "pad" or found.min() == 77


def write(path: Path, seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    return image.transpose(2, 0, 1)


def cut(path: Path) -> None:
    NOISE.resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "empty": ("a.png", lambda path: path.touch(), "it is empty"),
    "text": ("a.png", lambda path: path.write_text("cat"), "it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM"),
    "cut PNG": ("a.png", cut, "truncated"),
    "cut JPEG": ("a.jpg", cut, "truncated"),
    "cut WebP": ("a.webp", cut, ""),
    "floats": ("a.tiff", lambda path: Image.new("F", (4, 4)).save(path), "its pixels are floats: expected 8 or 16 bits"),
    "gone": ("a.png", lambda path: None, "No such file"),
}  # fmt: skip


@pytest.mark.parametrize("size", [(24, 36), (36, 24), (12, 12), (6, 10), (101, 57)])
@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_a_mask_gets_the_size_of_its_image_back(size: tuple[int, int], resize: str) -> None:
    width, height = size
    quarters = 1 + 2 * (np.arange(height)[:, None] >= height / 2) + (np.arange(width) >= width / 2)
    whole = Image.fromarray(quarters.astype(np.uint8))
    small = resized(whole, 12, 12, resize, resample=Image.Resampling.NEAREST, border=9)
    back = restored(small, *size, resize, border=255)
    assert back.size == size
    found, (left, top) = np.asarray(back), ((side - min(size)) // 2 * (resize == "crop") for side in size)
    inside = (slice(top, height - top), slice(left, width - left))
    assert (found[inside] == quarters[inside]).mean() > 0.9
    assert (found == 255).sum() == height * width - found[inside].size
    assert 9 not in found


@pytest.mark.parametrize(("name", "make", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_in_one_line(
    name: str, make: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(ValueError, match=reason) as raised:
        read_pixels(tmp_path / name, COLOUR, "crop")
    assert str(raised.value).strip()
    assert "\n" not in str(raised.value)


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="an image file has 1 or 3 channels, but the model takes 2"):
        pixels(NOISE, (2, 8, 8), "crop")


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_read_in_order_with_the_reason_of_each_that_can_not(workers: int, tmp_path: Path) -> None:
    paths = [f"{tmp_path}/{index}.png" for index in range(10)]
    images = {path: write(Path(path), index) for index, path in enumerate(paths)}
    for index in (0, 4, 5, 6, 7):  # the second batch can't be read at all
        Path(paths[index]).write_text("no image", encoding="utf-8")
    found = list(read_images(paths, (3, 5, 4), "crop", batch_size=4, workers=workers))
    assert [path for names, _, _ in found for path in names] == paths
    reasons = {path: reason for names, why, _ in found for path, reason in zip(names, why, strict=True) if reason}
    assert reasons == {paths[index]: "it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM" for index in (0, 4, 5, 6, 7)}
    assert [tuple(read.shape) for _, _, read in found] == [(3, 3, 5, 4), (0, 3, 5, 4), (2, 3, 5, 4)]
    expected = np.stack([images[path] for path in paths if path not in reasons])
    assert (torch.cat([read for _, _, read in found]).numpy() == expected).all()
