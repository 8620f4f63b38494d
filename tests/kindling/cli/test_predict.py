"""`kindling.load`, `kindling predict` and the exported files say the same of raw inputs."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from conftest import QUICK, Result, child
from model_cases import CASES, OUTPUTS, VOCABULARY, build
from PIL import Image

import kindling as package
from kindling.core.errors import UsageError
from kindling.data.preprocessing import Preprocessing
from kindling.use.predictor import Predictor
from my_project.models.mlp import MLP

Run = Callable[..., Result]
RUN = Path("lightning_logs/digits_mlp/version_0")
MLP_FLAGS = ["--config", "configs/digits_mlp.yaml", "--model.hidden_sizes", "[32]", *QUICK]


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores_of(rows: Any, names: list[str]) -> np.ndarray:
    """The numeric columns of predictions."""
    columns = [name for name in names if name.startswith(("probability_", "share_"))]
    columns = columns or [name for name in names if "prediction_" in name]
    return np.array([[float(row[name]) for name in columns] for row in rows])


def save(model: Any, preprocessing: Preprocessing, path: Path) -> None:
    """A checkpoint as a training leaves it, without one."""
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(content | {"preprocessing": preprocessing.plain}, path)


def raw_inputs(kind: str, shape: tuple[int, ...], size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "tokens":
        return rng.integers(1, VOCABULARY, (size, *shape))
    if kind == "images":
        return rng.integers(0, 256, (size, *shape), dtype=np.uint8)
    return rng.normal(3, 2, (size, *shape)).astype(np.float32)


def first_of_each(cases: list[Any]) -> Iterator[Any]:
    """The first case of each model and of each task as they are; the others, and the largest network, as slow ones."""
    models, tasks = set[str](), set[str]()
    for case in cases:
        model, _, task = case.values
        is_further = (model in models and task in tasks) or model == "Backbone"
        yield pytest.param(*case.values, id=case.id, marks=pytest.mark.slow) if is_further else case
        models.add(model)
        tasks.add(task)


@pytest.mark.parametrize(("model", "kind", "task"), first_of_each(CASES))
def test_predict_load_and_onnx_agree(model: str, kind: str, task: str, kindling: Run) -> None:
    net = build(model, kind, task)
    if task == "Regression":
        net.task.mean.copy_(torch.tensor([100.0, -3.0]))
        net.task.std.copy_(torch.tensor([40.0, 0.1]))
    dtype = {"tokens": "int64", "images": "uint8"}.get(kind, "float32")
    features = {"sequences": 3, "vectors": 10}.get(kind, 1)
    statistics = {} if kind == "tokens" else {"mean": [0.4] * features, "std": [0.3] * features}
    lengths = np.array([8, 3, 1, 8, 5, 2, 7, 4, 6]) if model in ("RNN", "Transformer") else None
    preprocessing = Preprocessing(net.input_shape, dtype, **statistics, lengths=lengths is not None)
    save(net, preprocessing, Path("net.ckpt"))
    raw = raw_inputs(kind, net.input_shape, 9)
    np.savez("raw.npz", x=raw, **({} if lengths is None else {"lengths": lengths}))

    assert kindling("predict", "--ckpt", "net.ckpt", "--input", "raw.npz", "--batch_size", 4).code == 0
    rows = read(Path("lightning_logs/predict/predictions_raw.csv"))
    written = scores_of(rows, list(rows[0]))
    loaded = package.load("net.ckpt")(raw, lengths)
    np.testing.assert_allclose(written, scores_of(loaded.to_dict("records"), list(loaded)), atol=1e-4)
    if task not in ("Regression", "Segmentation"):
        assert [row["prediction"] for row in rows] == loaded["prediction"].tolist()

    assert kindling("export", "--ckpt", "net.ckpt", "--input", "raw.npz").code == 0
    session = onnxruntime.InferenceSession("lightning_logs/export/model.onnx")
    given = {"inputs": raw} | ({} if lengths is None else {"lengths": lengths})
    (found,) = session.run(None, given)
    if task == "BinaryClassification":
        found = np.stack([1 - found, found], axis=1)
    if task == "Segmentation":
        found = (found.argmax(axis=1)[..., None] == np.arange(4)).mean(axis=(1, 2))  # the share of each class
    np.testing.assert_allclose(found, written, atol=1e-4)
    names = json.loads(session.get_modelmeta().custom_metadata_map["names"])
    assert names == OUTPUTS[task].get("classes", OUTPUTS[task].get("targets"))
    assert {shape.shape[0] for shape in session.get_inputs()} == {"batch"}


@pytest.mark.parametrize("size", [1, 3, 7])
def test_an_export_of_torch_takes_any_batch(size: int, kindling: Run) -> None:
    net = build("CNN", "images", "Classification")
    save(net, Preprocessing(net.input_shape, "uint8", mean=[0.5], std=[0.25]), Path("net.ckpt"))
    raw = raw_inputs("images", net.input_shape, size)
    np.savez("raw.npz", x=raw)
    finished = kindling("export", "--ckpt", "net.ckpt", "--input", "raw.npz", "--format", "torch")
    assert (finished.code, finished.err) == (0, "")
    assert f"on {size} inputs: 0" in finished.out
    files = {"metadata.json": ""}
    program = torch.export.load("lightning_logs/export/model.pt2", extra_files=files).module()
    with torch.no_grad():
        found = program(torch.from_numpy(raw))
    torch.testing.assert_close(found, package.load("net.ckpt").scores(torch.from_numpy(raw)))
    assert json.loads(json.loads(files["metadata.json"])["names"]) == list("abcd")


def test_an_onnx_file_needs_neither_torch_nor_kindling(kindling: Run) -> None:
    kindling("fit", *MLP_FLAGS)
    assert kindling("export", "--run", RUN).code == 0
    kindling("predict", "--run", RUN)
    script = """
