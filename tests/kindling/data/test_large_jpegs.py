"""Large JPEGs are decoded at a fraction of their size: what that changes, against decoding them in full."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from kindling.data import image_files
from kindling.data.image_files import pixels, read_pixels
from kindling.data.preprocessing import Preprocessing
from kindling.use.raw_inputs import RawInputs

RNG = np.random.default_rng(0)
CHINA, FLOWER = (Image.fromarray(photo) for photo in load_sample_images().images)  # 640 × 427


def with_grain(image: Image.Image) -> Image.Image:
    values = np.asarray(image) + RNG.normal(0, 6, (image.height, image.width, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def squares(across: int, down: int, size: tuple[int, int]) -> Image.Image:
    values = RNG.integers(0, 2, (down, across), dtype=np.uint8) * 255
    return Image.fromarray(values).resize(size, Image.Resampling.NEAREST).convert("RGB")


SIZE = (641, 427)  # which no power of two divides
NOISE = Image.fromarray(RNG.integers(0, 256, (427, 641, 3), dtype=np.uint8))
# The largest and the mean difference that is allowed, of 255, where it is drafted to just twice the size.
IMAGES = {
    "china": (CHINA.resize(SIZE), 15, 0.8),
    "flower": (FLOWER.resize(SIZE), 15, 0.8),
    "china, with grain": (with_grain(CHINA.resize(SIZE)), 15, 1.0),
    "noise": (NOISE, 20, 3.0),
    "gradient": (Image.linear_gradient("L").resize(SIZE).convert("RGB"), 2, 0.3),
    "squares": (squares(90, 60, SIZE), 32, 6.0),
}
SHAPES = [(3, 106, 106), (1, 106, 106), (3, 100, 160), (1, 26, 53)]  # a fourth, or less, of each side


def saved(image: Image.Image, path: Path, orientation: int = 1, **options: Any) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, quality=90, exif=exif, **options)
    return path


def in_full(path: Path, shape: tuple[int, ...], resize: str) -> np.ndarray:
    with Image.open(path) as image:
        image.load()
        return pixels(image, shape, resize)


def assert_near(path: Path, shape: tuple[int, ...], resize: str, most: float, mean: float) -> None:
    found = read_pixels(path, shape, resize)
    assert found.shape == shape
    difference = np.abs(found.astype(int) - in_full(path, shape, resize))
    assert difference.max() <= most
    assert difference.mean() <= mean


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes at which images were decoded."""
    sizes, resized = [], image_files.resized

    def kept(image: Image.Image, *arguments: Any) -> Image.Image:
        sizes.append(image.size)
        return resized(image, *arguments)

    monkeypatch.setattr(image_files, "resized", kept)
    return sizes


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("name", IMAGES)
def test_the_difference_is_not_visible(
    name: str, resize: str, shape: tuple[int, ...], tmp_path: Path, decoded: list[tuple[int, int]]
) -> None:
    image, most, mean = IMAGES[name]
    assert_near(saved(image, tmp_path / "a.jpg"), shape, resize, most, mean)
    (width, _), whole = decoded
    assert whole == SIZE
    assert width < SIZE[0] / 1.9


