"""Images with masks by the commands alone: from one's own folders to predicted masks and an exported file."""

import csv
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import QUICK, Result
from PIL import ExifTags, Image
from sklearn.metrics import f1_score, jaccard_score

import kindling as package
from kindling.cli.image_outputs import ImageOutputs
from kindling.cli.outputs import written_whole, written_whole_folder
from kindling.core.errors import UsageError
from kindling.core.palette import class_colours
from kindling.run.checkpoint_files import load_checkpoint
from kindling.run.record import Record
from my_project.data.shapes import ShapesMasks

Run = Callable[..., Result]
ROOT = Path("lightning_logs")
SETTINGS = ["--model", "UNet", "--model.width", "4", "--model.depth", "1", "--data.batch_size", "8", *QUICK]
SETTINGS += ["--data.augment", "ImageAugmentation", "--data.augment.crop", "2", "--data.augment.flip", "0.5"]
SETTINGS += ["--data.augment.erase", "0.3", "--checkpoint.every_steps", "3", "--trainer.log_every_n_steps", "2"]
SHAPES = ["--data", "ShapesMasks", "--data.size", "100", "--data.side", "13"]  # a side that can't be halved
FOLDERS = ["--data", "Masks", "--data.path", "images", "--data.masks", "masks", "--data.image_size", "12"]


def write_images(count: int = 40) -> None:
    images, masks = ShapesMasks(size=count, side=12, colour=True).load()
    for index in range(count):
        name = f"{'ab'[index % 2]}/{index}"
        for folder in ("images", "masks"):
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        pixels = (255 * images[index].clamp(0, 1)).byte().permute(1, 2, 0)
        Image.fromarray(pixels.numpy()).save(f"images/{name}.bmp")
        Image.fromarray(masks[index].numpy()).save(f"masks/{name}.png")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, Any]:
    return load_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]


class Accident(Exception):
    pass


def interrupted(kindling: Run, *argv: str, step: int) -> None:
    """A training that nothing is prepared to end at a step."""
    before, calls = Record.on_train_batch_end, itertools.count(1)

    def fall(*args: Any) -> None:
        if next(calls) == step:
            raise Accident
        before(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, "on_train_batch_end", fall)
        with pytest.raises(Accident):
            kindling(*argv)


@pytest.mark.parametrize("data", [SHAPES, FOLDERS], ids=["shapes", "folders"])
def test_a_training_that_was_interrupted_ends_as_one_that_was_not(data: list[str], kindling: Run) -> None:
    write_images()
    assert kindling("fit", *data, *SETTINGS, "--name", "whole").code == 0
    interrupted(kindling, "fit", *data, *SETTINGS, "--name", "cut", step=5)
    whole, cut = ROOT / "whole" / "version_0", ROOT / "cut" / "version_0"
    assert kindling("fit", "--resume", cut).code == 0
    for name, values in weights(whole).items():
        assert torch.equal(values, weights(cut)[name]), name
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()
    results = [json.loads((run / "results.json").read_text())["test"] for run in (whole, cut)]
    assert results[0] == results[1]


@pytest.mark.parametrize("data", [SHAPES, FOLDERS], ids=["shapes", "folders"])
def test_what_the_test_says_is_what_the_masks_give(data: list[str], kindling: Run) -> None:
    write_images()
    assert kindling("fit", *data, *SETTINGS, "--name", "it").code == 0
    run = ROOT / "it" / "version_0"
    assert kindling("test", "--run", run).code == 0
    finished = kindling("predict", "--run", run)
    assert (finished.code, finished.err) == (0, "")
    count = 20 if data is SHAPES else 8
    assert f"{count} masks: {run}/predict/predictions_masks" in finished.out

    truths = {}
    if data is SHAPES:
        masks = ShapesMasks(size=100, side=13).load()[1]
        truths = {str(index): mask.numpy() for index, mask in enumerate(masks)}
    rows, pairs = read(run / "predict" / "predictions.csv"), []
    for row in rows:
        assert row["mask"] == f"predictions_masks/{Path(row['input']).with_suffix('.png')}"
        with Image.open(run / "predict" / row["mask"]) as image:
            assert image.mode == "P"
            assert image.getpalette()[:9] == [*np.ravel(class_colours(3))]  # type: ignore[index]
            found = np.asarray(image)
        truth = truths.get(row["input"])
        if truth is None:
            truth = np.asarray(Image.open(Path("masks", row["input"]).with_suffix(".png")))
        pairs.append((truth, found))
        names = [name for name in row if name.startswith("share_")]
        shares = [float(row[name]) for name in names]
        assert shares == pytest.approx([(found == index).mean() for index in range(len(names))])
        assert [float(row[f"target_{name}"]) for name in names] == pytest.approx(
            [(truth == index).mean() for index in range(len(names))]
        )
    truth, found = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    told = json.loads((run / "test" / "results.json").read_text())["test"]
    labels = np.unique(truth)
    assert told["accuracy"] == pytest.approx((truth == found).mean(), abs=1e-6)
    assert told["iou"] == pytest.approx(jaccard_score(truth, found, labels=labels, average="macro"), abs=1e-6)
    assert told["dice"] == pytest.approx(f1_score(truth, found, labels=labels, average="macro"), abs=1e-6)


