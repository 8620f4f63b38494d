"""Folders of images. Each image is of one grey value, 100 × its class + its number, so that labels can be checked."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, Result, assert_refused
from PIL import Image
from torch import Tensor

from kindling.data import image_files
from kindling.data.image_folder import ImageFolder

Run = Callable[..., Result]
SMALL: dict[str, Any] = {"image_size": 4, "workers": 0, "batch_size": 4}


def write(folder: Path, **counts: int) -> Path:
    """So many images a class, in a folder each; the classes cat and dog have the values from 0 and 100 on."""
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            value = 100 * (kind == "dog") + index
            Image.new("L", (6, 5), value).save(folder / kind / f"{index:02}.png")
    return folder


def values(data: ImageFolder, indices: Any = None) -> list[int]:
    indices = torch.arange(len(data.samples[1])) if indices is None else indices
    return data.samples[0][indices][:, 0, 0, 0].tolist()


def assert_aligned(data: ImageFolder) -> None:
    """Pixels, labels and names belong together."""
    assert data.samples[1].tolist() == [value // 100 for value in values(data)]
    names = [f"{['cat', 'dog'][value // 100]}/{value % 100:02}.png" for value in values(data)]
    assert data.names is not None
    assert all(name.endswith(expected) for name, expected in zip(data.names, names, strict=True))


def batches(data: ImageFolder, split: str = "train", epochs: int = 2) -> list[tuple[Tensor, ...]]:
    data.setup("fit")
    loader, found = data.loader(split), []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        found += list(loader)
    return found


def assert_same(one: list[tuple[Tensor, ...]], other: list[tuple[Tensor, ...]]) -> None:
    assert len(one) == len(other) > 0
    for first, second in zip(one, other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_folder_a_class_is_split_by_class(tmp_path: Path) -> None:
    data = ImageFolder(str(write(tmp_path, dog=40, cat=20)), **SMALL)
    assert data.classes == ["cat", "dog"]
    assert data.input_shape == (3, 4, 4)
    assert data.samples[0].dtype == torch.uint8
    assert_aligned(data)
    counts = data.class_counts
    assert counts["test"] == {"cat": 4, "dog": 8}
    assert counts["val"] == {"cat": 3, "dog": 6}
    assert counts["train"] == {"cat": 13, "dog": 26}


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Train", "validation", "TEST"),
        ("train", "valid", "test"),
        ("Training", "val", "Testing"),
    ],
)
def test_own_splits_are_kept(names: tuple[str, str, str], cache: bool, tmp_path: Path) -> None:
    train, val, test = (tmp_path / "photos" / name for name in names)
    write(train, cat=6, dog=5)
    write(val, dog=3)  # a class can be missing there
    write(test, cat=2, dog=2)
    data = ImageFolder(str(tmp_path / "photos"), cache=str(tmp_path / "cache") if cache else None, **SMALL)
    assert_aligned(data)
    found = {split: sorted(values(data, indices)) for split, indices in data.splits.items()}
    expected = {"train": [*range(6), *range(100, 105)], "val": [100, 101, 102], "test": [0, 1, 100, 101]}
    assert found == expected


def test_a_split_that_is_missing_is_drawn_from_the_training(tmp_path: Path) -> None:
    write(tmp_path / "train", cat=20, dog=20)
    write(tmp_path / "test", cat=3, dog=3)
    data = ImageFolder(str(tmp_path), val_fraction=0.2, **SMALL)
    assert {split: len(indices) for split, indices in data.splits.items()} == {"train": 32, "val": 8, "test": 6}
    assert all(str(name).startswith("test/") for name in np.array(data.names)[data.splits["test"]])


def test_images_lie_deeper_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "cat", a=5, b=4)
    write(tmp_path, dog=9)
    (tmp_path / "dog" / "notes.txt").write_text("good dogs")
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / "README").touch()
    data = ImageFolder(str(tmp_path), **SMALL)
    assert data.class_counts["train"].keys() == {"cat", "dog"}
    assert torch.bincount(data.samples[1]).tolist() == [9, 9]
    assert data.names is not None
    assert data.names[0] == "cat/a/00.png"
    assert data.notes == [f"left out: 1 (.txt 1), such as {tmp_path}/dog/notes.txt"]


def test_what_lies_beside_the_classes_or_the_splits_is_told(tmp_path: Path) -> None:
    write(tmp_path / "classes", cat=5, dog=5)
    write(tmp_path / "splits" / "train", cat=5, dog=5)
    write(tmp_path / "splits" / "more", cat=5)
    for name in ("classes/loose.png", "classes/list.csv", "splits/train/z.jpg", "splits/train/dog/a.heic"):
        (tmp_path / name).touch()
    data = ImageFolder(str(tmp_path / "classes"), **SMALL)
    assert len(data.samples[1]) == 10
    assert data.notes == [f"left out: 1 (in no class 1), such as {tmp_path}/classes/loose.png"]
    (tmp_path / "classes" / "owl").symlink_to(tmp_path / "gone")
    assert ImageFolder(str(tmp_path / "classes"), **SMALL).notes[0].startswith("left out: 2 (")
    data = ImageFolder(str(tmp_path / "splits"), **SMALL)
    assert len(data.samples[1]) == 10
    (note,) = data.notes
    assert note.startswith("left out: 3 (folder beside the splits 1, in no class 1, .heic 1), such as ")


@pytest.mark.parametrize(("top", "told"), [(4095, 15), (2**13 - 1, 31), (2**13 + 600, None), (65_535, None)])
def test_sixteen_bits_of_which_few_are_used_are_told(top: int, told: int | None, tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for index in range(5):
            values = np.linspace(0, top, 16).astype(np.uint16).reshape(4, 4)
            Image.fromarray(values).save(tmp_path / kind / f"{index}.png")
    data = ImageFolder(str(tmp_path), **SMALL)
    assert data.samples
    notes = f"dark: of 10 images no pixel is above {told} of 255; bring 16-bit files that use fewer bits to their "
    assert [note.startswith(notes) for note in data.notes] == [True] * (told is not None)


def test_classes_that_look_like_splits_are_told(tmp_path: Path) -> None:
    data = ImageFolder(str(write(tmp_path, cat=5, test_images=5)), **SMALL)
    assert data.classes == ["cat", "test_images"]
    assert data.notes == ["taken for classes, though they look like splits: test_images"]
    write(tmp_path / "other", **{"test tube": 5, "valley": 5, "training shoe": 5})
    assert not ImageFolder(str(tmp_path / "other"), **SMALL).notes


def test_linked_folders_are_read_in_fit_and_in_predict(kindling: Run) -> None:
    write(Path("photos"), cat=20, dog=20)
    write(Path("store"), cat=10)
    Path("photos", "cat", "more").symlink_to(Path("store/cat").resolve())
    shutil.copytree("photos/dog", "dogs")
    shutil.rmtree("photos/dog")
    Path("photos", "dog").symlink_to(Path("dogs").resolve())
    finished = kindling("fit", *CNN, "--data.path", "photos", "--data.workers", "0", *QUICK, "--name", "photos")
    assert finished.code == 0, finished.err
    data = ImageFolder("photos", **SMALL)
    assert torch.bincount(data.samples[1]).tolist() == [30, 20]
    (Path("photos") / "cat" / "notes.txt").touch()
    finished = kindling("predict", "--run", "lightning_logs/photos/version_0", "--input", "photos", "--output", "a.csv")
    assert finished.code == 0, finished.err
    assert "50 of 50 inputs predicted" in finished.out
    assert "files left out: 1 (.txt 1)" in finished.out
    predicted = [line.partition(",")[0] for line in Path("a.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert predicted == data.names


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"colour": False}, (1, 4, 4)),
        ({"image_size": [3, 5]}, (3, 3, 5)),
        ({"colour": False, "image_size": 2}, (1, 2, 2)),
    ],
)
def test_size_and_colour_are_arguments(arguments: dict[str, Any], shape: tuple[int, ...], tmp_path: Path) -> None:
    data = ImageFolder(str(write(tmp_path, cat=3, dog=3)), **{**SMALL, **arguments})
    assert data.input_shape == data.samples[0][torch.tensor([0])].shape[1:] == shape
    assert_aligned(data)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", [False, True])
def test_broken_images_are_skipped_with_their_labels(cache: bool, workers: int, tmp_path: Path) -> None:
    root = write(tmp_path / "photos", cat=40, dog=60)  # of which some in each of the batches that are read
    broken = ["cat/00.png", "cat/07.png", "cat/39.png", "dog/23.png", "dog/24.png", "dog/59.png"]
    for name in broken:
        (root / name).write_bytes(b"" if name < "d" else b"no image")
    arguments: dict[str, Any] = {**SMALL, "workers": workers, "cache": str(tmp_path / "cache") if cache else None}
    for _ in range(1 + cache):  # the second time from the cache
        data = ImageFolder(str(root), broken="skip", **arguments)
        assert_aligned(data)
        assert data.names is not None
        assert len(data.names) == 94
        assert not set(data.names) & set(broken)
        assert data.notes == [f"left out, since they can't be read: 6, such as {root}/cat/00.png (it is empty)"]
        for inputs, labels in batches(data):
            known = data.preprocessing
            assert known.mean is not None
            assert known.std is not None
            shown = ((inputs * known.std + known.mean) * 255).round()[:, 0, 0, 0]
            assert labels.tolist() == (shown // 100).long().tolist()
    with pytest.raises(ValueError, match=r"cat/00\.png can't be read: it is empty \(and 5 more\); --data\.broken skip"):
        ImageFolder(str(root), **arguments).load()


def test_a_broken_image_of_an_own_split_is_not_counted_there(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path / split, cat=4, dog=4)
    (tmp_path / "val" / "cat" / "01.png").write_text("")
    (tmp_path / "train" / "dog" / "03.png").write_text("")
    data = ImageFolder(str(tmp_path), broken="skip", **SMALL)
    assert_aligned(data)
    found = {split: sorted(values(data, indices)) for split, indices in data.splits.items()}
    everything = [0, 1, 2, 3, 100, 101, 102, 103]
    assert found == {"train": everything[:7], "val": [0, *everything[2:]], "test": everything}


def noise(root: Path, count: int = 20, size: tuple[int, int] = (6, 5)) -> Path:
    rng = np.random.default_rng(0)
    for index in range(count):
        path = root / ("cat", "dog")[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return root


def test_batches_and_statistics_are_the_same_however_images_are_read(tmp_path: Path) -> None:
    root = noise(tmp_path / "photos")
    ways: list[dict[str, Any]] = [{"workers": 0}, {"workers": 2}, {"workers": 0, "cache": str(tmp_path / "cache")}]
    ways += [{"workers": 2, "cache": str(tmp_path / "cache")}]
    found = [ImageFolder(str(root), **{**SMALL, **way}) for way in ways]
    plain = found[0].samples[0][found[0].splits["train"]].double() / 255
    std, mean = torch.std_mean(plain, dim=(0, 2, 3))
    np.testing.assert_allclose(found[0].preprocessing.plain["mean"], mean)
    np.testing.assert_allclose(found[0].preprocessing.plain["std"], std)
    for data in found:
        assert data.preprocessing.plain == found[0].preprocessing.plain
        for split in ("train", "val", "test"):
            assert_same(batches(data, split), batches(found[0], split))
    inputs = torch.cat([inputs for inputs, _ in batches(found[0], "test", epochs=1)])
    raw = found[0].samples[0][found[0].splits["test"]] / 255
    torch.testing.assert_close(inputs, (raw - mean.float().view(3, 1, 1)) / std.float().view(3, 1, 1))


def test_the_order_changes_with_the_epoch_and_not_with_the_workers(tmp_path: Path) -> None:
    root = write(tmp_path, cat=20, dog=20)
    orders = []
    for workers in (0, 2):
        data = ImageFolder(str(root), normalize=False, **{**SMALL, "workers": workers})
        orders.append([(inputs[:, 0, 0, 0] * 255).round().int().tolist() for inputs, _ in batches(data)])
    assert orders[0] == orders[1]
    assert orders[0][: len(orders[0]) // 2] != orders[0][len(orders[0]) // 2 :]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded."""
    names, read = [], image_files.read_pixels

    def counted(path: str, *arguments: Any) -> np.ndarray:
        names.append(path)
        return read(path, *arguments)

    monkeypatch.setattr("kindling.data.image_files.read_pixels", counted)
    return names