import json, sys, onnxruntime, numpy as np
from sklearn.datasets import load_digits
session = onnxruntime.InferenceSession(sys.argv[1])
images = (load_digits().images / 16).astype(np.float32)[:, None]
scores = session.run(None, {"inputs": images})[0]
names = json.loads(session.get_modelmeta().custom_metadata_map["names"])
assert not {"torch", "kindling", "lightning"} & set(sys.modules)
print(json.dumps([[names[row.argmax()], float(row.max())] for row in scores]))
"""
    command = [sys.executable, "-c", script, str(RUN / "export" / "model.onnx")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for row in read(RUN / "predict" / "predictions.csv"):
        name, probability = found[int(row["input"])]
        assert name == row["prediction"]
        assert probability == pytest.approx(float(row[f"probability_{name}"]), abs=1e-4)


def test_without_an_input_it_predicts_the_test_split(kindling: Run) -> None:
    kindling("fit", *MLP_FLAGS)
    finished = kindling("predict", "--run", "latest")
    assert (finished.code, finished.err) == (0, "")
    assert f"360 of 360 inputs predicted: {RUN}/predict/predictions.csv" in finished.out
    rows = read(RUN / "predict" / "predictions.csv")
    results = json.loads((RUN / "results.json").read_text())
    right = sum(row["prediction"] == row["target"] for row in rows)
    assert right / len(rows) == pytest.approx(results["test"]["accuracy"])
    with np.load(RUN / "splits.npz") as splits:
        assert [int(row["input"]) for row in rows] == splits["test"].tolist()


@pytest.mark.slow
def test_a_prediction_says_nothing_else(kindling: Run, project: Path) -> None:
    kindling("fit", *MLP_FLAGS)
    finished = child("predict", "--run", RUN, cwd=project)
    assert (finished.code, finished.err) == (0, "")
    first, classes = finished.out.splitlines()
    assert first == f"360 of 360 inputs predicted: {RUN}/predict/predictions.csv"
    assert classes.startswith("0: ")


def test_a_checkpoint_needs_nothing_but_itself(kindling: Run, tmp_path: Path) -> None:
    kindling("fit", *MLP_FLAGS)
    (RUN / "checkpoints" / "best.ckpt").rename("alone.ckpt")
    for path in (RUN / "config.yaml", RUN / "splits.npz"):
        path.unlink()
    image = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(image).save("image.png")
    assert kindling("predict", "--ckpt", "alone.ckpt", "--input", "image.png").code == 0
    (row,) = read(Path("lightning_logs/predict/predictions_image.csv"))
    assert row["input"] == "image.png"
    model = MLP.load_from_checkpoint("alone.ckpt", weights_only=True)
    known = Preprocessing(**model.preprocessing)
    with torch.no_grad():
        expected = model.eval()(known(torch.from_numpy(image / 255).float()[None, None])).softmax(1)[0]
    assert [float(row[f"probability_{digit}"]) for digit in range(10)] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.fixture
def digits() -> Predictor:
    net = MLP(input_shape=(1, 8, 8), classes=["a", "b"], hidden_sizes=[8])
    return Predictor(net, Preprocessing((1, 8, 8), mean=[0.3], std=[0.2], bounded=True))


def test_images_can_come_in_many_forms(digits: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    expected = digits(pixels)
    same = [
        [Image.fromarray(image) for image in pixels],
        pixels[:, None],
        pixels[..., None],
        torch.from_numpy(pixels),
        pixels / 255,
        (pixels / 255).astype(np.float32)[:, None],
    ]
    for inputs in same:
        pd.testing.assert_frame_equal(digits(inputs), expected, rtol=1e-4)
    for one in (Image.fromarray(pixels[1]), pixels[1], pixels[1][None], pixels[1][..., None]):
        pd.testing.assert_frame_equal(digits(one), expected.iloc[[1]].reset_index(drop=True), rtol=1e-4)
    pd.testing.assert_frame_equal(digits(pixels, batch_size=2), expected, rtol=1e-5)
    assert digits(pixels[:0]).shape == (0, 3)
    large = Image.fromarray(pixels[1]).resize((40, 24))
    assert len(digits(large)) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((3, 9, 9)), r"takes images of shape \(1, 8, 8\)"),
        (np.full((3, 8, 8), 200.0), "uint8 images, or floats from 0 to 1, not 200 to 200"),
        (pd.DataFrame({"x": [1.0]}), "takes images, not the rows of a table"),
        (np.zeros((2, 3, 8, 8)), r"takes images of shape \(1, 8, 8\), not \(3, 8, 8\)"),
    ],
)
def test_inputs_that_do_not_fit(inputs: Any, message: str, digits: Predictor) -> None:
    with pytest.raises(ValueError, match=message):
        digits(inputs)


def test_a_model_that_saw_no_table_takes_columns_in_order() -> None:
    net = MLP(input_shape=(3,), targets=["y"], hidden_sizes=[4])
    predict = Predictor(net, Preprocessing((3,), mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0]))
    frame = pd.DataFrame({"a": [1.0, 5.0], "b": [2.0, np.nan], "c": ["3", "4"]})
    expected = predict(np.array([[1, 2, 3], [5, 2, 4]]))  # the gap is filled with the mean
    pd.testing.assert_frame_equal(predict(frame), expected)
    assert list(expected) == ["prediction_y"]
    with pytest.raises(ValueError, match="takes 3 columns of numbers, but the table has 2"):
        predict(frame[["a", "b"]])
    with pytest.raises(ValueError, match="row 1: c is 'four': expected a number"):
        predict(frame.assign(c=["3", "four"]))


def test_a_broken_input_is_a_row_with_its_reason(kindling: Run) -> None:
    kindling("fit", *MLP_FLAGS)
    folder = Path("new/inner")
    folder.mkdir(parents=True)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 10), dtype=np.uint8))
    for name in ("a.png", "c.jpg", "inner/d.webp", "z.bmp"):
        image.save(Path("new", name))
    Path("new/b.png").write_bytes(Path("new/a.png").read_bytes()[:150])
    Path("new/empty.jpg").touch()
    Path("new/words.png").write_text("no image", encoding="utf-8")
    Path("new/notes.txt").write_text("not asked for", encoding="utf-8")
    finished = kindling("predict", "--run", RUN, "--input", "new", "--output", "out.csv")
    assert (finished.code, finished.err) == (0, "")
    assert "4 of 7 inputs predicted: out.csv\n3 can't be read" in finished.out
    rows = {row["input"]: row for row in read(Path("out.csv"))}
    assert list(rows) == ["a.png", "b.png", "c.jpg", "empty.jpg", "inner/d.webp", "words.png", "z.bmp"]
    assert rows["empty.jpg"]["error"] == "it is empty"
    assert rows["words.png"]["error"] == "it is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM"
    assert "truncated" in rows["b.png"]["error"]
    assert not rows["b.png"]["prediction"]
    for name in ("a.png", "inner/d.webp", "z.bmp"):
        assert rows[name]["prediction"]
        assert not rows[name]["error"]
    assert rows["a.png"]["probability_3"] == rows["z.bmp"]["probability_3"]


def write_people(path: Path, rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(20, 70, rows), "town": np.array(["Ulm", "Köln"])[np.arange(rows) % 2]})
    frame["income"] = 10.5 * frame["age"] + 100 * (frame["town"] == "Ulm")
    frame.to_csv(path, index=False)
    return frame


def test_rows_of_a_csv_that_are_odd(kindling: Run) -> None:
    frame = write_people(Path("people.csv"))
    flags = ["--data.path", "people.csv", "--data.target", "income", "--name", "people", *QUICK]
    assert kindling("fit", "--model", "MLP", "--data", "Table", *flags).code == 0
    lines = ["town,more,age", "Ulm,1,30", "Köln,1,old", "Ulm,1", "Ulm,1,30,9", "Bonn,1,", '"Köln",1,40', "", "Ulm,1,30"]
    Path("new.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    finished = kindling("predict", "--run", "latest", "--input", "new.csv", "--output", "out.csv")
    assert (finished.code, finished.err) == (0, "")
    assert "missing values: 1 (age 1)\nvalues that the training never saw: 1 (town 1)" in finished.out
    rows = read(Path("out.csv"))
    assert [row["error"] for row in rows] == [
        "",
        "age is 'old': expected a number",
        "the row has 2 values, but the header has 3",
        "the row has 4 values, but the header has 3",
        "",
        "",
        "",
    ]
    assert [row["input"] for row in rows] == list("0123456")
    again = kindling("predict", "--run", "latest", "--input", "new.csv", "--output", "pairs.csv", "--batch_size", "2")
    assert again.out.replace("pairs.csv", "out.csv") == finished.out
    assert Path("pairs.csv").read_text(encoding="utf-8") == Path("out.csv").read_text(encoding="utf-8")
    predict = package.load("lightning_logs/people/version_0")
    good = pd.DataFrame({"age": [30, None, 40, 30], "town": ["Ulm", "Bonn", "Köln", "Ulm"]})
    found = [float(row["prediction_income"]) for row in rows if not row["error"]]
    assert found == pytest.approx(predict(good)["prediction_income"].tolist(), rel=1e-5)
    frame.to_parquet("people.parquet")
    for name in ("people.csv", "people.parquet"):
        assert kindling("predict", "--run", "latest", "--input", name, "--output", f"{name}.out").code == 0
    assert Path("people.csv.out").read_text(encoding="utf-8") == Path("people.parquet.out").read_text(encoding="utf-8")


def test_where_the_data_is_gone_other_inputs_are_offered(kindling: Run) -> None:
    write_people(Path("people.csv"))
    flags = ["--data.path", "people.csv", "--data.target", "income", "--name", "people", *QUICK]
    assert kindling("fit", "--model", "MLP", "--data", "Table", *flags).code == 0
    Path("people.csv").unlink()
    for command in ("predict", "export"):
        finished = kindling(command, "--run", "latest")
        assert (finished.code, finished.err.count("\n")) == (2, 1)
        assert "path is 'people.csv': there is no such file; --input PATH predicts other inputs" in finished.err


MISTAKES = {
    "nothing": ([], "needs --run RUN (a folder or latest), or --ckpt PATH and --input PATH"),
    "no run": (["--run", "nowhere"], "nowhere is not a run"),
    "no checkpoint": (["--ckpt", "no.ckpt"], "there is no checkpoint no.ckpt"),
    "no input": (["--ckpt", "net.ckpt"], "needs --input PATH: a checkpoint without a run has no test split"),
    "no such input": (["--ckpt", "net.ckpt", "--input", "gone"], "--input is gone: there is no such file or folder"),
    "a kind of file": (["--ckpt", "net.ckpt", "--input", "a.mp4"], "--input is a.mp4: expected a folder of images, an image, a .csv"),
    "a table for images": (["--ckpt", "net.ckpt", "--input", "a.csv"], "the model takes images, in a folder of images, an image, .npz or .npy"),
    "empty folder": (["--ckpt", "net.ckpt", "--input", "empty"], "empty can't be predicted: there are no images in this folder"),
    "broken archive": (["--ckpt", "net.ckpt", "--input", "bad.npz"], "bad.npz can't be predicted: "),
    "other arrays": (["--ckpt", "net.ckpt", "--input", "two.npz"], "two.npz can't be predicted: expected an array x in it, but it has y, labels"),
    "other shape": (["--ckpt", "net.ckpt", "--input", "wide.npz"], "the model takes images of shape (1, 8, 8), not (1, 9, 9)"),
    "objects": (["--ckpt", "net.ckpt", "--input", "objects.npz"], "objects.npz can't be predicted: x holds Python objects"),
    "option": (["--ckpt", "net.ckpt", "--inptu", "a.png"], "unknown option --inptu: did you mean --input? kindling predict takes --help, --run, --ckpt, --input"),
    "batch size": (["--ckpt", "net.ckpt", "--input", "a.npz", "--batch_size", "0"], "--batch_size is 0: expected a positive integer"),
    "device": (["--ckpt", "net.ckpt", "--input", "a.npz", "--device", "gpu9"], "--device is gpu9, which can't be used"),
    "output is the input": (["--ckpt", "net.ckpt", "--input", "a.npz", "--output", "a.npz"], "--output is a.npz, which is the input"),
    "output can't be written": (["--ckpt", "net.ckpt", "--input", "a.npz", "--output", "a.npz/out.csv"], "can't write a.npz/out.csv"),
    "damaged checkpoint": (["--ckpt", "bad.npz", "--input", "a.npz"], "bad.npz is not a checkpoint, or it is damaged"),
    "foreign model": (["--ckpt", "foreign.ckpt", "--input", "a.npz"], "foreign.ckpt is of the model os.path.Model, which is not here"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_sentence(argv: list[str], message: str, kindling: Run) -> None:
    net = build("CNN", "images", "Classification")
    save(net, Preprocessing(net.input_shape, "uint8"), Path("net.ckpt"))
    content = torch.load("net.ckpt", weights_only=True)
    content["hyper_parameters"]["_class_path"] = "os.path.Model"
    torch.save(content, "foreign.ckpt")
    Path("empty").mkdir()
    for name in ("a.mp4", "a.csv"):
        Path(name).write_text("a,b\n1,2\n", encoding="utf-8")
    Path("bad.npz").write_bytes(b"PK\x03\x04 broken")
    np.savez("a.npz", x=np.zeros((2, 8, 8), np.uint8))
    np.savez("two.npz", y=np.zeros(2), labels=np.zeros(2))
    np.savez("wide.npz", x=np.zeros((2, 1, 9, 9), np.uint8))
    np.savez("objects.npz", x=np.array([None, 1], dtype=object))
    before = sorted(Path().rglob("*"))
    finished = kindling("predict", *argv)
    assert finished.code == 2
    assert message in finished.err
    assert finished.err.startswith("kindling: ")
    assert finished.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before  # nothing half-made is left


def test_an_export_that_differs_is_not_kept(kindling: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build("CNN", "images", "Classification")
    save(net, Preprocessing(net.input_shape, "uint8"), Path("net.ckpt"))
    np.savez("a.npz", x=raw_inputs("images", net.input_shape, 4))
    scores = Predictor.scores
    monkeypatch.setattr(Predictor, "scores", lambda self, *batch, **how: scores(self, *batch, **how) + 0.01)
    for kind in ("onnx", "torch"):
        finished = kindling("export", "--ckpt", "net.ckpt", "--input", "a.npz", "--format", kind)
        assert finished.code == 2
        assert "the exported model differs from the model by 0.01: no file was written" in finished.err
    assert not [path for path in Path().iterdir() if path.suffix in (".onnx", ".pt2")]


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, kindling: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = build("MLP", "vectors", "Regression")
    save(net, Preprocessing(net.input_shape), Path("net.ckpt"))
    np.savez("a.npz", x=np.zeros((2, 10), np.float32))
    monkeypatch.setitem(sys.modules, missing, None)
    finished = kindling("export", "--ckpt", "net.ckpt", "--input", "a.npz")
    assert finished.code == 2
    assert finished.err == f"kindling: ONNX needs {missing}: pip install -e '.[export]'\n"
    assert not Path("lightning_logs/export").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--format", "onxx"], "--format: invalid choice: 'onxx' (choose from"),
        (["--ckpt", "net.ckpt"], "needs --input PATH"),
        (["--ckpt", "net.ckpt", "--input", "a.npz", "--output", "a.pt2"], "--output is a.pt2: a file in the format onnx ends in .onnx"),
        (["--ckpt", "net.ckpt", "--input", "none.npz"], "there is no input to check the exported model with"),
    ],
)  # fmt: skip
def test_mistakes_with_export(argv: list[str], message: str, kindling: Run) -> None:
    net = build("MLP", "vectors", "Regression")
    save(net, Preprocessing(net.input_shape), Path("net.ckpt"))
    np.savez("a.npz", x=np.zeros((2, 10), np.float32))
    np.savez("none.npz", x=np.zeros((0, 10), np.float32))
    finished = kindling("export", *argv)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert message in finished.err
    assert not Path("lightning_logs/export").exists()


def test_pixels_of_floats_are_refused_where_they_would_be_misread() -> None:
    pixels = raw_inputs("images", (1, 8, 8), 3)
    bytes_ = Predictor(MLP(input_shape=(1, 8, 8), classes=["a", "b"]), Preprocessing((1, 8, 8), "uint8", [0.5], [0.2]))
    pd.testing.assert_frame_equal(bytes_(pixels / 255), bytes_(pixels), rtol=1e-4)
    for dtype in (np.float32, np.int64):
        with pytest.raises(ValueError, match="takes uint8 images, or floats from 0 to 1, not 0 to 2"):
            bytes_(pixels.astype(dtype))
    centred = Predictor(MLP(input_shape=(1, 8, 8), classes=["a", "b"]), Preprocessing((1, 8, 8)))
    with pytest.raises(ValueError, match="trained on floats beyond 0 to 1: it takes no pixels"):
        centred(pixels)


@pytest.mark.parametrize(
    ("lengths", "message"), [([9, 1], "from 1 to 8"), ([0, 1], "from 1 to 8"), ([2], "expected 2 whole numbers")]
)
def test_lengths_that_do_not_fit(lengths: list[int], message: str) -> None:
    predict = Predictor(build("RNN", "sequences", "Classification"), Preprocessing((8, 3), lengths=True))
    with pytest.raises(ValueError, match=message):
        predict(np.zeros((2, 8, 3), np.float32), lengths)


def test_inputs_of_any_memory_and_none_at_all() -> None:
    predict = Predictor(build("MLP", "vectors", "BinaryClassification"), Preprocessing((10,)))
    raw = raw_inputs("vectors", (10,), 4)
    expected = predict(raw)
    for same in (raw.astype(">f4"), raw[::-1][::-1], raw.astype(np.float64), torch.from_numpy(raw)):
        pd.testing.assert_frame_equal(predict(same), expected)
    assert predict(raw[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match="expected numbers, not <U"):
        predict(np.array(["a"] * 10))
    with pytest.raises(ValueError, match="values that are not finite"):
        predict(np.full((1, 10), np.nan, np.float32))
    tokens = Predictor(build("RNN", "tokens", "Classification"), Preprocessing((8,), "int64"))
    with pytest.raises(ValueError, match="takes tokens from 0 to 8, not 9 to 9"):
        tokens(np.full((2, 8), 9))


def test_lengths_of_the_split_and_rows_that_are_not_finite(kindling: Run) -> None:
    net = build("RNN", "sequences", "Classification")
    save(net, Preprocessing(net.input_shape, lengths=True), Path("net.ckpt"))
    raw, lengths = raw_inputs("sequences", net.input_shape, 5), np.array([3, 8, 1, 5, 2])
    raw[1, 0, 0] = np.inf
    np.savez("raw.npz", x_train=raw, y_train=lengths, x_test=raw, lengths_test=lengths)
    assert kindling("predict", "--ckpt", "net.ckpt", "--input", "raw.npz").code == 0
    rows = read(Path("lightning_logs/predict/predictions_raw.csv"))
    assert [bool(row["error"]) for row in rows] == [False, True, False, False, False]
    good = [0, 2, 3, 4]
    expected = package.load("net.ckpt")(raw[good], lengths[good])
    written = scores_of([rows[index] for index in good], list(rows[0]))
    np.testing.assert_allclose(written, scores_of(expected.to_dict("records"), list(expected)), atol=1e-5)


def test_pixels_for_a_model_that_saw_none_are_told(kindling: Run) -> None:
    net = build("CNN", "images", "Classification")
    save(net, Preprocessing(net.input_shape), Path("net.ckpt"))
    Image.new("L", (8, 8)).save("image.png")
    np.savez("raw.npz", x=raw_inputs("images", net.input_shape, 2))
    for path in ("image.png", "raw.npz"):
        finished = kindling("predict", "--ckpt", "net.ckpt", "--input", path)
        message = "the model was trained on floats beyond 0 to 1: it takes no pixels"
        assert finished.err == f"kindling: {path} can't be predicted: {message}\n"
        assert finished.code == 2


def test_a_checkpoint_of_other_data_is_told(kindling: Run) -> None:
    kindling("fit", *MLP_FLAGS)
    net = build("CNN", "images", "Classification")
    save(net, Preprocessing((1, 9, 9), "uint8"), Path("net.ckpt"))
    finished = kindling("predict", "--run", RUN, "--ckpt", "net.ckpt")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "has the shape (1, 8, 8), but the model takes (1, 9, 9): give --input PATH" in finished.err
    finished = kindling("predict", "--run", RUN, "--output", ".")
    assert finished.err == "kindling: can't write .: it is a folder\n"


def test_load_refuses_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        package.load(tmp_path)