@pytest.fixture
def trained(kindling: Run) -> Path:
    write_images()
    assert kindling("fit", *FOLDERS, *SETTINGS, "--name", "it", "--trainer.max_epochs", "1").code == 0
    return ROOT / "it" / "version_0"


def test_new_images_get_masks_of_their_names(trained: Path, kindling: Run) -> None:
    Path("new").mkdir()
    Image.open("images/a/0.bmp").save("new/0.png")
    Image.open("images/b/1.bmp").save("new/0.bmp")  # of the same name
    Path("new/broken.jpg").touch()
    finished = kindling("predict", "--run", trained, "--input", "new")
    assert finished.code == 0
    assert "2 of 3 inputs predicted" in finished.out
    rows = read(trained / "predict" / "predictions_new.csv")
    assert [row["mask"] for row in rows] == ["predictions_new_masks/0.png", "predictions_new_masks/0.png.png", ""]
    assert rows[2]["error"] == "it is empty"
    folder = trained / "predict" / "predictions_new_masks"
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "0.png.png"]

    predictor = package.load(trained, device="cpu")
    images = [Image.open(f"new/{name}") for name in ("0.bmp", "0.png")]
    table = predictor(images)
    for mask, row in zip(table["mask"], rows, strict=False):
        assert np.array_equal(mask, np.asarray(Image.open(trained / "predict" / row["mask"])))

    Path("new/0.png").unlink()
    assert kindling("predict", "--run", trained, "--input", "new").code == 0
    assert [path.name for path in folder.iterdir()] == ["0.png"]  # nothing of before


@pytest.mark.parametrize(("resize", "of_no_class"), [("crop", 24 * 12), ("pad", 0), ("stretch", 0)])
def test_a_mask_has_the_size_of_its_image(resize: str, of_no_class: int, kindling: Run) -> None:
    write_images()
    fit = ["fit", *FOLDERS, *SETTINGS, "--data.resize", resize, "--trainer.max_epochs", "1"]
    assert kindling(*fit, "--name", "it").code == 0
    Path("new").mkdir()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.open("images/a/0.bmp").resize((24, 36)).save("new/tall.png")
    Image.open("images/a/0.bmp").resize((36, 24)).save("new/turned.jpg", exif=turned)
    run = ROOT / "it" / "version_0"
    finished = kindling("predict", "--run", run, "--input", "new")
    assert finished.code == 0
    assert ("2 cropped: their masks hold 255 where the model did not look" in finished.out) == bool(of_no_class)
    for row in read(run / "predict" / "predictions_new.csv"):
        with Image.open(run / "predict" / row["mask"]) as image:
            assert image.size == (24, 36)
            assert (np.asarray(image) == 255).sum() == of_no_class


def test_a_folder_of_somebody_else_is_not_replaced(trained: Path, kindling: Run) -> None:
    Path("mine_masks").mkdir()
    Path("mine_masks/0.png").write_text("by hand", encoding="utf-8")
    told = kindling("predict", "--run", trained, "--output", "mine.csv")
    assert told.code == 2
    assert "mine_masks exists already, where the masks would go: remove it, or choose another --output" in told.err
    assert Path("mine_masks/0.png").read_text(encoding="utf-8") == "by hand"
    assert not Path("mine.csv").exists()
    assert kindling("predict", "--run", trained, "--output", "other.csv").code == 0
    assert len([*Path("other_masks").rglob("*.png")]) == 8


