"""Folders of images and masks: what is read, brought to one size, split, and refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result, assert_refused
from PIL import Image

from kindling.data.masks import Masks

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 3, (12, 20, 30), dtype=np.uint8)  # the class of each
MASKS = PIXELS.copy()
MASKS[0, :, :5] = 255


def write(images: Path, masks: Path, names: list[str] | None = None) -> None:
    """Images whose brightness is 80 times their class, and their masks."""
    for index, (pixels, mask) in enumerate(zip(PIXELS, MASKS, strict=True)):
        name = names[index] if names else f"{index:02}.png"
        for path, content in ((images / name, 80 * pixels), (masks / name, mask)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path.with_suffix(".png"))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    write(Path("images"), Path("masks"))
    return Path("images"), Path("masks")


def read(**arguments: Any) -> Masks:
    return Masks(**{"path": "images", "masks": "masks", "image_size": [20, 30], "colour": False, **arguments})


def content(data: Masks) -> tuple[np.ndarray, np.ndarray]:
    """All images (N, H, W) and masks (N, H, W)."""
    images, masks = data.samples
    return images[torch.arange(len(images))][:, 0].numpy(), masks.numpy()


def test_images_and_masks_are_read_as_they_are(folders: Any) -> None:
    data = read()
    images, masks = content(data)
    assert np.array_equal(images, 80 * PIXELS)
    assert np.array_equal(masks, MASKS)
    assert data.samples[1].dtype == torch.uint8
    assert data.classes == ["0", "1", "2"]
    assert data.notes == ["the masks hold values from 0 to 2: 3 classes; name them with --data.classes"]
    assert data.names == [f"{index:02}.png" for index in range(12)]
    assert sum(sum(counts.values()) for counts in data.class_counts.values()) == 12 * 600 - 100
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [7, 2, 3]
    assert len(data.source_files()) == 24


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [[10, 15], [16, 16], [40, 20], [7, 31]])
def test_a_mask_is_brought_to_a_size_with_its_image(resize: Any, size: list[int], folders: Any) -> None:
    big = np.kron(PIXELS[:, :5, :6], np.ones((1, 40, 50), np.uint8))  # areas, large ones
    for index, pixels in enumerate(big):
        Image.fromarray(80 * pixels).save(f"images/{index:02}.png")
        Image.fromarray(pixels).save(f"masks/{index:02}.png")
    images, masks = content(read(image_size=size, resize=resize, classes=["a", "b", "c"]))
    assert masks.shape == (12, *size)
    is_flat = images % 80 == 0  # elsewhere an edge was smoothed
    padded = masks == 255
    assert bool(padded.any()) == (resize == "pad" and size != [10, 15])
    assert not images[padded].any()
    is_right = images[is_flat & ~padded] // 80 == masks[is_flat & ~padded]
    assert is_right.mean() > 0.9
    assert is_flat.mean() > 0.2


def test_values_say_what_the_classes_are(folders: Any) -> None:
    for path in Path("masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 1, 255, np.where(mask == 2, 7, 0)).astype(np.uint8)).save(path)
    data = read(values=[0, 255, 7], classes=["ground", "road", "tree"])
    expected = MASKS.copy()
    expected[0, :, :5] = 0
    assert np.array_equal(content(data)[1], expected)
    assert read(values=[0, 255, 7]).classes == ["0", "255", "7"]
    assert data.notes == []


@pytest.mark.parametrize("mode", ["P", "1", "L", "I;16"])
def test_masks_of_any_kind_with_one_number_a_pixel(mode: str, folders: Any) -> None:
    for index, mask in enumerate(MASKS == 1):
        image = Image.fromarray(mask.astype(np.uint16 if mode == "I;16" else np.uint8))
        if mode == "P":
            image.putpalette([9, 9, 9, 200, 0, 0])
        (Image.fromarray(mask) if mode == "1" else image).save(f"masks/{index:02}.png")
        assert Image.open(f"masks/{index:02}.png").mode == mode
    assert np.array_equal(content(read())[1], MASKS == 1)


def test_an_image_is_turned_as_its_camera_says_and_then_fits_its_mask(folders: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    turned = np.rot90(80 * PIXELS[0], 1)
    Image.fromarray(np.ascontiguousarray(turned)).save("images/00.png", exif=exif)
    assert np.array_equal(content(read())[0], 80 * PIXELS)


def test_folders_called_after_splits_are_the_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = ["val"] * 3 + ["train"] * 5 + ["test"] * 4
    write(Path("images"), Path("masks"), [f"{folder}/{index:02}.png" for index, folder in enumerate(folders)])
    data = read()
    names = {split: [data.names[index] for index in indices] for split, indices in data.splits.items()}  # type: ignore[index]
    for split, count in (("train", 5), ("val", 3), ("test", 4)):
        assert len(names[split]) == count
        assert all(name.startswith(f"{split}/") for name in names[split])
    place = data.names.index("val/02.png")  # type: ignore[union-attr]
    assert np.array_equal(content(data)[1][place], MASKS[2])


def test_other_images_beside_those_of_splits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("images"), Path("masks"), ["00.png", *(f"train/{index:02}.png" for index in range(1, 12))])
    with pytest.raises(ValueError, match=r"images has folders for splits, but not all images are in one \(00.png\)"):
        read()
    write(Path("a"), Path("b"), [f"val/{index:02}.png" for index in range(12)])
    with pytest.raises(ValueError, match=r"\(none in train\); train needs some"):
        read(path="a", masks="b")


def mask(pixels: Any, index: int = 3) -> Callable[[], None]:
    return lambda: Image.fromarray(np.asarray(pixels)).save(f"masks/{index:02}.png")


def all_masks(pixels: np.ndarray) -> Callable[[], None]:
    return lambda: [mask(pixels, index)() for index in range(12)] and None


GREY, NAMED = np.zeros((20, 30), np.uint8), {"classes": ["a", "b", "c"]}
MISTAKES: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "missing": (lambda: Path("masks/03.png").unlink(), {}, "images/03.png has no mask: expected masks/03.png"),
    "several": (lambda: Image.fromarray(GREY).save("masks/03.bmp"), {}, "images/03.png has several masks: 03.bmp, 03.png in"),
    "lossy": (
        lambda: Path("masks/03.png").rename("masks/03.jpg"), {}, "masks/03.jpg is in a format that changes numbers: expected masks/03.png",
    ),
    "lossy by another ending": (
        lambda: Path("masks/03.png").rename("masks/03.jfif"), {}, "masks/03.jfif is in a format that changes numbers: expected masks/03.png",
    ),
    "size": (mask(GREY.T), {}, "images/03.png can't be used: its mask masks/03.png has 20×30 pixels, but the image has 30×20"),
    "value": (mask(GREY + 3), NAMED, "images/03.png can't be used: its mask masks/03.png holds the value 3: expected 0, 1, 2, 255"),
    "too large": (mask(GREY.astype(np.uint16) + 300), {}, "its mask masks/03.png holds the value 300: expected at most 255"),
    "colour": (mask(np.zeros((20, 30, 3), np.uint8)), {}, "its mask masks/03.png is an image of mode RGB: expected one whole number"),
    "damaged": (lambda: Path("masks/03.png").write_bytes(b"none"), {}, "its mask masks/03.png can't be read: cannot identify"),
    "broken image": (lambda: Path("images/03.png").write_bytes(b""), {}, "images/03.png can't be used: it is empty"),
    "one class": (all_masks(GREY), {}, "masks has one class: its masks hold only 0"),
    "255 as a class": (
        all_masks(np.where(np.eye(20, 30), 255, 0).astype(np.uint8)), {},
        r"hold only 0 and 255, which is not a class unless you say --data.values '\[0, 255\]'",
    ),
    "no folder": (lambda: None, {"masks": "mask"}, "masks is 'mask': there is no such folder"),
    "no images": (lambda: [path.unlink() for path in Path("images").iterdir()], {}, "images has no images"),
    "values": (lambda: None, {"values": [0, 0]}, r"values is \[0, 0\]: expected different numbers"),
    "names": (lambda: None, {"values": [0, 1], **NAMED}, "values has 2 numbers, but classes has 3 names"),
    "side": (lambda: None, {"image_size": 0}, "image_size is 0: expected pixels"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_does_not_fit_is_named(spoil: Any, arguments: dict[str, Any], message: str, folders: Any) -> None:
    spoil()
    with pytest.raises(ValueError, match=message):
        read(**arguments).load()


def test_what_is_left_out_is_told(folders: Any) -> None:
    Path("images/03.png").unlink()
    Path("images/notes.txt").touch()
    notes = read().notes
    assert "masks without an image, which are not used: 1 in masks" in notes
    assert any(note.startswith("left out: 1 (.txt 1)") for note in notes)


def test_a_mistake_is_told_in_one_sentence(kindling: Callable[..., Result]) -> None:
    write(Path("images"), Path("masks"))
    Path("masks/05.png").unlink()
    told = kindling("fit", "--model", "UNet", "--data", "Masks", "--data.path", "images", "--data.masks", "masks")
    assert_refused(told, "images/05.png has no mask: expected masks/05.png")