def test_a_cache_decodes_each_image_once(tmp_path: Path, decoded: list[str]) -> None:
    root, cache = noise(tmp_path / "photos"), str(tmp_path / "new" / "cache")
    first = ImageFolder(str(root), cache=cache, **SMALL)
    expected = batches(first, epochs=3)
    assert len(decoded) == 20
    assert isinstance(first.samples[0].arrays[0], np.memmap)  # it is not read into memory
    again = ImageFolder(str(root), cache=cache, **SMALL)
    assert_same(batches(again, epochs=3), expected)
    assert again.preprocessing.plain == first.preprocessing.plain
    assert len(decoded) == 20


@pytest.mark.parametrize("change", ["file", "time", "new", "gone", "size", "resize", "colour"])
def test_a_cache_is_not_used_for_anything_else(change: str, tmp_path: Path, decoded: list[str]) -> None:
    root, arguments = noise(tmp_path / "photos"), {**SMALL, "cache": str(tmp_path / "cache")}
    assert ImageFolder(str(root), **arguments).samples
    decoded.clear()
    file = root / "cat" / "00.png"
    if change == "file":
        Image.new("RGB", (6, 5), "white").save(file)
    elif change == "time":  # as much is written as before, and later
        stat = file.stat()
        file.write_bytes(file.read_bytes()[::-1])
        assert file.stat().st_size == stat.st_size
    elif change == "new":
        Image.new("L", (4, 4)).save(root / "cat" / "zz.png")
    elif change == "gone":
        file.unlink()
    else:
        arguments |= {"size": {"image_size": 5}, "resize": {"resize": "stretch"}, "colour": {"colour": False}}[change]
    data = ImageFolder(str(root), broken="skip", **arguments)
    plain = ImageFolder(str(root), broken="skip", **{**arguments, "cache": None})
    everything = torch.arange(len(data.samples[1]))
    assert torch.equal(data.samples[0][everything], plain.samples[0][everything])
    assert data.names == plain.names
    assert len(decoded) == 2 * len(list(root.glob("*/*.png")))