def test_a_photo_of_12_megapixels(tmp_path: Path, decoded: list[tuple[int, int]]) -> None:
    path = saved(CHINA.resize((4000, 3000), Image.Resampling.LANCZOS), tmp_path / "a.jpg")
    assert_near(path, (3, 224, 224), "crop", 4, 0.3)
    assert decoded == [(1000, 750), (4000, 3000)]


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 2}], ids=str)
def test_any_way_of_saving(options: dict[str, Any], tmp_path: Path) -> None:
    assert_near(saved(IMAGES["china"][0], tmp_path / "a.jpg", **options), (3, 64, 64), "crop", 12, 0.8)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_mode(channels: int, mode: str, tmp_path: Path) -> None:
    path = saved(IMAGES["china"][0].convert(mode), tmp_path / "a.jpg")
    assert_near(path, (channels, 64, 64), "crop", 12, 0.8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_a_turned_photo(orientation: int, resize: str, tmp_path: Path, decoded: list[tuple[int, int]]) -> None:
    """Its edge, which lies across the last pixels, is where the turned image has it."""
    image = squares(106, 70, (849, 561))  # of 8 pixels: one less at the edge would be seen
    path = saved(image, tmp_path / "a.jpg", orientation)
    assert_near(path, (3, 53, 80) if orientation < 5 else (3, 80, 53), resize, 24, 5)
    assert sorted(decoded[0]) in ([141, 213], [281, 425])


@pytest.mark.parametrize(
    ("shape", "resize", "expected"),
    [
        ((3, 26, 26), "crop", (81, 54)),
        ((3, 27, 27), "crop", (161, 107)),  # an eighth, 53.4 rows, is less than twice as much
        ((3, 53, 53), "crop", (161, 107)),
        ((3, 54, 54), "crop", (321, 214)),
        ((3, 26, 160), "crop", (321, 214)),  # the width decides
        ((3, 26, 160), "stretch", (321, 214)),
        ((3, 26, 160), "pad", (81, 54)),  # 39 wide in the middle
        ((3, 107, 107), "crop", (641, 427)),
        ((1, 106, 106), "crop", (321, 214)),
    ],
)
def test_at_least_twice_as_many_pixels_are_decoded(
    shape: tuple[int, ...],
    resize: str,
    expected: tuple[int, int],
    tmp_path: Path,
    decoded: list[tuple[int, int]],
) -> None:
    read_pixels(saved(NOISE, tmp_path / "a.jpg"), shape, resize)
    assert decoded == [expected]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_not_drafted_is_decoded_as_ever(channels: int, mode: str, tmp_path: Path) -> None:
    path = saved(IMAGES["squares"][0].convert(mode), tmp_path / "a.jpg")
    with Image.open(path) as image:
        wanted = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (120, 120), Image.Resampling.BILINEAR)
    assert (read_pixels(path, (channels, 120, 120), "crop").transpose(1, 2, 0).squeeze() == np.asarray(wanted)).all()


@pytest.mark.parametrize(
    "source", [lambda path: path, lambda path: io.BytesIO(path.read_bytes())], ids=["file", "bytes"]
)
def test_an_opened_image_is_predicted_as_its_file_and_left_as_it_is(
    source: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = saved(NOISE, tmp_path / "a.jpg", orientation=6)
    inputs = RawInputs(Preprocessing((3, 32, 32), "uint8"), None)
    with Image.open(source(path)) as image:
        for _ in range(2):
            assert (inputs.of_images([image])[0].numpy() == read_pixels(path, (3, 32, 32), "crop")).all()
        assert image.size == SIZE
        assert (np.asarray(image) == np.asarray(Image.open(path))).all()
        assert (inputs.of_images([image])[0].numpy() == in_full(path, (3, 32, 32), "crop")).all()


def test_of_several_images_in_a_file_the_first_is_read_and_the_opened_one_predicted(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (400, 300), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    inputs = RawInputs(Preprocessing((3, 8, 8), "uint8"), None)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
        image.seek(1)
        assert inputs.of_images([image])[0, :, 4, 4].tolist() == [0, 0, 254]
    found = torch.from_numpy(read_pixels(tmp_path / "a.jpg", (3, 8, 8), "crop").copy())
    assert found[:, 4, 4].tolist() == [254, 0, 0]


def test_a_cut_file_is_broken_at_any_size(tmp_path: Path) -> None:
    path = saved(NOISE, tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="truncated"):
        read_pixels(path, (3, 8, 8), "crop")


@pytest.mark.parametrize("name", ["a.eps", "a.png", "a.jpg"])
def test_no_other_program_is_started_for_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL has Ghostscript read an EPS, whatever the file is called."""
    Image.new("RGB", (8, 8)).save(tmp_path / name, format="EPS")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)  # nothing that could be called
    with pytest.raises(ValueError, match="^it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM$"):
        read_pixels(tmp_path / name, (3, 8, 8), "crop")