def test_folders_that_have_moved_have_the_split_of_their_run(trained: Path, kindling: Run) -> None:
    Path("elsewhere").mkdir()
    for name in ("images", "masks"):
        Path(name).rename(f"elsewhere/{name}")
    moved = ["--data.path", "elsewhere/images", "--data.masks", "elsewhere/masks"]
    finished = kindling("test", "--run", trained, *moved)
    assert finished.code == 0, finished.err
    assert "was trained on" not in finished.out
    results = [json.loads((trained / file).read_text())["test"] for file in ("results.json", "test/results.json")]
    assert results[0] == pytest.approx(results[1], rel=1e-6)


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "torch"])
def test_an_exported_file_gives_the_probability_of_each_pixel(kind: str, trained: Path, kindling: Run) -> None:
    finished = kindling("export", "--run", trained, "--format", kind)
    assert finished.code == 0
    assert "scores: probabilities" in finished.out
    pixels = np.asarray(Image.open("images/a/0.bmp")).transpose(2, 0, 1)[None]
    if kind == "onnx":
        session = onnxruntime.InferenceSession(trained / "export" / "model.onnx")
        (scores,) = session.run(None, {"inputs": pixels})
    else:
        scores = torch.export.load(trained / "export" / "model.pt2").module()(torch.from_numpy(pixels)).detach().numpy()
    assert scores.shape == (1, 6, 12, 12)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    mask = package.load(trained, device="cpu")(Image.open("images/a/0.bmp"))["mask"][0]
    assert np.array_equal(scores.argmax(axis=1)[0], mask)


@pytest.mark.slow
def test_the_data_is_shown_with_its_masks(kindling: Run) -> None:
    write_images()
    finished = kindling(
        "data", *FOLDERS, "--data.augment", "ImageAugmentation", "--data.augment.crop", "3", "--name", "it"
    )
    assert finished.code == 0
    assert "Masks: images 3×12×12, 40 samples" in finished.out
    assert Image.open(ROOT / "it_data.png").size > (300, 300)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "CNN", *FOLDERS], "Classification needs data with one class a sample: for masks use Segmentation"),
        (["--model", "CNN", "--model.task", "Segmentation", *FOLDERS], "use a model such as UNet"),
        (["--model", "UNet", "--data", "Digits"], "Segmentation needs masks of whole numbers"),
        (["--model", "UNet", "--data", "Diabetes"], "UNet takes images"),
        (["--model", "UNet", *SHAPES, "--model.width", "0"], "width is 0 and depth is 3: expected positive integers"),
        (
            ["--model", "UNet", *SHAPES, "--data.augment", "ImageAugmentation", "--data.augment.mixup", "1"],
            "mixup and cutmix need data with one class a sample",
        ),
    ],
)
def test_what_does_not_go_together_is_told_in_a_sentence(flags: list[str], message: str, kindling: Run) -> None:
    write_images()
    told = kindling("fit", *flags, *QUICK)
    assert told.code == 2
    assert message in told.err
    assert told.err.count("\n") == 1


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in ("out_masks", "old-out_masks"):
        (tmp_path / f"part-{gone.pid}@{gethostname()}@{name}").mkdir()
    target = tmp_path / "out_masks"
    for content in ("first", "second"):
        with written_whole(tmp_path / "out.csv") as table, written_whole_folder(target) as part:
            part.mkdir()
            (part / content).touch()
            table.write_text(content)
    with (  # noqa: PT012
        pytest.raises(SystemExit),
        written_whole(tmp_path / "out.csv") as table,
        written_whole_folder(target) as part,
    ):
        part.mkdir()
        signal.raise_signal(signal.SIGTERM)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out.csv", "out_masks", "second"]
    assert (tmp_path / "out.csv").read_text() == "second"


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    files = ImageOutputs(tmp_path / "part", tmp_path / "out_masks", replaces=True, resize="crop")
    pixels = np.zeros((2, 2), np.uint8)
    names = ["../up.png", "/root.png", "a/b.tif", "", "a/b.png", "17"]
    columns = files.with_files({"mask": [pixels] * 6, "share": np.zeros(6)}, names, [])
    assert columns["mask"] == [f"out_masks/{name}.png" for name in ("0", "1", "a/b", "3", "a/b.png", "17")]
    assert len(list(tmp_path.rglob("*.png"))) == 6
    assert columns["share"].tolist() == [0.0] * 6
    (tmp_path / "out_masks").mkdir()
    with pytest.raises(UsageError, match="out_masks exists already"):
        ImageOutputs(tmp_path / "part", tmp_path / "out_masks", False, "crop").with_files({"mask": [pixels]}, ["a"], [])


def test_a_mask_of_many_classes_keeps_its_numbers(tmp_path: Path) -> None:
    files = ImageOutputs(tmp_path, tmp_path, replaces=True, resize="crop")
    pixels = np.array([[0, 300], [65535, 7]], np.uint16)
    files.with_files({"mask": [pixels]}, ["a"], [])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)


def test_the_colours_are_those_of_pascal_voc() -> None:
    colours = class_colours(256)
    assert colours[:5] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert colours[255] == (224, 224, 192)
    assert len({*colours}) == 256