@pytest.mark.parametrize("suffix", [".pixels", ".json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_a_damaged_cache_is_written_anew(suffix: str, damage: str, tmp_path: Path) -> None:
    root, cache = write(tmp_path / "photos", cat=5, dog=5), tmp_path / "cache"
    (root / "cat" / "00.png").write_text("")
    arguments: dict[str, Any] = {**SMALL, "cache": str(cache), "broken": "skip"}
    assert ImageFolder(str(root), **arguments).samples
    (path,) = cache.glob(f"*{suffix}")
    content = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(content[:-1] if damage == "cut" else b"")
    data = ImageFolder(str(root), **arguments)
    assert_aligned(data)
    assert path.read_bytes() == content
    assert {each.suffix for each in cache.iterdir()} == {".pixels", ".json", ".lock"}  # nothing half written is left


@pytest.mark.parametrize("group", [r"(\d)\d\.png", r"/\d"])
@pytest.mark.parametrize("folds", [0, 3])
def test_no_group_is_cut(group: str, folds: int, tmp_path: Path) -> None:
    data = ImageFolder(str(write(tmp_path, cat=60, dog=60)), group=group, folds=folds, **SMALL)
    groups = {split: {value % 100 // 10 for value in values(data, part)} for split, part in data.splits.items()}
    assert sum(map(len, groups.values())) == 6 == len(set.union(*groups.values()))
    assert all(groups.values())


def test_own_splits_that_share_a_group_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train", cat=20, dog=20)
    write(tmp_path / "val", cat=3, dog=3)
    with pytest.raises(ValueError, match="group 00 is in train and in val: it belongs in one of them"):
        assert ImageFolder(str(tmp_path), group=r"\d\d", test_fraction=0.1, **SMALL).splits


CNN = [
    "--model",
    "CNN",
    "--model.channels",
    "[4]",
    "--data",
    "ImageFolder",
    "--data.image_size",
    "8",
    "--data.batch_size",
    "8",
]


def test_it_trains_and_tests_the_same_with_and_without_a_cache(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["fit", *CNN, "--data.path", noise(Path("photos"), 40), *QUICK]
    for way in (["--data.workers", "2"], ["--data.workers", "0", "--data.cache", "cache"]):
        finished = kindling(*flags, *way, "--name", "photos")
        assert finished.code == 0, finished.err
        assert "26 train, 6 val, 8 test" in finished.out
    monkeypatch.setattr("kindling.data.image_files.read_pixels", None)  # the third run decodes none
    assert kindling(*flags, *way, "--name", "photos").code == 0
    results = [
        json.loads(Path(f"lightning_logs/photos/version_{n}/results.json").read_text(encoding="utf-8"))
        for n in range(3)
    ]
    for split in ("val", "test"):
        assert results[0][split] == results[1][split] == results[2][split]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are text")
@pytest.mark.parametrize("lazy", ["false", "true"])
def test_a_file_may_have_any_name_and_a_class_a_name_of_text(lazy: str, kindling: Run) -> None:
    folder, odd = write(Path("photos"), cat=10, dog=10), os.fsdecode(b"caf\xe9")
    for path in folder.glob("*/0[0-4].png"):
        path.rename(path.with_stem(path.stem + odd))
    data = ["--data", "ImageFolder", "--data.path", "photos", "--data.image_size", "8", "--data.batch_size", "4"]
    assert kindling("fit", "--model", "CNN", *data, "--data.lazy", lazy, *QUICK).code == 0
    assert kindling("predict", "--run", "latest", "--input", "photos").code == 0
    table = Path("lightning_logs/unnamed/version_0/predict/predictions_photos.csv").read_text(encoding="utf-8")
    assert table.count(r"caf\udce9.png,") == 10
    (folder / "dog").rename(folder / odd)
    shutil.rmtree("lightning_logs")
    refused = kindling("fit", "--model", "CNN", *data, "--data.lazy", lazy, *QUICK)
    assert_refused(refused, r"photos/caf\udce9 is named after a class, but not in UTF-8: rename it")


def test_what_is_skipped_is_told(kindling: Run) -> None:
    root = noise(Path("photos"), 30)
    (root / "cat" / "02.png").write_text("cat")
    finished = kindling("fit", *CNN, "--data.path", root, "--data.broken", "skip", "--data.workers", "0", *QUICK)
    assert finished.code == 0
    assert (
        "left out, since they can't be read: 1, such as photos/cat/02.png (it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM)"
        in finished.out
    )


def spoil(*names: str) -> Callable[[Path], object]:
    return lambda root: [(root / name).write_text("") for name in names]


def own(*names: str) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        for kind in ("cat", "dog"):
            (root / "train").mkdir(exist_ok=True)
            (root / kind).rename(root / "train" / kind)
        for name in names:
            write(root / name, cat=2, dog=2)

    return make


def rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / old).rename(root / new)


def both(*steps: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: [step(root) for step in steps]


def emptied(name: str) -> Callable[[Path], object]:
    return lambda root: [path.unlink() for path in (root / name).iterdir()]


def without(*kinds: str) -> Callable[[Path], object]:
    return lambda root: [shutil.rmtree(root / kind) for kind in kinds]


def loose(root: Path) -> None:
    for path in root.glob("*/*.png"):
        path.rename(root / f"{path.parent.name}{path.name}")
    without("cat", "dog")(root)


def nothing(root: Path) -> None:
    pass


SKIP = ["--data.broken", "skip"]
REFUSED: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "no path": (nothing, ["--data.path", "phtos"], "command line: data.path is 'phtos': there is no such folder"),
    "a file": (nothing, ["--data.path", "photos/cat/00.png"], "data.path is 'photos/cat/00.png': there is no such folder"),
    "size of nothing": (nothing, ["--data.image_size", "0"], "data.image_size is 0: expected pixels, as one number or [height, width]"),
    "three sizes": (nothing, ["--data.image_size", "[1,2,3]"], "data.image_size is [1, 2, 3]: expected pixels, as one"),
    "no sizes": (nothing, ["--data.image_size", "[]"], "data.image_size is []: expected pixels, as one number"),
    "negative size": (nothing, ["--data.image_size", "[4,-1]"], "data.image_size is [4, -1]: expected pixels"),
    "size in words": (nothing, ["--data.image_size", "big"], "data.image_size is 'big': expected int"),
    "way to resize": (nothing, ["--data.resize", "zoom"], "data.resize is 'zoom': expected crop or pad or stretch"),
    "way with broken": (nothing, ["--data.broken", "ignore"], "data.broken is 'ignore': expected refuse or skip"),
    "workers": (nothing, ["--data.workers", "-1"], "data.workers is -1: expected a number of processes, or 0"),
    "broken expression": (nothing, ["--data.group", "(a"], "data.group is '(a': expected a regular expression (missing )"),
    "group not found": (nothing, ["--data.group", "patient"], "data.group is 'patient', which matches nothing in cat/00.png"),
    "group not captured": (nothing, ["--data.group", "(patient)?"], "which matches nothing in cat/00.png"),
    "group of each class": (nothing, ["--data.group", "cat|dog"], "there are too few groups: train, val and test need"),
    "an empty file": (spoil("dog/03.png"), [], "photos/dog/03.png can't be read: it is empty; --data.broken skip leaves such files out"),
    "two broken": (spoil("cat/01.png", "dog/03.png"), [], "photos/cat/01.png can't be read: it is empty (and 1 more); --data.broken"),
    "a text": (lambda root: (root / "cat/05.png").write_text("hi"), ["--data.cache", "cache"], "photos/cat/05.png can't be read: it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM"),
    "all broken of a class": (spoil(*(f"cat/{index:02}.png" for index in range(8))), SKIP, "photos has no image of cat that can be read"),
    "all broken, with a cache": (spoil(*(f"{kind}/{index:02}.png" for kind in ("cat", "dog") for index in range(8))), [*SKIP, "--data.cache", "cache"], "photos has no image of cat that can be read"),
    "all broken of a split": (both(own("val"), spoil("val/cat/00.png", "val/cat/01.png", "val/dog/00.png", "val/dog/01.png")), SKIP, "photos has no image for val that can be read"),
    "a class without images": (emptied("dog"), [], "photos/dog has no images (JPEG, PNG …): put some in, or remove the folder"),
    "loose images": (loose, [], "photos has 16 images but no folder per class: expected photos/<class>/<image>"),
    "nothing": (without("cat", "dog"), [], "photos has no images: expected photos/<class>/<image>"),
    "an empty split": (both(own(), lambda root: (root / "val").mkdir()), [], "photos/val has no images: expected photos/val/<class>/<image>"),
    "one class": (without("dog"), [], "photos has one class, cat: expected a folder for each of several"),
    "another class in val": (both(own("val"), rename("val/dog", "val/cow")), [], "photos/val/cow is a class that photos/train lacks: it has cat, dog"),
    "another class in Test": (both(own("Test"), rename("Test/dog", "Test/cow"), rename("train", "Training")), [], "photos/Test/cow is a class that photos/Training lacks: it has cat, dog"),
    "val without train": (rename("cat", "val"), [], "photos has a folder val, but no folder train beside it"),
    "val twice": (own("val", "valid"), [], "photos has the folders train, val, valid: keep one per split"),
    "own val and folds": (own("val"), ["--data.folds", "2"], "data.folds is set, but the data has a validation split of its own"),
    "classes that look like splits": (both(rename("cat", "Train_set"), rename("dog", "Test-Images")), [], "photos has the folders Test-Images, Train_set, which look like splits: call them train, val and test, or give classes other names"),
    "a class of one image": (lambda root: [(root / f"dog/{index:02}.png").unlink() for index in range(1, 8)], [], "has too few samples (1): train, val and test need some each"),
    "cache in a file": (lambda root: Path("cache").write_text("x", encoding="utf-8"), ["--data.cache", "cache"], "can't write cache/photos-"),
    "cache below a file": (lambda root: Path("cache").write_text("x", encoding="utf-8"), ["--data.cache", "cache/deep"], "can't write cache/deep/photos-"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_told(make: Callable[[Path], object], flags: list[str], message: str, kindling: Run) -> None:
    make(write(Path("photos"), cat=8, dog=8))
    path = [] if "--data.path" in flags else ["--data.path", "photos"]
    assert_refused(kindling("fit", *CNN, *path, "--data.workers", "0", *QUICK, *flags), message)
