"""What the commands make of models whose outputs are no classes and no numbers: they end right, or in one sentence."""

import csv
import gc
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import Result

import kindling as package
from kindling.core.errors import UsageError
from kindling.use.predictor import predictor_of

Run = Callable[..., Result]
RUN = Path("lightning_logs/unnamed/version_0")
FEW = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 3, "--trainer.accelerator", "cpu"]
FEW += ["--trainer.gradient_clip_val", "null"]


@pytest.fixture(autouse=True, scope="module")
def modules() -> Iterator[Any]:
    """The module of these models, which no project has: it is given by its import path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent / "modules")
        import on_model  # type: ignore[import-not-found]

        yield on_model
    for name in [name for name in sys.modules if name.partition(".")[0] == "on_model"]:
        del sys.modules[name]
    del on_model
    gc.collect()  # its classes are none that a later test can choose


@pytest.fixture
def fit(kindling: Run) -> Callable[..., list[str]]:
    """Trains and tests a model; gives the options by which a command finds it again."""

    def run(model: str, data: str | None = "Digits", *flags: object) -> list[str]:
        data = f"on_model.{data}" if data and data != "Digits" else data
        finished = kindling("fit", f"--model=on_model.{model}", *([f"--data={data}"] if data else []), *flags, *FEW)
        assert (finished.code, finished.err) == (0, ""), finished.err
        again = ["--run", str(RUN), f"--model=on_model.{model}"]
        return [*again, f"--data={data}"] if data and data != "Digits" else again

    return run


def refused(finished: Result, *parts: str) -> None:
    assert (finished.code, finished.err.count("\n")) == (2, 1), finished
    assert finished.err.startswith("kindling: ")
    assert all(part in finished.err for part in parts), finished.err
    assert not [*RUN.glob("predict/*"), *RUN.glob("export/*")]


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights_of(module: Any) -> Any:
    module.load_state_dict(torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)["state_dict"])
    return module.eval()


@pytest.mark.figures
def test_an_autoencoder_with_steps_of_its_own(fit: Any, kindling: Run) -> None:
    again = fit("AutoEncoder")
    assert not (RUN / "figures").exists()
    what = "Classification is for outputs of shape (batch, 10), but the model gives Tensor of shape"
    for command in ("predict", "export"):
        refused(kindling(command, *again), what, "a task whose fits is a word of its own can say what they mean")


@pytest.mark.figures
def test_an_autoencoder_by_its_task(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("ByTask", "Digits", "--model.task", "on_model.Reconstruction")
    results = json.loads((RUN / "results.json").read_text())
    assert set(results["val"]) == set(results["test"]) == {"loss"}
    assert not (RUN / "figures").exists()
    refused(
        kindling("predict", *again),
        "nothing says what the outputs of ByTask mean as a table: define columns in its task Reconstruction, or predict_step",
    )
    finished = kindling("export", *again)
    assert (finished.code, finished.err) == (0, "")
    assert "scores: what Reconstruction.scores gives" in finished.out
    raw = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    (scores,) = onnxruntime.InferenceSession(RUN / "export/model.onnx").run(None, {"inputs": raw})
    predictor = package.load(RUN)
    with torch.no_grad():
        normalised = predictor.preprocessing(torch.from_numpy(raw))
        expected = predictor.model(normalised).clamp(-1, 2)
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)
    assert scores.std() > 0  # a softmax over one channel would give 1 everywhere
    with pytest.raises(UsageError, match="define columns in its task"):
        predictor(raw)


def test_a_task_says_what_a_table_holds(fit: Any, kindling: Run) -> None:
    again = fit("ByTask", "Digits", "--model.task", "on_model.ErrorOfReconstruction")
    assert kindling("predict", *again).code == 0
    rows = read(RUN / "predict/predictions.csv")
    assert list(rows[0]) == ["input", "brightness", "error"]
    assert len(rows) == 360
    predictor = package.load(RUN)
    images = package_data().samples[0][[int(row["input"]) for row in rows[:5]]]
    found = [float(row["brightness"]) for row in rows[:5]]
    assert found == pytest.approx(predictor(images)["brightness"].tolist(), rel=1e-4)


def package_data() -> Any:
    from my_project.data.digits import Digits

    return Digits()


def test_a_column_that_is_too_long(fit: Any, kindling: Run) -> None:
    again = fit("ByTask", "Digits", "--model.task", "on_model.Crooked")
    refused(kindling("predict", *again), "Crooked gives a column pixel of shape (16384,) for 256 samples")


@pytest.mark.figures
def test_a_gan(fit: Any, kindling: Run) -> None:
    again = fit("GAN")
    assert not (RUN / "figures").exists()
    for command in ("predict", "export"):
        refused(kindling(command, *again), "Classification is for outputs of shape (batch, 10)")


def test_a_gan_that_says_itself_what_to_predict(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Sampling")
    finished = kindling("predict", *again)
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.endswith(f"as Sampling.predict_step returns them: {RUN}/predict/predictions.npz\n")
    with np.load(RUN / "predict/predictions.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {"predictions": (360, 1, 8, 8)}
        gan = weights_of(modules.GAN(input_shape=(1, 8, 8), classes=[str(digit) for digit in range(10)]))
        with torch.no_grad():
            np.testing.assert_allclose(arrays["predictions"][:4], gan(torch.zeros(4, 1, 8, 8)).numpy(), atol=1e-6)
    for path in (RUN / "predict").iterdir():
        path.unlink()
    np.savez("raw.npz", x=np.zeros((2, 8, 8), np.uint8))
    refused(kindling("predict", *again, "--input", "raw.npz"), "Classification is for outputs of shape (batch, 10)")


@pytest.mark.slow
def test_masks_can_be_looked_at(kindling: Run) -> None:
    finished = kindling("data", "--data=on_model.Scenes")
    assert (finished.code, finished.err) == (0, "")
    assert Path("lightning_logs/Scenes_data.png").is_file()


@pytest.mark.figures
def test_a_segmentation(fit: Any, kindling: Run) -> None:
    again = fit("Segmentation", "Scenes", "--model.task", "on_model.Masks")
    assert not (RUN / "figures").exists()
    refused(kindling("predict", *again), "define columns in its task Masks")
    finished = kindling("export", *again)
    assert (finished.code, finished.err) == (0, "")
    session = onnxruntime.InferenceSession(RUN / "export/model.onnx")
    (scores,) = session.run(None, {"inputs": np.zeros((3, 1, 8, 8), np.float32)})
    assert scores.shape == (3, 2, 8, 8)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def test_a_segmentation_in_words(fit: Any, kindling: Run) -> None:
    again = fit("Segmentation", "Scenes", "--model.task", "on_model.MasksInWords")
    assert kindling("predict", *again).code == 0
    rows = read(RUN / "predict/predictions.csv")
    assert list(rows[0]) == ["input", "true_background", "true_square", "share_background", "share_square", "error"]
    assert len(rows) == 16
    assert {row["true_square"] for row in rows} == {f"{9 / 64:.7g}"}
    for row in rows:
        assert float(row["share_background"]) + float(row["share_square"]) == pytest.approx(1, abs=1e-5)


def test_a_segmentation_with_a_task_for_one_class_a_sample(fit: Any, kindling: Run) -> None:
    again = fit("Segmentation", "Scenes")
    for command in ("predict", "export"):
        refused(kindling(command, *again), "Classification is for outputs of shape (batch, 2), but the model gives")


def test_batches_that_are_dicts(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Segmentation", "DictScenes", "--model.task", "on_model.FromDict")
    assert kindling("predict", *again).code == 0
    rows = read(RUN / "predict/predictions.csv")
    assert [row["input"] for row in rows] == [str(row) for row in range(15)]
    model = weights_of(modules.Segmentation(input_shape=(1, 8, 8), classes=["a", "b"], task=modules.FromDict()))
    with torch.no_grad():
        expected = model(modules.Scenes().load()[0][65:]).softmax(1)[:, 1].flatten(1).mean(1)
    assert [float(row["square"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-4)
    refused_without_files = kindling("export", *again)
    assert refused_without_files.code == 2
    assert "does not keep its raw inputs as arrays: give --input PATH" in refused_without_files.err


@pytest.mark.figures
def test_pairs_of_image_and_row(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("ImageAndRow", "Pairs")
    assert (RUN / "figures/test_confusion_matrix.png").exists()
    assert kindling("predict", *again).code == 0
    rows = read(RUN / "predict/predictions.csv")
    images, table, labels = modules.Pairs().samples
    indices = [int(row["input"]) for row in rows]
    assert [row["target"] for row in rows] == [["even", "odd"][label] for label in labels[indices].tolist()]
    predictor = package.load(RUN)
    with torch.no_grad():
        inputs = predictor.preprocessing(images[indices])
        expected = predictor.model(inputs, table[indices]).softmax(1)[:, 1]
    assert [float(row["probability_odd"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-4)
    (RUN / "predict/predictions.csv").unlink()
    np.savez("raw.npz", x=np.zeros((2, 1, 4, 4), np.float32))
    refused(kindling("predict", *again, "--input", "raw.npz"), "the model takes 2 inputs per sample, and this is one")
    refused(kindling("export", *again), "ImageAndRow takes 2 inputs per sample")
    with pytest.raises(ValueError, match="takes 2 inputs per sample"):
        predictor(images[:2])


def test_a_run_of_a_foreign_module_has_to_be_named_again(fit: Any, kindling: Run) -> None:
    model, data = fit("Predicting", "Rows")[-2:]
    refused(
        kindling("predict", "--run", RUN), "needs on_model.Predicting, which is in no installed project: name it again"
    )
    refused(kindling("predict", "--run", RUN, "--model", "nowhere.Predicting", data), "there is no module nowhere")
    refused(
        kindling("predict", "--ckpt", RUN / "checkpoints/best.ckpt", model),
        "is of a model it does not name, which is not here",
    )


def predictions_of(modules: Any, rows: torch.Tensor, model: str = "Predicting") -> np.ndarray:
    with torch.no_grad():
        return weights_of(getattr(modules, model)())(rows).numpy()


def test_a_foreign_module_predicts_its_test_set(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Predicting", "Rows")
    finished = kindling("predict", *again)
    assert (finished.code, finished.err) == (0, "")
    assert f"2 batches, as Predicting.predict_step returns them: {RUN}/predict/predictions.npz" in finished.out
    with np.load(RUN / "predict/predictions.npz") as arrays:
        expected = predictions_of(modules, modules.Rows().rows[10:])
        np.testing.assert_allclose(arrays["predictions"], expected, atol=1e-6)
    first = (RUN / "predict/predictions.npz").read_bytes()
    assert kindling("predict", *again, "--output", "mine.npz", "--device", "cpu").code == 0
    assert len(Path("mine.npz").read_bytes()) == len(first)
    finished = kindling("predict", *again, "--output", "mine.csv")
    assert (finished.code, finished.err) == (
        2,
        "kindling: --output is mine.csv: what Predicting.predict_step returns goes into a .npz file\n",
    )
    np.savez("raw.npz", x=np.zeros((2, 3)))
    finished = kindling("predict", *again, "--input", "raw.npz")
    assert finished.code == 2
    assert "is not of a Model of Kindling, so nothing says how a file becomes its inputs" in finished.err


def test_a_loader_for_predictions_comes_first(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Predicting", "RowsToPredict")
    assert kindling("predict", *again).code == 0
    with np.load(RUN / "predict/predictions.npz") as arrays:
        np.testing.assert_allclose(arrays["predictions"], predictions_of(modules, modules.Rows().rows[:20]), atol=1e-6)


def test_loaders_of_its_own(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Alone", None)
    assert kindling("predict", *again).code == 0
    with np.load(RUN / "predict/predictions.npz") as arrays:
        np.testing.assert_allclose(arrays["predictions"], predictions_of(modules, torch.ones(6, 3)), atol=1e-6)


def test_each_loader_has_a_file(fit: Any, kindling: Run) -> None:
    again = fit("Several", None)
    assert kindling("predict", *again).code == 0
    files = sorted((RUN / "predict").iterdir())
    assert [file.name for file in files] == ["predictions_0.npz", "predictions_1.npz"]
    assert [np.load(file)["predictions"].shape for file in files] == [(40, 2), (6, 2)]


def test_without_a_loader_or_a_predict_step(fit: Any, kindling: Run) -> None:
    again = fit("Unloaded", None)
    refused(kindling("predict", *again), "Unloaded has no predict_dataloader and no test_dataloader")


def test_without_a_predict_step(fit: Any, kindling: Run) -> None:
    again = fit("Plain", "Rows")
    refused(kindling("predict", *again), "nothing says what the outputs of Plain mean: define predict_step")
    refused(kindling("export", *again), "Plain has no example_input_array: set it in the module")
    finished = kindling("predict", "--ckpt", RUN / "checkpoints/best.ckpt", "--input", "nothing.npz")
    refused(finished, "is of a model it does not name, which is not here")


def test_weights_of_another_module(fit: Any, kindling: Run) -> None:
    again = fit("Predicting", "Rows")
    for file in (RUN / "checkpoints").iterdir():
        content = torch.load(file, weights_only=True)
        content["state_dict"]["layer.weight"] = torch.zeros(5, 3)
        content.pop("sealed", None)
        torch.save(content, file)
    for command in ("predict", "export"):
        refused(kindling(command, *again), "loading state_dict for Predicting: ", "size mismatch for layer.weight")


def test_what_it_returns_decides_on_the_file(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Predicting", "Rows", "--model.returns", "columns")
    assert kindling("predict", *again).code == 0
    rows = read(RUN / "predict/predictions.csv")
    expected = predictions_of(modules, modules.Rows().rows[10:])
    assert [float(row["sum"]) for row in rows] == pytest.approx(expected.sum(axis=1).tolist(), rel=1e-5)
    assert [row["word"] for row in rows] == ["high" if each > 0 else "low" for each in expected[:, 0]]
    (RUN / "predict/predictions.csv").unlink()
    config = RUN / "config.yaml"
    text = config.read_text()

    config.write_text(text.replace("returns: columns", "returns: ragged"))
    assert kindling("predict", *again).code == 0
    batches = torch.load(RUN / "predict/predictions.pt", weights_only=True)
    assert [len(batch) for batch in batches] == [16, 14]
    assert batches[0][0]["boxes"].shape == (1,)
    (RUN / "predict/predictions.pt").unlink()

    config.write_text(text.replace("returns: columns", "returns: nothing"))
    nothing = "Predicting.predict_step returns nothing, so no file is written\n"
    assert kindling("predict", *again).out.endswith(nothing)

    config.write_text(text.replace("returns: columns", "returns: objects"))
    refused(
        kindling("predict", *again),
        "Predicting.predict_step returns objects of object: expected tensors, numbers, text",
    )


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_foreign_module_is_exported_as_its_forward(kind: str, fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Predicting", "Rows")
    finished = kindling("export", *again, "--format", kind)
    assert (finished.code, finished.err) == (0, "")
    assert "outputs: 1, as Predicting.forward gives them" in finished.out
    assert "inputs 0: float32 (batch, 3)" in finished.out
    rows = torch.rand(5, 3)
    if kind == "onnx":
        (found,) = onnxruntime.InferenceSession(RUN / "export/model.onnx").run(None, {"input_0": rows.numpy()})
    else:
        with torch.no_grad():
            found = torch.export.load(RUN / "export/model.pt2").module()(rows)[0].numpy()
    np.testing.assert_allclose(found, predictions_of(modules, rows), atol=1e-6)


def test_several_inputs_and_outputs_by_name(fit: Any, kindling: Run, modules: Any) -> None:
    again = fit("Outputs", "Rows")
    finished = kindling("export", *again)
    assert (finished.code, finished.err) == (0, "")
    assert "inputs rows: float32 (batch, 3)\n  inputs scale: float32 (batch, 1)\n  outputs: 3, as" in finished.out
    rows, scale = torch.rand(5, 3), torch.rand(5, 1)
    given = {"rows": rows.numpy(), "scale": scale.numpy()}
    found = onnxruntime.InferenceSession(RUN / "export/model.onnx").run(None, given)
    with torch.no_grad():
        expected = weights_of(modules.Outputs())(rows, scale)
    for one, other in zip(found, [expected["all"], *expected["parts"]], strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-6)


def test_a_module_that_is_bound_to_its_example(fit: Any, kindling: Run) -> None:
    again = fit("Bound", "Rows")
    finished = kindling("export", *again)
    assert (finished.code, finished.err) == (0, "")
    assert "inputs 0: float32 (4, 3)" in finished.out


def test_an_export_of_a_forward_that_differs_is_not_kept(
    fit: Any, kindling: Run, modules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = fit("Predicting", "Rows")
    forward, calls = modules.Plain.forward, []

    def drifting(self: Any, rows: torch.Tensor) -> torch.Tensor:
        calls.append(rows)
        return forward(self, rows) + 0.01 * len(calls)

    monkeypatch.setattr(modules.Plain, "forward", drifting)
    refused(kindling("export", *again), "the exported model differs from the model by")


def test_a_predictor_refuses_a_checkpoint_without_a_model() -> None:
    with pytest.raises(UsageError, match=r"a\.ckpt is of a model it does not name, which is not here; models here: "):
        predictor_of(Path("a.ckpt"), {"state_dict": {}})
