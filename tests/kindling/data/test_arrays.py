"""NumPy arrays: what they are taken for, and that mapped ones are never read as a whole."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, Result, assert_refused

from kindling.core.errors import Stopped
from kindling.data.arrays import Arrays
from kindling.data.fingerprint import fingerprint
from kindling.data.lazy_inputs import MappedArray

Run = Callable[..., Result]
SIZE = 40
RNG = np.random.default_rng(0)
LABELS = np.arange(SIZE) % 2
VECTORS = RNG.normal(size=(SIZE, 3)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (SIZE, 6, 5, 3), dtype=np.uint8)  # height, width, channels
SERIES = RNG.normal(size=(SIZE, 7, 2)).astype(np.float32)


def arrays(folder: Path, mapped: bool = False, arguments: Any = None, **content: Any) -> Arrays:
    """The data of an .npz, or of a folder of .npy."""
    content = {"x_train": VECTORS, "y_train": LABELS, **content}
    if not mapped:
        np.savez(folder / "a.npz", **content)
        return Arrays(str(folder / "a.npz"), **(arguments or {}))
    for name, array in content.items():
        np.save(folder / f"{name}.npy", array)
    return Arrays(str(folder), **(arguments or {}))


def raw(data: Arrays, indices: Any = None) -> torch.Tensor:
    return data.samples[0][torch.arange(len(data.samples[-1])) if indices is None else indices]


IMAGES: dict[str, np.ndarray] = {
    "channels last": PIXELS,
    "channels first": PIXELS.transpose(0, 3, 1, 2),
    "floats from 0 to 1": (PIXELS / 255).astype(np.float32),
    "floats up to 255": PIXELS.astype(np.float32),
    "doubles, channels first": PIXELS.transpose(0, 3, 1, 2) / 255,
    "integers": PIXELS.astype(np.int64),
    "of another byte order": PIXELS.astype(">f4"),
    "in Fortran's order": np.asfortranarray(PIXELS),
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
def test_images_of_any_arrangement_are_the_same_to_the_model(images: np.ndarray, mapped: bool, tmp_path: Path) -> None:
    data = arrays(tmp_path, mapped, x_train=images)
    data.setup("fit")
    assert data.input_shape == (3, 6, 5)
    expected = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    std, mean = torch.std_mean(expected[data.splits["train"]], dim=(0, 2, 3), keepdim=True)
    found = data.sets["test"][torch.arange(8)][0]
    torch.testing.assert_close(found, ((expected - mean) / std)[data.splits["test"]], atol=1e-5, rtol=1e-5)
    raw_ones = raw(data)
    assert raw_ones.dtype == (torch.uint8 if images.dtype == np.uint8 else torch.float32)
    assert (raw_ones / (255 if images.dtype == np.uint8 else 1)).max() == 1
    assert images.dtype == np.uint8 or data.preprocessing.bounded


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("x", "inputs", "form", "shape"),
    [
        (VECTORS, None, "vectors", (3,)),
        (VECTORS.astype(np.float16), None, "vectors", (3,)),
        (VECTORS > 0, None, "vectors", (3,)),
        (PIXELS[..., 0], None, "images", (1, 6, 5)),
        (PIXELS[..., :1], None, "images", (1, 6, 5)),
        (np.concatenate([PIXELS, PIXELS[..., :1]], axis=3), None, "images", (4, 6, 5)),
        (SERIES, None, "sequences", (7, 2)),
        (SERIES, "images", "images", (1, 7, 2)),
        (PIXELS[..., 0], "sequences", "sequences", (6, 5)),
        ((VECTORS > 0) * 4, None, "vectors", (3,)),
        ((VECTORS > 0) * 4, "tokens", "tokens", (3,)),
    ],
)
def test_dimensions_and_an_argument_tell_what_inputs_are(
    x: np.ndarray, inputs: Any, form: str, shape: tuple[int, ...], mapped: bool, tmp_path: Path
) -> None:
    data = arrays(tmp_path, mapped, {"inputs": inputs}, x_train=x)
    assert (data.preprocessing.form, data.input_shape) == (form, shape)
    assert data.vocabulary == (5 if form == "tokens" else None)
    assert raw(data).dtype == {"tokens": torch.int64}.get(form, torch.uint8 if form == "images" and x.dtype == np.uint8 else torch.float32)  # fmt: skip
    expected = torch.from_numpy(np.ascontiguousarray(x).astype(np.float32))
    if form != "images":
        assert torch.equal(raw(data).float(), expected)


def numbered(*shape: int) -> np.ndarray:
    return np.arange(SIZE * np.prod(shape), dtype=np.float32).reshape(SIZE, *shape)


TURNED_IMAGES, TURNED_SERIES = (0, 3, 1, 2), (0, 2, 1)
# the shape of a sample, arguments → how the axes are turned, and the note, if there is one
LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...] | None, str]] = {
    "two channels": ((12, 12, 2), {}, TURNED_IMAGES, "images of 12×12 pixels with 2 channels, last; else --data.channels first"),
    "bands": ((12, 12, 13), {}, TURNED_IMAGES, "images of 12×12 pixels with 13 channels, last; else --data.channels first"),
    "bands first": ((13, 12, 12), {}, None, "images of 12×12 pixels with 13 channels, first; else --data.channels last"),
    "few bands of an oblong": ((9, 7, 5), {}, TURNED_IMAGES, "images of 9×7 pixels with 5 channels, last; else"),
    "few bands of an oblong, first": ((5, 9, 7), {}, None, "images of 9×7 pixels with 5 channels, first; else"),
    "colours": ((6, 5, 3), {}, TURNED_IMAGES, "images of 6×5 pixels with 3 channels, last; else --data.channels first"),
    "as somebody says": ((12, 12, 2), {"channels": "first"}, None, ""),
    "nothing to tell": ((7, 7, 7), {"channels": "last"}, TURNED_IMAGES, ""),
    "one channel of a series": ((1, 30), {}, TURNED_SERIES, "sequences of 30 steps with 1 channel, first; else --data.channels last or --data.inputs images"),
    "channels of a series": ((3, 30), {}, TURNED_SERIES, "sequences of 30 steps with 3 channels, first; else"),
    "more steps": ((30, 3), {}, None, "sequences of 30 steps with 3 channels, last; else --data.channels first or"),
    "as many steps": ((8, 8), {}, None, "sequences of 8 steps with 8 channels, last; else --data.channels first or"),
    "many channels, as somebody says": ((3, 30), {"channels": "last", "inputs": "sequences"}, None, ""),
    "form alone": ((3, 30), {"inputs": "sequences"}, TURNED_SERIES, "sequences of 30 steps with 3 channels, first; else --data.channels last"),
}  # fmt: skip


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(("shape", "options", "turned", "note"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_is_decided_by_the_shape_and_told(
    shape: tuple[int, ...], options: dict[str, Any], turned: Any, note: str, mapped: bool, tmp_path: Path
) -> None:
    x = numbered(*shape)
    data = arrays(tmp_path, mapped, {"divisor": 1, **options}, x_train=x)
    assert torch.equal(raw(data), torch.from_numpy(x if turned is None else x.transpose(turned)))
    expected = [f"x_train, {'×'.join(map(str, x.shape))} float32, is taken for {note}"] if note else []
    found = [told for told in data.notes if "x_train, " in told]
    assert len(found) == len(expected)
    assert all(told.startswith(wanted) for told, wanted in zip(found, expected, strict=True))
    assert data.preprocessing.plain["channels"] in ("first", "last")


@pytest.mark.parametrize(("longest", "steps"), [(3, 3), (30, 30), (20, 30)])
def test_lengths_tell_how_many_steps_there_are(longest: int, steps: int, tmp_path: Path) -> None:
    lengths = np.full(SIZE, 2)
    lengths[5] = longest
    assert arrays(tmp_path, x_train=numbered(3, 30), lengths_train=lengths).input_shape[0] == steps


def test_a_run_of_before_keeps_its_layout(tmp_path: Path) -> None:
    new = arrays(tmp_path, x_train=numbered(3, 30))
    np.savez(
        tmp_path / "splits.npz",
        samples=fingerprint(new.samples[-1], None),
        **{k: v.numpy() for k, v in new.splits.items()},
    )
    old = Arrays(str(tmp_path / "a.npz"), split_file=str(tmp_path / "splits.npz"))
    assert (new.input_shape, old.input_shape) == ((30, 3), (3, 30))
    np.savez(tmp_path / "a.npz", x_train=numbered(12, 12, 2), y_train=LABELS)
    assert Arrays(str(tmp_path / "a.npz"), split_file=str(tmp_path / "splits.npz")).input_shape == (12, 12, 2)


GUESSES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "whole numbers": ({}, {}, ["y_train holds whole numbers: taken for 2 classes; else --data.kind regression"]),
    "text": ({"y_train": np.array(["a", "b"])[LABELS]}, {}, []),
    "integers": ({"x_train": LABELS[:, None] + np.arange(3)}, {"kind": "classification"}, ["x_train, 40×3 int64, is taken for vectors of 3 numbers; else --data.inputs tokens"]),
    "bytes": ({"x_train": PIXELS[..., 0]}, {"kind": "classification"}, ["x_train, 40×6×5 uint8, is taken for grey images of 6×5 pixels; else --data.inputs sequences"]),
    "one-hot": ({"y_train": np.eye(2, dtype=int)[LABELS]}, {}, ["y_train has exactly one 1 per row: taken for 2 classes of which a sample can have several; if each has only one (one-hot labels), set --data.kind one_hot"]),
    "one-hot floats": ({"y_train": np.eye(2)[LABELS]}, {}, ["y_train holds floats of 0 and 1: taken for 2 numbers; else --data.kind one_hot for one class per row"]),
    "floats of several classes": ({"y_train": np.stack([LABELS, LABELS], 1) / 1}, {}, ["y_train holds floats of 0 and 1: taken for 2 numbers; else --data.kind classification for several classes per row"]),
    "scaling": ({"x_train": PIXELS[..., 0].astype(np.int16)}, {"inputs": "images", "kind": "classification"}, ["x_train, from 0 to 255, is divided by 255; else --data.divisor 1"]),
    "no scaling": ({"x_train": PIXELS[..., 0].astype(np.int16)}, {"inputs": "images", "kind": "classification", "divisor": 1}, []),
    "times": ({"x_train": np.stack([1_750_000_000 + np.arange(SIZE), np.arange(SIZE)], 1) / 1}, {"kind": "classification"}, ["x_train: column 0 goes from 1750000000 to 1750000039 in float32's steps of 128: subtract 1750000000"]),
    "times as targets": ({"y_train": 1_750_000_000.0 + np.arange(SIZE)}, {"kind": "regression"}, ["target y goes from 1750000000 to 1750000039 in float32's steps of 128: subtract 1750000000"]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "arguments", "notes"), GUESSES.values(), ids=GUESSES)
def test_a_guess_is_told(content: dict[str, Any], arguments: Any, notes: list[str], tmp_path: Path) -> None:
    data = arrays(tmp_path, arguments=arguments, **content)
    assert data.samples
    assert data.notes == notes


@pytest.mark.parametrize("dtype", [int, float, bool, np.uint8])
def test_one_hot_labels_are_classes_if_somebody_says_so(dtype: Any, tmp_path: Path) -> None:
    y = np.eye(3, dtype=dtype)[np.arange(SIZE) % 3]
    data = arrays(tmp_path, arguments={"kind": "one_hot"}, y_train=y, classes=np.array(["a", "b", "c"]))
    assert (data.classes, data.multilabel) == (["a", "b", "c"], False)
    assert data.samples[-1].tolist() == (np.arange(SIZE) % 3).tolist()


def three(folder: Path) -> Arrays:
    """Own splits, of which the samples are known by their values: 0 to 19, 100 to 107 and 200 to 204."""
    parts = {"train": np.arange(20), "val": np.arange(100, 108), "test": np.arange(200, 205)}
    x = {f"x_{name}": np.stack([part, -part], axis=1).astype(np.float32) for name, part in parts.items()}
    return arrays(folder, True, **x, **{f"y_{name}": part % 2 for name, part in parts.items()})


def test_several_files_are_one_array_that_stays_on_disk(tmp_path: Path) -> None:
    data = three(tmp_path)
    inputs = data.samples[0]
    assert isinstance(inputs, MappedArray)
    assert all(type(array) is np.memmap for array in inputs.arrays)
    assert inputs.shape == (33, 2)
    found = inputs[torch.tensor([32, 0, 20, 19, 28, 27, 0])]
    assert found[:, 0].tolist() == [204, 0, 100, 19, 200, 107, 0]
    assert found[:, 1].tolist() == [-204, 0, -100, -19, -200, -107, 0]
    splits = {name: raw(data, part)[:, 0].tolist() for name, part in data.splits.items()}
    assert splits == {"train": [*range(20)], "val": [*range(100, 108)], "test": [*range(200, 205)]}
    assert data.samples[-1].tolist() == [value % 2 for value in raw(data)[:, 0].int().tolist()]
    np.testing.assert_allclose(data.preprocessing.plain["mean"], [9.5, -9.5])
    np.testing.assert_allclose(data.preprocessing.plain["std"], [np.arange(20).std(ddof=1)] * 2)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_worker_process_maps_the_files_itself(order: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asarray(RNG.normal(size=(300, 40)), order=order))
    mapped = MappedArray(np.load(tmp_path / "a.npy", mmap_mode="r"), np.ones((2, 40)))
    content = pickle.dumps(mapped)
    assert len(content) < 3000  # of 96,000 bytes
    again = pickle.loads(content)
    assert isinstance(again.arrays[0], np.memmap)
    indices = torch.tensor([299, 3, 300, 0])
    assert torch.equal(again[indices], mapped[indices])


@pytest.mark.parametrize("x", [VECTORS, PIXELS, SERIES], ids=["vectors", "images", "sequences"])
def test_mapped_arrays_give_the_batches_of_those_in_memory_with_any_workers(x: np.ndarray, tmp_path: Path) -> None:
    found = []
    for mapped, workers in ((False, 0), (True, 0), (True, 2)):
        data = arrays(tmp_path, mapped, {"workers": workers, "batch_size": 8}, x_train=x)
        data.setup("fit")
        found.append([batch for split in ("train", "val", "test") for batch in data.loader(split)])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
            assert torch.equal(one[1], other[1])


def test_statistics_are_taken_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kindling.data.lazy_inputs.CHUNK", 30)  # numbers, that is, two sequences
    x = np.float32(1000) + SERIES
    lengths = np.arange(SIZE) % 7 + 1
    data = arrays(tmp_path, True, x_train=x, lengths_train=lengths)
    train = data.splits["train"].numpy()
    real = np.concatenate([x[row, : lengths[row]] for row in train]).astype(np.float64)
    np.testing.assert_allclose(data.preprocessing.plain["mean"], real.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(data.preprocessing.plain["std"], real.std(axis=0, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_hole_in_a_mapped_array_is_told(split: str, value: float, normalize: bool, tmp_path: Path) -> None:
    parts = {f"x_{each}": hole(VECTORS, value) if each == split else VECTORS for each in ("train", "val", "test")}
    targets = {f"y_{each}": LABELS for each in ("train", "val", "test")}
    data = arrays(tmp_path, True, {"normalize": normalize}, **parts, **targets)
    told = (
        rf"^x_{split}, sample 3 \(from 0\) holds a value that is not a finite number, and is for {split}: correct it$"
    )
    with pytest.raises(Stopped, match=told):
        data.setup("fit")
    if split != "test":
        arrays(tmp_path, True, {"normalize": False}, **parts, **targets).setup("test")  # which does not read it


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_hole_stops_a_training_before_it_begins(split: str, kindling: Run) -> None:
    for each in ("train", "val", "test"):
        Path("mine").mkdir(exist_ok=True)
        np.save(f"mine/x_{each}.npy", VECTORS)
        np.save(f"mine/y_{each}.npy", LABELS)
    assert kindling(*FIT, *MLP, "--data.path", "mine", "--name", "whole").code == 0
    np.save(f"mine/x_{split}.npy", hole(VECTORS))
    stopped = kindling(*FIT, *MLP, "--data.path", "mine")
    assert (stopped.code, stopped.err.count("\n")) == (1, 1)
    assert f"x_{split}, sample 3 (from 0) holds a value that is not a finite number" in stopped.err
    run = next(Path("lightning_logs/whole").glob("version_0"))
    measured = kindling("test" if split == "test" else "validate", "--run", run)
    assert (measured.code, measured.err.count("\n")) == (1, 1)
    if split == "test":
        assert kindling("predict", "--run", run).code == 0
        table = (run / "predict/predictions.csv").read_text().splitlines()
        assert (table[4].split(",")[:2], table[5].split(",")[:2]) == (["83", ""], ["84", "0"])
        reasons = [row.rpartition(",")[2] for row in table[3:6]]
        assert reasons == ["", "it contains values that are not finite", ""]


@pytest.mark.parametrize("mapped", [False, True])
def test_padded_sequences_keep_their_lengths(mapped: bool, tmp_path: Path) -> None:
    lengths = RNG.integers(1, 8, SIZE)
    own = {"x_test": SERIES[:9], "y_test": LABELS[:9], "lengths_test": lengths[::-1][:9]}
    data = arrays(tmp_path, mapped, x_train=SERIES, lengths_train=lengths, **own)
    data.setup("fit")
    inputs, known, targets = data.sets["test"][torch.arange(9)]
    assert known.tolist() == own["lengths_test"].tolist()
    assert targets.tolist() == LABELS[:9].tolist()
    padding = torch.arange(7) >= known[:, None]
    assert not inputs[padding].any()
    assert inputs[~padding].all()
    assert data.preprocessing.lengths


DECISIONS: dict[str, tuple[np.ndarray, dict[str, Any], str, list[str]]] = {
    # targets, classes or kind → what they are taken for, and its names
    "whole": (LABELS * 3 + 1, {}, "classes", ["1", "4"]),
    "small integers": (LABELS.astype(np.uint8), {}, "classes", ["0", "1"]),
    "truth": (LABELS > 0, {}, "classes", ["False", "True"]),
    "text": (np.array(["dog", "cat"])[LABELS], {}, "classes", ["cat", "dog"]),
    "a column": (LABELS[:, None], {}, "classes", ["0", "1"]),
    "a column of text": (np.array(["dog", "cat"])[LABELS][:, None], {}, "classes", ["cat", "dog"]),
    "named": (LABELS, {"classes": ["no", "yes"]}, "classes", ["no", "yes"]),
    "more names than classes": (LABELS * 2, {"classes": ["a", "b", "c"]}, "classes", ["a", "b", "c"]),
    "text in an order of its own": (np.array(["dog", "cat"])[LABELS], {"classes": ["dog", "cow", "cat"]}, "classes", ["dog", "cow", "cat"]),
    "floats as classes": (LABELS / 2, {"kind": "classification"}, "classes", ["0", "0.5"]),
    "floats": (VECTORS[:, 0], {}, "targets", ["y"]),
    "a column of floats": (VECTORS[:, :1], {}, "targets", ["y"]),
    "several floats": (VECTORS, {}, "targets", ["y0", "y1", "y2"]),
    "whole amounts": (LABELS * 3 + 1, {"kind": "regression"}, "targets", ["y"]),
    "several whole numbers": (np.stack([LABELS, LABELS + 1], 1), {}, "targets", ["y0", "y1"]),
    "several of 0 and 1": (np.stack([LABELS, 1 - LABELS], 1), {}, "multilabel", ["0", "1"]),
    "several of 0 and 1, named": (np.stack([LABELS, 1 - LABELS], 1) > 0, {"classes": ["a", "b"]}, "multilabel", ["a", "b"]),
    "several of 0.0 and 1.0": (np.stack([LABELS, 1 - LABELS], 1) / 1, {"kind": "classification"}, "multilabel", ["0", "1"]),
}  # fmt: skip


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(("y", "options", "decided", "names"), DECISIONS.values(), ids=DECISIONS)
def test_the_targets_decide_between_classes_and_numbers(
    y: np.ndarray, options: dict[str, Any], decided: str, names: list[str], mapped: bool, tmp_path: Path
) -> None:
    classes = {"classes": np.array(options["classes"])} if "classes" in options else {}
    data = arrays(tmp_path, mapped, {"kind": options.get("kind")}, y_train=y, **classes)
    targets = data.samples[-1]
    if decided == "targets":
        assert (data.targets, data.classes) == (names, None)
        assert torch.equal(targets, torch.from_numpy(y.reshape(SIZE, -1)).float())
        return
    assert (data.targets, data.classes, data.multilabel) == (None, names, decided == "multilabel")
    assert targets.dtype == torch.int64
    if data.multilabel:
        assert (targets.numpy() == y).all()
    elif classes and y.dtype.kind != "U":
        assert targets.tolist() == y.tolist()
    else:
        written = [f"{value:g}" if isinstance(value, float) else str(value) for value in y.ravel().tolist()]
        assert [names[label] for label in targets] == written


def test_whole_floats_and_arrays_of_other_names_are_mentioned(tmp_path: Path) -> None:
    data = arrays(tmp_path, y_train=LABELS * 1.0, x_valid=VECTORS, y_valid=LABELS)
    assert data.notes == [
        f"{tmp_path / 'a.npz'} has arrays that are not used: x_valid, y_valid",
        "y_train is taken for numbers, since it holds floats; else --data.kind classification",
    ]
    assert not arrays(tmp_path, y_train=LABELS * 1.0, arguments={"kind": "regression"}).notes


def test_groups_and_times_are_of_the_training_samples(tmp_path: Path) -> None:
    own = {"x_test": VECTORS[:6], "y_test": LABELS[:6]}
    data = arrays(tmp_path, groups=np.arange(SIZE) // 4, **own)
    train, val, test = (data.splits[name].numpy() for name in ("train", "val", "test"))
    assert test.tolist() == list(range(40, 46))
    assert not set(train // 4) & set(val // 4)
    times = np.datetime64("2024-01-01") + RNG.permutation(SIZE)
    data = arrays(tmp_path, times=times)
    train, val, test = (times[data.splits[name]] for name in ("train", "val", "test"))
    assert train.max() < val.min() <= val.max() < test.min()


FIT = ["fit", "--data", "Arrays", "--data.batch_size", "8", *QUICK]
MLP = ["--model", "MLP", "--model.hidden_sizes", "[8]"]
CNN = ["--model", "CNN", "--model.channels", "[4]"]
TRAININGS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "vectors": ({}, MLP, "3 → 2 classes"),
    "images": ({"x_train": PIXELS}, CNN, "3×6×5 → 2 classes"),
    "several classes": ({"x_train": PIXELS[..., 0], "y_train": np.stack([LABELS, 1 - LABELS], 1)}, CNN, "1×6×5 → 2 classes"),
    "sequences": ({"x_train": SERIES, "y_train": VECTORS[:, 0], "lengths_train": np.arange(SIZE) % 7 + 1}, ["--model", "RNN", "--model.width", "8"], "7×2 → 1 target"),
    "tokens": ({"x_train": (PIXELS[:, :, 0, 0] // 16)}, ["--model", "RNN", "--model.width", "8", "--data.inputs", "tokens"], "6 → 2 classes"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "flags", "shape"), TRAININGS.values(), ids=TRAININGS)
def test_it_trains(content: dict[str, Any], flags: list[str], shape: str, kindling: Run) -> None:
    Path("mine").mkdir()
    for name, array in {"x_train": VECTORS, "y_train": LABELS, **content}.items():
        np.save(f"mine/{name}.npy", array)
    finished = kindling(*FIT, *flags, "--data.path", "mine")
    assert finished.code == 0, finished.err
    assert f"Arrays ({shape}; 26 train, 6 val, 8 test)" in finished.out
    results = json.loads(next(Path("lightning_logs").glob("*/version_0/results.json")).read_text())
    assert np.isfinite(results["test"]["loss"])


def hole(array: np.ndarray, value: float = np.nan) -> np.ndarray:
    spoilt = array.astype(np.float32)
    spoilt[3] = value
    return spoilt


OWN = {"x_val": VECTORS, "y_val": LABELS}
LENGTHS = np.full(SIZE, 3)
REFUSED: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "x and y": ({"x_train": None, "y_train": None, "x": VECTORS, "y": LABELS}, [], "a.npz: there is no x_train and no y_train; it has x, y"),
    "no targets": ({"y_train": None}, [], "a.npz: there is no y_train; it has x_train"),
    "validation alone": ({"x_train": None, "y_train": None, **OWN}, [], "a.npz: there is no x_train and no y_train; it has x_val, y_val"),
    "no targets of a split": ({"x_val": VECTORS}, [], "a.npz: there is no y_val; it has x_train, x_val, y_train"),
    "no inputs of a split": ({"y_test": LABELS}, [], "a.npz: there is no x_test; it has x_train, y_test, y_train"),
    "lengths of one split": ({"x_train": SERIES, "lengths_train": LENGTHS, "x_val": SERIES, "y_val": LABELS}, [], "a.npz: there is no lengths_val; it has"),
    "fewer targets": ({"y_train": LABELS[:30]}, [], "a.npz: x_train has 40 samples, but y_train has 30"),
    "fewer targets of a split": ({**OWN, "x_val": VECTORS[:3]}, [], "a.npz: x_val has 3 samples, but y_val has 40"),
    "fewer groups": ({"groups": LABELS[:3]}, [], "a.npz: x_train has 40 samples, but groups has 3"),
    "fewer lengths": ({"x_train": SERIES, "lengths_train": LENGTHS[:9]}, [], "a.npz: x_train has 40 samples, but lengths_train has 9"),
    "an empty array": ({"x_train": VECTORS[:0], "y_train": LABELS[:0]}, [], "a.npz: x_train is empty: expected an array of all samples"),
    "an empty split": ({"x_val": VECTORS[:0], "y_val": LABELS[:0]}, [], "a.npz: x_val is empty"),
    "a single target": ({"y_train": 3}, [], "a.npz: y_train is a single value: expected an array of all samples"),
    "a single input": ({"x_train": 3}, [], "a.npz: x_train is a single value: expected an array of all samples"),
    "another width": ({**OWN, "x_val": VECTORS[:, :2]}, [], "a.npz: x_val holds float32 of shape (40, 2), but x_train float32 of (40, 3)"),
    "another type": ({**OWN, "x_val": VECTORS.astype(np.float64)}, [], "a.npz: x_val holds float64 of shape (40, 3), but x_train float32 of (40, 3)"),
    "other targets": ({**OWN, "y_val": VECTORS}, [], "a.npz: y_val holds float32 of shape (40, 3), but y_train int64 of (40,)"),
    "text beside numbers": ({**OWN, "y_val": LABELS.astype(str)}, [], "a.npz: y_val holds <U21 of shape (40,), but y_train int64 of (40,)"),
    "one dimension": ({"x_train": VECTORS[:, 0]}, [], "a.npz: x_train has the shape (40,): expected 2 or 3 or 4 dimensions"),
    "five dimensions": ({"x_train": PIXELS[..., None]}, [], "a.npz: x_train has the shape (40, 6, 5, 3, 1): expected 2 or 3 or 4 dimensions"),
    "vectors as images": ({}, ["--data.inputs", "images"], "a.npz: x_train has the shape (40, 3): expected 3 or 4 dimensions"),
    "images as vectors": ({"x_train": PIXELS}, ["--data.inputs", "vectors"], "a.npz: x_train has the shape (40, 6, 5, 3): expected 2 dimensions"),
    "kind of inputs": ({}, ["--data.inputs", "text"], "data.inputs is 'text': expected vectors or sequences or tokens or images"),
    "kind of targets": ({}, ["--data.kind", "numbers"], "data.kind is 'numbers': expected classification or regression"),
    "text": ({"x_train": VECTORS.astype(str)}, [], "a.npz: x_train holds <U32: expected numbers"),
    "complex numbers": ({"x_train": VECTORS * 1j}, [], "a.npz: x_train holds complex64: expected numbers"),
    "tokens of floats": ({}, ["--data.inputs", "tokens"], "a.npz: x_train holds float32 from"),
    "negative tokens": ({"x_train": -PIXELS[:, 0, :, 0].astype(int)}, ["--data.inputs", "tokens"], "expected whole numbers from 0, for tokens"),
    "NaN": ({"x_train": hole(VECTORS)}, [], "a.npz: x_train holds a value that is not a finite number, in sample 3 (from 0)"),
    "infinity, not normalised": ({**OWN, "x_val": hole(VECTORS, np.inf)}, ["--data.normalize", "false"], "a.npz: x_val holds a value that is not a finite number, in sample 3 (from 0)"),
    "NaN in the targets": ({"y_train": hole(LABELS)}, [], "a.npz: y_train holds a value that is not a finite number, in sample 3 (from 0)"),
    "NaN in the times": ({"times": hole(LABELS)}, [], "a.npz: times holds a value that is not a finite number, in sample 3 (from 0)"),
    "no time": ({"times": np.array(["2024-01-01", "NaT"], "datetime64[D]")[LABELS]}, [], "a.npz: times holds a value that is not a finite number, in sample 1"),
    "groups in columns": ({"groups": VECTORS}, [], "a.npz: groups has the shape (40, 3): expected one dimension"),
    "groups and times": ({"groups": LABELS, "times": LABELS}, [], "group and time are both given: a split follows one or the other"),
    "long lengths": ({"x_train": SERIES, "lengths_train": LENGTHS * 3}, [], "a.npz: lengths_train goes from 9 to 9: expected whole numbers from 1 to 7"),
    "no lengths": ({"x_train": SERIES, "lengths_train": LENGTHS * 0}, [], "a.npz: lengths_train goes from 0 to 0: expected whole numbers from 1 to 7"),
    "lengths of floats": ({"x_train": SERIES, "lengths_train": LENGTHS / 2}, [], "a.npz: lengths_train holds float64: expected whole numbers, such as int64"),
    "fractions beside classes": ({"x_train": PIXELS, "x_test": PIXELS, "y_test": LABELS / 2}, [], "y_test holds float64 of shape"),
    "too large for float32": ({"x_train": SERIES.astype(float) * 1e300}, [], "x_train holds a number that is too large for float32, in sample 0 (from 0): divide all of them"),
    "lengths of vectors": ({"lengths_train": LENGTHS}, [], "a.npz: lengths_train is for sequences and tokens, but x_train has vectors or images"),
    "lengths of images": ({"x_train": PIXELS, "lengths_train": LENGTHS}, [], "a.npz: lengths_train is for sequences and tokens"),
    "a class of val": ({**OWN, "y_val": LABELS + 1}, [], "a.npz: 2 is a class that y_train lacks"),
    "one class": ({"y_train": LABELS * 0}, [], "a.npz: all targets are 0: expected several classes"),
    "a class of one sample": ({"y_train": (np.arange(SIZE) == 3) * 1}, [], "has too few samples (1): train, val and test need some each"),
    "fewer names": ({"classes": ["a"]}, [], "a.npz: classes has 1 names, but the targets go from 0 to 1"),
    "negative classes": ({"y_train": -LABELS, "classes": ["a", "b"]}, [], "a.npz: classes has 2 names, but the targets go from -1 to 0"),
    "a name twice": ({"classes": ["a", "a"]}, [], "a.npz: classes has the same name twice: a, a"),
    "one name": ({"classes": "ab"}, [], "a.npz: classes is a single value"),
    "a class without a name": ({"y_train": np.array(["dog", "cow"])[LABELS], "classes": ["cat", "dog"]}, [], "a.npz: cow is in y_train but not in classes: cat, dog"),
    "names of several": ({"y_train": np.stack([LABELS, LABELS], 1), "classes": ["a", "b", "c"]}, [], "a.npz: classes has 3 names, but y_train has 2 columns"),
    "numbers of text": ({"y_train": LABELS.astype(str)}, ["--data.kind", "regression"], "a.npz: y_train holds <U21 of shape (40,): expected whole numbers or text (N,), 0 and 1 (N, K), or floats"),
    "classes in columns": ({"y_train": VECTORS}, ["--data.kind", "classification"], "a.npz: y_train holds float32 of shape (40, 3): expected whole numbers"),
    "targets of three dimensions": ({"y_train": SERIES}, [], "a.npz: y_train holds float32 of shape (40, 7, 2): expected"),
    "a layout that nothing tells": ({"x_train": numbered(7, 7, 7)}, [], "a.npz: x_train has the shape (40, 7, 7, 7), which does not tell which axis is the channels: set data.channels to first or last"),
    "one-hot with two": ({"y_train": np.ones((SIZE, 2), int)}, ["--data.kind", "one_hot"], "a.npz: data.kind is one_hot: expected 0 and 1 (N, K) in y_train, one 1 per row"),
    "divisor": ({}, ["--data.divisor", "0"], "command line: data.divisor is 0.0: expected a positive number"),
    "Python objects": ({"y_train": np.array(["a", 1] * 20, dtype=object)}, [], "a.npz can't be read: it is not a NumPy file, or holds Python objects"),
    "no path": ({}, ["--data.path", "b.npz"], "command line: data.path is 'b.npz': there is no such file or folder; expected an .npz file, or a folder of .npy files"),
    "a folder of other things": ({}, ["--data.path", "configs"], "configs: there is no x_train and no y_train; it has no arrays"),
    "another file": ({}, ["--data.path", "configs/digits_mlp.yaml"], "data.path is 'configs/digits_mlp.yaml': expected an .npz file, or a folder of .npy files"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_told(content: dict[str, Any], flags: list[str], message: str, kindling: Run) -> None:
    known = {"x_train": VECTORS, "y_train": LABELS, **content}
    np.savez("a.npz", **{name: array for name, array in known.items() if array is not None})
    assert_refused(kindling(*FIT, *MLP, "--data.path", "a.npz", *flags), message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"", "a.npz can't be read: No data left in file"),
        ("a.npz", b"x,y\n1,2\n", "a.npz can't be read: it is not a NumPy file, or holds Python objects"),
        ("a.npz", b"PK\x03\x04 and no more", "a.npz can't be read: File is not a zip file"),
        ("mine/x_train.npy", b"", "mine/x_train.npy can't be read: "),
        ("mine/x_train.npy", b"\x93NUMPY\x01\x00", "mine/x_train.npy can't be read: "),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, message: str, kindling: Run) -> None:
    Path("mine").mkdir()
    Path(name).write_bytes(content)
    assert_refused(kindling(*FIT, *MLP, "--data.path", name.partition("/")[0]), message)
